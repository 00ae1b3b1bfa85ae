package corpus

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/internal/need"
)

// chatFile writes a chat database to a file.
func chatFile(t *testing.T, size int64, seed uint64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "chat.db")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New("chat", size, seed)
	if err == nil {
		_, err = io.Copy(f, r)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func query(t *testing.T, file, sql string) string {
	t.Helper()
	out, err := exec.Command(need.Command(t, "sqlite3", "apt-get install sqlite3"), "-readonly", file, sql).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestChatIsSQLite has SQLite check the structure of all pages, and that indexes
// agree with tables, at sizes where the last pages fall in different ways.
func TestChatIsSQLite(t *testing.T) {
	var sizes []int64
	for pages := int64(chatLeast / pageSize); pages < chatLeast/pageSize+24; pages++ {
		sizes = append(sizes, pages*pageSize)
	}
	sizes = append(sizes, 1<<20, 2_000_000, 5_000_000, 24_000_000)
	if need.Long() { // around the page where SQLite has its locks, where the roots may come to lie
		for _, pages := range []int64{lockPage - 1, lockPage, lockPage + 3, lockPage + 50_000} {
			sizes = append(sizes, pages*pageSize)
		}
	}
	for i, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			file := chatFile(t, size, uint64(i))
			want := fmt.Sprintf("ok\n%d\n0", size/pageSize)
			if got := query(t, file, "pragma integrity_check; pragma page_count; pragma freelist_count"); got != want {
				t.Errorf("SQLite says %q, want %q", got, want)
			}
		})
	}
}

// TestChatRows looks at what an application would see.
func TestChatRows(t *testing.T) {
	file := chatFile(t, 8<<20, 1)
	for _, c := range []struct{ what, sql, want string }{
		{"contacts", "select count(*) from contact", fmt.Sprint(chatContacts)},
		{"attachments without message", "select count(*) from message_media where message_row_id not in (select _id from message where message_type = 1)", "0"},
		{"attachments", "select count(*) > 1500 from message_media", "1"},
		{"messages without chat", "select count(*) from message where chat_row_id not in (select _id from chat)", "0"},
		{"messages", "select count(*) > 20000 from message", "1"},
		{"text that is no UTF-8 of letters", "select count(*) from message where text_data like '%' || char(0xfffd) || '%'", "0"},
		{"messages with text", "select 10 * count(text_data) > 8 * count(*) from message", "1"},
		{"order of time", "select count(*) from message a join message b on b._id = a._id + 1 where b.timestamp < a.timestamp", "0"},
		{"keys twice", "select count(*) - count(distinct key_id) from message", "0"},
		{"a message by its key", "select _id from message where key_id = (select key_id from message where _id = 777)", "777"},
		{"thumbnails", "select count(*) from message_media where thumbnail is not null and hex(substr(thumbnail, 1, 3)) || hex(substr(thumbnail, -2)) <> 'FFD8FFFFD9'", "0"},
	} {
		if got := query(t, file, c.sql); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

func TestKeyOrder(t *testing.T) {
	for _, bits := range []uint{1, 2, 7, 12} {
		k := newKeyOrder(bits, 99)
		var last, key [32]byte
		seen := make([]bool, 1<<bits)
		for rank := range uint64(1) << bits {
			row := k.row(rank)
			if seen[row] || k.rank(row) != rank {
				t.Fatalf("%d bits: rank %d is row %d, which is rank %d", bits, rank, row, k.rank(row))
			}
			seen[row] = true
			if k.key(&key, rank); rank > 0 && string(key[:]) <= string(last[:]) {
				t.Fatalf("%d bits: key %s comes after %s", bits, key, last)
			}
			if rank > 0 && bytes.Equal(key[20:], last[20:]) {
				t.Fatalf("%d bits: keys %s and %s end alike", bits, last, key)
			}
			last = key
		}
	}
}
