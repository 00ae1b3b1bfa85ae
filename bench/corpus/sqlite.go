package corpus

import (
	"encoding/binary"
	"math/bits"
)

// The subset of https://www.sqlite.org/fileformat2.html that bulk loading needs.
const (
	pageSize  = 4096
	lockPage  = 1<<30/pageSize + 1 // holds SQLite's locks and is never used
	leafTable = 13
	leafIndex = 10
	overTable = 5
	overIndex = 2

	// A cell too large for its page keeps this much on it, if the rest fills
	// overflow pages exactly.
	localPayload    = (pageSize-12)*32/255 - 23
	overflowContent = pageSize - 4
)

// A database hands out the pages of a file in their order. Trees are built from
// their leaves up, so that each page is finished once it is written, and their
// roots are the last pages of the file: page 1, which names them, comes first.
type database struct {
	out   []byte // pages not yet read
	next  int    // number of the page that is written next
	used  int    // pages written or reserved, without the lock page
	total int    // pages that can be used
	roots []int
	trees []*tree
}

// newDatabase begins a database of that many pages in all, with trees of which
// roots come in the order of their creation by newTree.
func newDatabase(pages, trees int) *database {
	db := &database{next: 2, used: 1 + trees, total: pages}
	if pages >= lockPage {
		db.total--
	}
	for n := pages; len(db.roots) < trees; n-- {
		if n != lockPage {
			db.roots = append(db.roots, n)
		}
	}
	return db
}

// emit appends a page and returns its number.
func (db *database) emit(page *[pageSize]byte) int {
	db.skipLock()
	db.out = append(db.out, page[:]...)
	db.next++
	return db.next - 1
}

// skipLock appends the lock page where it has to be.
func (db *database) skipLock() {
	if db.next == lockPage {
		db.out = append(db.out, make([]byte, pageSize)...)
		db.next++
	}
}

// write emits a page that no one reserved.
func (db *database) write(page *[pageSize]byte) int {
	db.used++
	return db.emit(page)
}

// left returns how many pages there are beyond those written, and those that
// close will write.
func (db *database) left() int {
	n := db.total - db.used
	for _, t := range db.trees {
		n -= max(0, len(t.levels)-1)
	}
	return n
}

// close writes what the trees hold back, and their roots.
func (db *database) close() {
	roots := make([]*node, len(db.trees))
	for i, t := range db.trees {
		roots[i] = t.close()
	}
	for i := len(roots) - 1; i >= 0; i-- { // the last root is the first tree's
		if n := db.emit(&roots[i].page); n != db.roots[i] {
			panic("corpus: internal error: root page displaced")
		}
	}
	db.skipLock() // it may be the last one
}

// header returns page 1: the file's header, and the schema.
func (db *database) header(pages int, schema *tree) *[pageSize]byte {
	n := schema.levels[0]
	n.finish(leafTable, 0)
	p := &n.page
	be := binary.BigEndian
	for i, v := range headerNumbers {
		be.PutUint32(p[4*i:], v)
	}
	copy(p[:], "SQLite format 3\x00")
	be.PutUint16(p[16:], pageSize)
	copy(p[18:], []byte{1, 1, 0, 64, 32, 32}) // rollback journal; fixed payload fractions
	be.PutUint32(p[28:], uint32(pages))
	return p
}

// headerNumbers are the header's other numbers, by a quarter of their offset.
var headerNumbers = [25]uint32{
	6:  1,       // changes
	10: 1,       // the schema's version
	11: 4,       // the schema's format
	14: 1,       // UTF-8
	15: 1,       // the application's version of the schema
	23: 1,       // changes for which the next number holds
	24: 3040001, // the version of SQLite
}

// A node is a page being filled.
type node struct {
	page  [pageSize]byte
	head  int // length of the page's header
	base  int // where the page's header is: 100 on page 1
	cells int
	start int // of the cells, which grow down
	last  int // length of the newest cell
}

func newNode(base, head int) *node {
	n := &node{base: base, head: head}
	n.reset()
	return n
}

func (n *node) reset() { n.cells, n.start, n.last = 0, pageSize, 0 }

func (n *node) fits(size int) bool { return n.base+n.head+2*(n.cells+1)+size <= n.start }

// add appends the cell that is made of both parts.
func (n *node) add(a, b []byte) {
	n.last = len(a) + len(b)
	n.start -= n.last
	copy(n.page[n.start:], a)
	copy(n.page[n.start+len(a):], b)
	binary.BigEndian.PutUint16(n.page[n.base+n.head+2*n.cells:], uint16(n.start))
	n.cells++
}

// pop takes the newest cell back; it stays valid until the next add.
func (n *node) pop() []byte {
	cell := n.page[n.start : n.start+n.last]
	n.start += n.last
	n.cells--
	return cell
}

// finish completes the page: kind is its type, right its last child.
func (n *node) finish(kind byte, right int) {
	p := n.page[n.base:]
	clear(n.page[n.base+n.head+2*n.cells : n.start])
	p[0] = kind
	binary.BigEndian.PutUint16(p[1:], 0)
	binary.BigEndian.PutUint16(p[3:], uint16(n.cells))
	binary.BigEndian.PutUint16(p[5:], uint16(n.start))
	p[7] = 0
	if right != 0 {
		binary.BigEndian.PutUint32(p[8:], uint32(right))
	}
}

// A tree is a b-tree of a table or an index, to which entries come in the order
// of their keys.
type tree struct {
	db     *database
	index  bool
	fanout int     // entries on a page, 0: as many as fit
	levels []*node // leaf first; each is the rightmost page of its level
	key    []byte  // the newest rowid, as a varint
}

func (db *database) newTree(index bool, fanout int) *tree {
	t := &tree{db: db, index: index, fanout: fanout, levels: []*node{newNode(0, 8)}}
	db.trees = append(db.trees, t)
	return t
}

// insert appends the row of that number.
func (t *tree) insert(rowid int, record []byte) {
	var head [20]byte
	h := appendVarint(head[:0], uint64(len(record)))
	h = appendVarint(h, uint64(rowid))
	t.room(len(h) + len(record))
	t.key = appendVarint(t.key[:0], uint64(rowid))
	t.levels[0].add(h, record)
}

// insertKey appends an entry of an index.
func (t *tree) insertKey(record []byte) {
	var head [9]byte
	h := appendVarint(head[:0], uint64(len(record)))
	t.room(len(h) + len(record))
	t.levels[0].add(h, record)
}

// room writes the leaf if a cell of that size does not go on it. An index keeps
// each entry once, so the last one of a leaf becomes the key in the page above.
func (t *tree) room(size int) {
	n := t.levels[0]
	if n.fits(size) && (t.fanout == 0 || n.cells < t.fanout) {
		return
	}
	key := t.key
	kind := byte(leafTable)
	if t.index {
		key, kind = append([]byte(nil), n.pop()...), leafIndex
	}
	n.finish(kind, 0)
	page := t.db.write(&n.page)
	n.reset()
	t.push(1, page, key)
}

// push appends a child, and the key that ends it, to the level above it.
func (t *tree) push(level, child int, key []byte) {
	if level == len(t.levels) {
		t.levels = append(t.levels, newNode(0, 12))
	}
	n := t.levels[level]
	if !n.fits(4+len(key)) || t.fanout > 0 && n.cells == t.fanout {
		cell := append([]byte(nil), n.pop()...)
		n.finish(t.inner(), int(binary.BigEndian.Uint32(cell)))
		page := t.db.write(&n.page)
		n.reset()
		t.push(level+1, page, cell[4:])
		n = t.levels[level]
	}
	var left [4]byte
	binary.BigEndian.PutUint32(left[:], uint32(child))
	n.add(left[:], key)
}

func (t *tree) inner() byte {
	if t.index {
		return overIndex
	}
	return overTable
}

// close writes the rightmost pages but the root, which it returns.
func (t *tree) close() *node {
	right := 0
	for level, n := range t.levels {
		kind := t.inner()
		if level == 0 {
			kind = leafTable
			if t.index {
				kind = leafIndex
			}
		}
		n.finish(kind, right)
		if level < len(t.levels)-1 {
			right = t.db.write(&n.page)
		}
	}
	return t.levels[len(t.levels)-1]
}

// pages returns how many pages without the root an index of n entries will take,
// for which its fanout must be set.
func (t *tree) pages(n int) int {
	pages := -1
	for n > 0 {
		pages++
		n = (n - 1) / t.fanout
		pages += n
	}
	return max(0, pages)
}

// insertLarge appends a row whose record is local bytes and content, which fills
// whole overflow pages.
func (t *tree) insertLarge(rowid int, record []byte) {
	var head [20]byte
	h := appendVarint(head[:0], uint64(len(record)))
	h = appendVarint(h, uint64(rowid))
	local, rest := record[:localPayload], record[localPayload:]
	after := t.db.next
	if after == lockPage {
		after++
	}
	var pointer [4]byte
	binary.BigEndian.PutUint32(pointer[:], uint32(after))
	t.key = appendVarint(t.key[:0], uint64(rowid))
	t.levels[0].add(append(h, local...), pointer[:])
	var page [pageSize]byte
	for len(rest) > 0 {
		following := 0
		if len(rest) > overflowContent {
			if following = after + 1; following == lockPage {
				following++
			}
		}
		binary.BigEndian.PutUint32(page[:], uint32(following))
		copy(page[4:], rest[:overflowContent])
		rest = rest[overflowContent:]
		t.db.write(&page)
		after = following
	}
}

// appendVarint appends SQLite's variable-length integer, for v < 2^56.
func appendVarint(dst []byte, v uint64) []byte {
	for shift := max(0, bits.Len64(v)-1) / 7 * 7; shift > 0; shift -= 7 {
		dst = append(dst, byte(v>>shift)|0x80)
	}
	return append(dst, byte(v&0x7f))
}

// A record is a row: the types of its columns, and then their content.
type record struct {
	types, body, whole []byte
}

func (r *record) reset() { r.types, r.body = r.types[:0], r.body[:0] }

func (r *record) null() { r.types = append(r.types, 0) }

func (r *record) int(v int64) {
	if v == 0 || v == 1 {
		r.types = append(r.types, byte(8+v))
		return
	}
	for _, width := range [...]struct{ kind, bytes int }{{1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 6}, {6, 8}} {
		if bitsOf := 8 * width.bytes; v>>(bitsOf-1) == 0 || bitsOf == 64 {
			r.types = append(r.types, byte(width.kind))
			for shift := bitsOf - 8; shift >= 0; shift -= 8 {
				r.body = append(r.body, byte(v>>shift))
			}
			return
		}
	}
}

func (r *record) text(s []byte) {
	r.types = appendVarint(r.types, uint64(13+2*len(s)))
	r.body = append(r.body, s...)
}

func (r *record) blob(b []byte) {
	r.types = appendVarint(r.types, uint64(12+2*len(b)))
	r.body = append(r.body, b...)
}

// size returns the length of the record.
func (r *record) size() int { return 1 + len(r.types) + len(r.body) }

// encode returns the record, valid until the next call.
func (r *record) encode() []byte {
	size := 1 + len(r.types) // of the header; its own length takes a byte
	if size > 127 {
		panic("corpus: internal error: record header too long")
	}
	r.whole = append(append(append(r.whole[:0], byte(size)), r.types...), r.body...)
	return r.whole
}
