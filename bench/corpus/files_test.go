package corpus

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/internal/need"
)

// TestMedia takes the corpus apart again, by what the headers say.
func TestMedia(t *testing.T) {
	b := corpusBytes(t, "media", 32<<20)
	photos, videos := 0, 0
	for len(b) > 0 {
		switch {
		case bytes.HasPrefix(b, []byte{0xff, 0xd8}):
			c, err := jpeg.DecodeConfig(bytes.NewReader(b))
			if err != nil || c.Width < 1000 {
				t.Fatalf("photo %d: %d × %d, %v", photos, c.Width, c.Height, err)
			}
			end := bytes.Index(b, []byte{0xff, 0xd9})
			if end < 0 {
				return // the last file
			}
			checkScan(t, b[:end])
			if size := end + 2; size < 100<<10 || size > 8<<20 {
				t.Errorf("photo %d has %d bytes", photos, size)
			}
			b = b[end+2:]
			photos++
		default:
			size := checkVideo(t, b)
			if size > len(b) {
				return
			}
			b = b[size:]
			videos++
		}
	}
	t.Errorf("the last of %d photos and %d videos ends with the corpus", photos, videos)
}

// checkScan demands that the coded data, from the last segment on, has no marker.
func checkScan(t *testing.T, photo []byte) {
	t.Helper()
	start := bytes.Index(photo, []byte{0xff, 0xda})
	scan := photo[start+2:]
	for i := bytes.IndexByte(scan, 0xff); i >= 0; i = bytes.IndexByte(scan, 0xff) {
		if i+1 == len(scan) || scan[i+1] != 0 {
			t.Fatalf("a marker %d bytes before the end of a scan", len(scan)-i)
		}
		scan = scan[i+2:]
	}
	if exif := photo[:start]; !bytes.Contains(exif, []byte("Exif\x00\x00II*\x00")) || len(exif) < 1000 || len(exif) > 4000 {
		t.Errorf("a photo's header has %d bytes", len(exif))
	}
}

// checkVideo walks the boxes of a video, and compares the table of sizes with the
// data. It returns the size of the file, or more than there is.
func checkVideo(t *testing.T, b []byte) int {
	t.Helper()
	at := 0
	var data, index []byte
	for _, kind := range []string{"ftyp", "mdat", "moov"} {
		if len(b)-at < 8 {
			return len(b) + 1
		}
		size := int(binary.BigEndian.Uint32(b[at:]))
		if got := string(b[at+4 : at+8]); got != kind {
			t.Fatalf("box %q instead of %s", got, kind)
		}
		if at+size > len(b) {
			return len(b) + 1
		}
		data, index = index, b[at:at+size]
		at += size
	}
	sum := 8
	for rest := index; ; {
		i := bytes.Index(rest, []byte("stsz"))
		if i < 0 {
			break
		}
		rest = rest[i+12:]
		for range binary.BigEndian.Uint32(rest) {
			rest = rest[4:]
			sum += int(binary.BigEndian.Uint32(rest))
		}
	}
	if sum != len(data) {
		t.Errorf("the samples of a video have %d bytes, its data %d", sum, len(data))
	}
	if i := bytes.Index(index, []byte("stco")); binary.BigEndian.Uint32(index[i+12:]) != videoHead || data[12] != 0x65 {
		t.Error("a video does not begin with a key frame")
	}
	return at
}

func TestSource(t *testing.T) {
	b := corpusBytes(t, "source", 8<<20)
	r := tar.NewReader(bytes.NewReader(b))
	kinds, names := map[string]int{}, map[string]bool{}
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil || !bytes.HasSuffix(text, []byte("\n")) {
			t.Errorf("%s ends with %q, %v", h.Name, text[max(0, len(text)-9):], err)
		}
		if names[h.Name] {
			t.Errorf("%s is there twice", h.Name)
		}
		names[h.Name] = true
		kinds[filepath.Ext(h.Name)]++
	}
	for _, l := range sourceLanguages {
		if kinds[l.extension] < 40 {
			t.Errorf("%d files of *%s", kinds[l.extension], l.extension)
		}
	}
	if !bytes.HasSuffix(b, make([]byte, tarEnd)) {
		t.Error("no zeros at the end")
	}

	cmd := exec.Command(need.Command(t, "tar", "apt-get install tar"), "tf", "-")
	cmd.Stdin = bytes.NewReader(b)
	if out, err := cmd.CombinedOutput(); err != nil || strings.Count(string(out), "\n") != len(names) {
		t.Errorf("tar lists %d files of %d: %v", strings.Count(string(out), "\n"), len(names), err)
	}
}

func TestLogs(t *testing.T) {
	b := corpusBytes(t, "logs", 4<<20)
	lines := strings.Split(string(b), "\n")
	objects := 0
	var last time.Time
	for _, line := range lines[:len(lines)-1] {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		objects++
		var entry struct {
			TS    time.Time `json:"ts"`
			Level string    `json:"level"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" {
			t.Fatalf("%s: %v", line, err)
		}
		if entry.TS.Before(last) {
			t.Fatalf("%s comes after %s", line, last)
		}
		last = entry.TS
	}
	if objects < len(lines)/4 || objects > len(lines)*3/4 {
		t.Errorf("%d of %d lines are JSON", objects, len(lines))
	}
}

func TestSmallFiles(t *testing.T) {
	one, two := t.TempDir(), filepath.Join(t.TempDir(), "new")
	for _, dir := range []string{one, two} {
		if err := SmallFiles(dir, 1000, 1); err != nil {
			t.Fatal(err)
		}
	}
	got, again := treeSum(t, one, 1000), treeSum(t, two, 1000)
	const want = "8bf4a72784d02a5fe3922fd427744eac"
	if got != again || got != want {
		t.Errorf("tree %s, again %s, want %s", got, again, want)
	}
	if err := SmallFiles(one, 10, 1); err == nil {
		t.Error("files that were there are replaced")
	}
}

// treeSum is a hash of names, times and contents, and checks the shape of the tree.
// Permissions are left out: Windows has none.
func treeSum(t *testing.T, dir string, want int) string {
	t.Helper()
	sum := sha256.New()
	files, small, empty := 0, 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		fmt.Fprintln(sum, filepath.ToSlash(name), info.ModTime().Unix())
		if d.IsDir() {
			if entries, err := os.ReadDir(path); err != nil || len(entries) > 200 {
				t.Errorf("%s has %d entries, %v", path, len(entries), err)
			}
			return nil
		}
		files++
		if info.Size() <= 8<<10 {
			small++
		}
		if info.Size() == 0 {
			empty++
		}
		b, err := os.ReadFile(path)
		sum.Write(b)
		return err
	})
	if err != nil || files != want || small < files*9/10 || empty == 0 {
		t.Errorf("%d files, %d of them small and %d empty, %v", files, small, empty, err)
	}
	return hex.EncodeToString(sum.Sum(nil))[:32]
}
