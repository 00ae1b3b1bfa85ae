package archivetest

import (
	"crypto/sha256"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Populate makes a tree with every kind of entry in dir, which exists: what the
// system or the user's rights do not allow is left out. All times are set, and
// the content is the same each time.
func Populate(t testing.TB, dir string) {
	t.Helper()
	r, err := os.OpenRoot(dir)
	check(t, err)
	defer r.Close()
	for _, d := range []string{"empty dir", "docs", "docs/deep", "docs/deep/er", "links", "system", "readonly"} {
		check(t, r.Mkdir(d, 0o755))
	}
	for name, size := range map[string]int{
		"empty": 0, "docs/one byte": 1, "docs/block": 512, "docs/page": 4096, "docs/over": 4097,
		"docs/deep/er/big": 3<<20 + 5, "readonly/file": 9, ".hidden": 3, "docs/" + strings.Repeat("n", 255): 7,
		"docs/%25": 1, "docs/...": 1, "docs/ leading": 1, "docs/-": 1, "docs/[a]": 1, "docs/käse": 2,
	} {
		b := make([]byte, size)
		rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(b)
		check(t, r.WriteFile(name, b, 0o644))
	}
	check(t, r.WriteFile("docs/zeros", make([]byte, 100_000), 0o600))
	sparse(t, r, "docs/sparse", 64<<20, 20<<20)
	sparse(t, r, "docs/all hole", 1<<20+1, -1)
	check(t, r.Chmod("readonly/file", 0o444))
	check(t, r.Chmod("docs/one byte", 0o755))
	populateSystem(t, r)
	setTimes(t, r, ".", &times{sec: 1_500_000_000})
	check(t, r.Chmod("readonly", 0o555))
	t.Cleanup(func() { os.Chmod(dir+"/readonly", 0o755) })
}

// Deep makes a file in nested directories, whose path below dir is length bytes
// long, and returns that path. It may be too long to be used at once.
func Deep(t testing.TB, dir string, length int) string {
	t.Helper()
	r, err := os.OpenRoot(dir)
	check(t, err)
	var parts []string
	rest := length
	for rest > 255 {
		n := min(200, rest-2)
		part := strings.Repeat("d", n)
		check(t, r.Mkdir(part, 0o755))
		next, err := r.OpenRoot(part)
		check(t, err)
		r.Close()
		r = next
		parts = append(parts, part)
		rest -= n + 1
	}
	defer r.Close()
	name := strings.Repeat("f", rest)
	check(t, r.WriteFile(name, []byte("deep\n"), 0o644))
	return strings.Join(append(parts, name), "/")
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sparse makes a file of holes with a little data at the offset, if it is not
// negative.
func sparse(t testing.TB, r *os.Root, name string, size, data int64) {
	t.Helper()
	f, err := r.Create(name)
	check(t, err)
	defer f.Close()
	check(t, f.Truncate(size))
	if data >= 0 {
		_, err = f.WriteAt([]byte("between holes"), data)
		check(t, err)
	}
}

// times gives out modification times, no two alike: before 1970, in the far
// future, and with nanoseconds.
type times struct{ sec, n int64 }

func (s *times) next() (sec, nsec int64) {
	s.n++
	switch s.n {
	case 1:
		return -123_456_789, 987_654_321
	case 2:
		if strconv.IntSize == 64 {
			return 4_102_444_800, 1 // the year 2100
		}
	case 3:
		return 0, 0
	}
	return s.sec + s.n*86_401, s.n * 7_654_321 % 1e9
}

// setTimes sets the times of all below name, directories after what is in them.
func setTimes(t testing.TB, r *os.Root, name string, s *times) {
	t.Helper()
	fi, err := r.Lstat(name)
	check(t, err)
	if fi.IsDir() {
		f, err := r.Open(name)
		check(t, err)
		entries, err := f.ReadDir(-1)
		f.Close()
		check(t, err)
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		for _, e := range entries {
			setTimes(t, r, name+"/"+e.Name(), s)
		}
	}
	sec, nsec := s.next()
	check(t, setTime(r, name, sec, nsec))
}
