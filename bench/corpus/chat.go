package corpus

import (
	"math/bits"
	"strconv"
	"time"
)

// What a new file of a messenger's store begins with; sqlite_master quotes it.
var chatSchema = []struct{ kind, name, table, sql string }{
	{"table", "contact", "contact", `CREATE TABLE contact (_id INTEGER PRIMARY KEY, jid TEXT, display_name TEXT, number TEXT, status TEXT, photo_ts INTEGER)`},
	{"table", "chat", "chat", `CREATE TABLE chat (_id INTEGER PRIMARY KEY, jid_row_id INTEGER, subject TEXT, created_timestamp INTEGER, archived INTEGER, unseen_message_count INTEGER)`},
	{"table", "message", "message", `CREATE TABLE message (_id INTEGER PRIMARY KEY, chat_row_id INTEGER NOT NULL, from_me INTEGER NOT NULL, key_id TEXT NOT NULL, sender_jid_row_id INTEGER, status INTEGER, timestamp INTEGER, received_timestamp INTEGER, receipt_server_timestamp INTEGER, message_type INTEGER, text_data TEXT, starred INTEGER, lookup_tables INTEGER, message_secret BLOB)`},
	{"table", "message_media", "message_media", `CREATE TABLE message_media (message_row_id INTEGER PRIMARY KEY, chat_row_id INTEGER, file_path TEXT, mime_type TEXT, file_size INTEGER, width INTEGER, height INTEGER, media_duration INTEGER, media_key BLOB, media_key_timestamp INTEGER, file_hash TEXT, enc_file_hash TEXT, direct_path TEXT, thumbnail BLOB)`},
	{"index", "message_timestamp_index", "message", `CREATE INDEX message_timestamp_index ON message (timestamp)`},
	{"index", "message_key_index", "message", `CREATE UNIQUE INDEX message_key_index ON message (key_id)`},
}

const (
	chatContacts = 240
	chatChats    = 120
	chatLeast    = 48 * pageSize
	chatEnd      = 24 // pages left for the last row, whose thumbnail fills the rest

	keysOnPage    = 84  // of 48 bytes at most
	minPerMessage = 128 // bytes of the file; in fact it is some 300
	mediaOneIn    = 10

	languages = 4
	recent    = 64 // messages that may be forwarded

	chatBegin = 1_490_000_000_000 // ms since 1970, March 2017
)

// chat writes a store as it grows: tables and indexes take pages in turns, as
// messages come. That it has to be streamed rules the SQLite library out, which
// goes back to pages; and one index has to wait: that of the random keys is
// written at the end, as REINDEX does, in an order that keyOrder knows.
type chat struct {
	*random
	db    *database
	pages int
	stage int

	contacts, chats, messages, media, times, keyIndex *tree

	keys       keyOrder
	indexed    uint64 // keys, by rank
	speakers   [languages]*speaker
	attachment *speaker
	talks      [chatChats]talk
	current    int // chat
	count      int // messages
	clock      int64
	forwarded  [recent][]byte
	row        record
	text       []byte
	pixels     *entropy
	image      []byte
}

// talk is what a chat is like.
type talk struct {
	language int
	first    int // contact
	members  int // contacts from first on
}

func newChat(size int64, seed uint64) producer {
	pages := int(size / pageSize)
	c := &chat{random: newRandom(seed, 1), db: newDatabase(pages, len(chatSchema)), pages: pages, clock: chatBegin}
	c.contacts, c.chats = c.db.newTree(false, 0), c.db.newTree(false, 0)
	c.messages, c.media = c.db.newTree(false, 0), c.db.newTree(false, 0)
	c.times, c.keyIndex = c.db.newTree(true, 0), c.db.newTree(true, keysOnPage)
	c.keys = newKeyOrder(uint(bits.Len64(uint64(size)/minPerMessage)), seed)
	c.pixels = newEntropy(seed, 2)
	for i, file := range [languages]string{"en.txt", "de.txt", "es.txt", "ru.txt"} {
		c.speakers[i] = newSpeaker(readGrammar("", nil, "names.txt", file), c.random)
	}
	day := func(dst []byte) []byte { return time.UnixMilli(c.clock).UTC().AppendFormat(dst, "20060102") }
	c.attachment = newSpeaker(readGrammar("", []string{"day"}, "attachment.txt"), c.random, day)
	return c
}

func (c *chat) next() []byte {
	stages := [...]func() (done bool){c.begin, c.addMessage, c.addLast, c.indexKey, c.end}
	c.db.out = c.db.out[:0]
	for len(c.db.out) < 1<<16 && c.stage < len(stages) {
		if stages[c.stage]() {
			c.stage++
		}
	}
	return c.db.out
}

// begin writes page 1, and who there is to talk to.
func (c *chat) begin() bool {
	schema := &tree{levels: []*node{newNode(100, 8)}}
	for i, s := range chatSchema {
		c.row.reset()
		for _, text := range []string{s.kind, s.name, s.table} {
			c.row.text([]byte(text))
		}
		c.row.int(int64(c.db.roots[i]))
		c.row.text([]byte(s.sql))
		schema.insert(i+1, c.row.encode())
	}
	c.db.out = append(c.db.out, c.db.header(c.pages, schema)[:]...)
	for i := range chatContacts {
		s := c.speakers[i%languages]
		c.row.reset()
		c.row.null() // the rowid stands for the primary key
		c.row.text(append(strconv.AppendInt(nil, 490_000_000_000+int64(c.bits(32)), 10), "@s.example.net"...))
		c.row.text(s.sayNamed(nil, "name"))
		c.row.text(s.sayNamed(nil, "phone"))
		c.row.text(s.sayNamed(nil, "clause"))
		c.row.int(chatBegin + int64(c.bits(32)))
		c.contacts.insert(i+1, c.row.encode())
	}
	for i := range c.talks {
		t := talk{language: [8]int{0, 0, 0, 1, 1, 2, 2, 3}[c.bits(3)], members: 1, first: 1 + c.below(chatContacts-30)}
		if c.oneIn(3) {
			t.members = c.scale(2, 30)
		}
		c.talks[i] = t
		c.row.reset()
		c.row.null()
		c.row.int(int64(t.first))
		c.row.text(c.speakers[t.language].sayNamed(nil, "brand"))
		c.row.int(chatBegin + int64(c.bits(32)))
		c.row.int(int64(c.bits(1)))
		c.row.int(int64(c.bits(3)))
		c.chats.insert(i+1, c.row.encode())
	}
	return true
}

// addMessage goes on with a conversation, or takes up another.
func (c *chat) addMessage() bool {
	if c.oneIn(7) {
		c.current = min(c.below(chatChats), c.below(chatChats), c.below(chatChats))
		c.clock += int64(c.bits(22)) // up to 70 minutes
	}
	c.clock += int64(c.scale(1<<10, 1<<17)) // seconds to two minutes
	attached := c.oneIn(mediaOneIn)
	c.text = c.text[:0]
	if !attached || c.oneIn(5) {
		c.write(c.talks[c.current].language)
	}
	c.insertMessage(attached)
	if attached {
		c.describe()
		if c.oneIn(5) {
			c.row.blob(c.thumbnail(c.between(800, 2800)))
		} else {
			c.row.null() // most have none, or no longer
		}
		c.media.insert(c.count, c.row.encode())
	}
	return c.db.left()-c.keyIndex.pages(c.count) <= chatEnd
}

// write makes the text of a message.
func (c *chat) write(language int) {
	slot := &c.forwarded[c.below(recent)]
	if len(*slot) > 0 && c.oneIn(32) {
		c.text = append(c.text, *slot...)
		return
	}
	c.text = c.speakers[language].sayNamed(c.text, "message")
	if c.oneIn(10) {
		c.mistype()
	}
	if c.oneIn(16) && len(c.text) > 80 {
		*slot = append((*slot)[:0], c.text...)
	}
}

// mistype swaps two letters, or leaves one out.
func (c *chat) mistype() {
	letter := func(b byte) bool { return b|0x20-'a' < 26 }
	i := c.below(len(c.text))
	if i+1 >= len(c.text) || !letter(c.text[i]) || !letter(c.text[i+1]) {
		return
	}
	if c.oneIn(2) {
		c.text[i], c.text[i+1] = c.text[i+1], c.text[i]
	} else {
		c.text = append(c.text[:i], c.text[i+1:]...)
	}
}

// insertMessage adds the row, and its entry in the index of times.
func (c *chat) insertMessage(attached bool) {
	c.count++
	t, r := &c.talks[c.current], &c.row
	received := c.clock + int64(c.scale(200, 1<<12))
	mine := int64(c.bits(1))
	var key, secret [32]byte
	c.keys.key(&key, c.keys.rank(uint64(c.count)))

	r.reset()
	r.null()
	r.int(int64(c.current + 1))
	r.int(mine)
	r.text(key[:])
	if mine == 1 || t.members == 1 {
		r.int(0)
	} else {
		r.int(int64(t.first + min(c.below(t.members), c.below(t.members))))
	}
	r.int([4]int64{13, 13, 5, 0}[c.bits(2)]) // read, read, delivered, none
	r.int(c.clock)
	r.int(received)
	r.int(mine * (received + int64(c.bits(9))))
	if attached {
		r.int(1)
	} else {
		r.int(0)
	}
	if len(c.text) > 0 {
		r.text(c.text)
	} else {
		r.null()
	}
	r.int(0)
	r.int(int64(c.bits(2) / 3))
	if c.oneIn(3) {
		r.null() // of a client without
	} else {
		c.fill(secret[:])
		r.blob(secret[:])
	}
	c.messages.insert(c.count, r.encode())

	r.reset()
	r.int(c.clock)
	r.int(int64(c.count))
	c.times.insertKey(r.encode())
}

// describe makes the row of the newest message's attachment, all but the last
// column.
func (c *chat) describe() {
	r, a := &c.row, c.attachment
	var key [32]byte
	c.fill(key[:])
	r.reset()
	r.null()
	r.int(int64(c.current + 1))
	r.text(a.sayNamed(nil, "path"))
	r.text(a.sayNamed(nil, "mime"))
	r.int(int64(c.scale(20_000, 8_000_000)))
	r.int([4]int64{1200, 1600, 900, 1080}[c.bits(2)])
	r.int([4]int64{1600, 1200, 1600, 1920}[c.bits(2)])
	r.int(0)
	r.blob(key[:])
	r.int(c.clock / 1000)
	r.text(a.sayNamed(nil, "hash"))
	r.text(a.sayNamed(nil, "hash"))
	r.text(a.sayNamed(nil, "direct"))
}

// thumbnail returns a JPEG of that size.
func (c *chat) thumbnail(size int) []byte {
	c.image = appendJPEGHead(c.image[:0], 72, 100, 30)
	return c.pixels.appendScan(c.image, size-len(c.image))
}

// addLast is a message with an attachment whose thumbnail fills the pages that no
// one else takes.
func (c *chat) addLast() bool {
	c.text = c.text[:0]
	c.insertMessage(true)
	c.media.room(localPayload + 16)
	pages := c.db.left() - c.keyIndex.pages(c.count)
	c.describe()
	size := localPayload + pages*overflowContent
	c.row.blob(c.thumbnail(size - c.row.size() - 3)) // so many bytes has the length of such a column
	c.media.insertLarge(c.count, c.row.encode())
	return true
}

// indexKey adds one key to the index.
func (c *chat) indexKey() bool {
	if row := c.keys.row(c.indexed); row > 0 && row <= uint64(c.count) {
		var key [32]byte
		c.keys.key(&key, c.indexed)
		c.row.reset()
		c.row.text(key[:])
		c.row.int(int64(row))
		c.keyIndex.insertKey(c.row.encode())
	}
	c.indexed++
	return c.indexed>>c.keys.bits != 0
}

func (c *chat) end() bool {
	c.db.close()
	return true
}
