//go:build linux

package archive_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/internal/need"
)

// swapReader calls swap when some bytes were read.
type swapReader struct {
	io.Reader
	left int
	swap func()
}

func (r *swapReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.left -= n; r.left < 0 && r.swap != nil {
		r.swap()
		r.swap = nil
	}
	return n, err
}

// Somebody who may write to the target puts a hard link to a file of another one
// in the place of the temporary file.
func TestSwappedTemporaryFile(t *testing.T) {
	top := t.TempDir()
	victim, target := top+"/victim", top+"/target"
	write(t, victim, "not theirs")
	var before, after syscall.Stat_t
	if err := syscall.Lstat(victim, &before); err != nil {
		t.Fatal(err)
	}
	big := file("f")
	big.Size, big.Uid, big.Gid = 3<<20, 1234, 1234
	swapped := false
	r := &swapReader{bytes.NewReader(tarOf(t, big)), 2 << 20, func() {
		temps, _ := filepath.Glob(target + "/.coffer-tmp-*")
		swapped = len(temps) == 1 && os.Rename(temps[0], target+"/moved") == nil && os.Link(victim, temps[0]) == nil
	}}
	if _, err := archive.Extract(t.Context(), r, target, nil); err != nil || !swapped {
		t.Fatal(swapped, err)
	}
	if err := syscall.Lstat(victim, &after); err != nil || after.Uid != before.Uid || after.Mtim != before.Mtim || after.Mode != before.Mode {
		t.Errorf("%+v became %+v, %v", before, after, err)
	}
}

// Somebody swaps a directory for a link to another one in the target, again and
// again.
func TestSwappedDirectory(t *testing.T) {
	target := t.TempDir()
	if err := os.Mkdir(target+"/other", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(target+"/d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("other", target+"/l"); err != nil {
		t.Fatal(err)
	}
	var entries []*tar.Header
	for i := range 500 {
		entries = append(entries, file(fmt.Sprint("d/f", i)), file(fmt.Sprint("e", i)))
	}
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, target+"/d", unix.AT_FDCWD, target+"/l", unix.RENAME_EXCHANGE)
			}
		}
	})
	_, err := archive.Extract(t.Context(), bytes.NewReader(tarOf(t, entries...)), target, &archive.ExtractOptions{AllowNonEmpty: true})
	close(stop)
	swapper.Wait()
	if got := tree(t, target+"/other"); got != nil {
		t.Errorf("%d entries went through the link (%v)", len(got), err)
	}
}

// A default ACL of the target gives rights that the archive does not tell.
func TestDefaultACL(t *testing.T) {
	target := t.TempDir()
	acl := "\x02\x00\x00\x00" + // version, then tag, permissions and id of each entry
		"\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x07\x00\x39\x05\x00\x00" + "\x04\x00\x05\x00\xff\xff\xff\xff" +
		"\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"
	err := unix.Setxattr(target, "system.posix_acl_default", []byte(acl), 0)
	need.That(t, err == nil, "needs a file system with ACLs")
	kept := file("d/kept")
	kept.PAXRecords = map[string]string{"SCHILY.xattr.system.posix_acl_access": acl}
	names := []string{"f", "d", "d/f", "implied/f"}
	extract(t, bytes.NewReader(tarOf(t, file("f"), dir("d/"), file("d/f"), kept, file("implied/f"))), target, nil)
	for _, name := range names {
		for _, kind := range []string{"access", "default"} {
			if n, err := unix.Getxattr(target+"/"+name, "system.posix_acl_"+kind, nil); err != unix.ENODATA {
				t.Errorf("%s has an ACL (%s) of %d bytes, %v", name, kind, n, err)
			}
		}
	}
	if n, err := unix.Getxattr(target+"/d/kept", "system.posix_acl_access", nil); n != len(acl) {
		t.Errorf("that of the archive has %d bytes, %v", n, err)
	}
}
