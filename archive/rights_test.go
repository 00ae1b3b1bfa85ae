//go:build linux || darwin

package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/archive/archivetest"
	"github.com/coffer-backup/coffer/internal/need"
)

// asOther runs the test again as a user without rights, if this one is root.
func asOther(t *testing.T, test func(t *testing.T, dir string)) {
	if os.Geteuid() != 0 {
		dir := os.Getenv("COFFER_TEST_DIR")
		if dir == "" {
			dir = t.TempDir()
		}
		test(t, dir)
		return
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "coffer-test-") // that of t lies in one that nobody may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := dir + "/archive.test"
	if err := os.WriteFile(exe, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(dir+"/w", 0o755), os.Chown(dir+"/w", nobody, nobody), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir + "/w"
	cmd.Env = append(os.Environ(), "COFFER_TEST_DIR="+dir+"/w", "TMPDIR="+dir+"/w")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: false}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as uid %d: %v\n%s", nobody, err, out)
	}
}

func TestUnprivilegedRoundTrip(t *testing.T) {
	asOther(t, func(t *testing.T, dir string) {
		defer syscall.Umask(syscall.Umask(0o077)) // must not matter
		from, to := dir+"/from", dir+"/to"
		if err := errors.Join(os.Mkdir(from, 0o755), os.Mkdir(to, 0o755)); err != nil {
			t.Fatal(err)
		}
		archivetest.Populate(t, from)
		s, report := create(t, nil, from)
		if report.Warnings != 0 {
			t.Errorf("%+v", report)
		}
		extract(t, &s.Buffer, to, nil)
		noDiff(t, from, to+from)
		os.Chmod(to+from+"/readonly", 0o755)
	})
}

func TestUnreadable(t *testing.T) {
	asOther(t, func(t *testing.T, dir string) {
		t.Chdir(dir)
		write(t, "src/a", "a")
		write(t, "src/denied file", "secret")
		write(t, "src/denied dir/in it", "secret")
		write(t, "src/z", "z")
		if err := errors.Join(os.Chmod("src/denied file", 0), os.Chmod("src/denied dir", 0)); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod("src/denied dir", 0o755)
		var w warnings
		s, report := create(t, &archive.CreateOptions{OnWarning: w.add}, "src")
		if report.Warnings != 2 || len(w) != 2 || w[0].Path != "src/denied dir" || w[1].Path != "src/denied file" || !errors.Is(w[0], fs.ErrPermission) || !errors.Is(w[1], fs.ErrPermission) {
			t.Errorf("%+v, %v", report, w)
		}
		if got := fmt.Sprint(members(t, s)); got != "[src/ src/a src/denied dir/ src/z]" {
			t.Errorf("stored %s", got)
		}
		if _, err := archive.Create(t.Context(), &memSink{}, []string{"src/denied file"}, nil); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("nothing but a denied file: %v", err)
		}
	})
}

func TestUnprivilegedRestore(t *testing.T) {
	asOther(t, func(t *testing.T, dir string) {
		suid, device, foreign := file("suid"), file("null"), file("foreign")
		suid.Mode = 0o6755
		device.Typeflag, device.Size, device.Devmajor, device.Devminor = tar.TypeChar, 0, 1, 3
		foreign.Mode = 0o600
		suid.Uid, suid.Gid = 1234, 1234
		stream := tarOf(t, suid, device, foreign)
		var w warnings
		report, err := archive.Extract(t.Context(), bytes.NewReader(stream), dir+"/to", &archive.ExtractOptions{OnWarning: w.add})
		if err == nil || report.Failed != 1 || report.Entries != 2 || report.Warnings != 1 || len(w) != 2 {
			t.Errorf("%v, %+v, %v", err, report, w)
		}
		fi, err := os.Stat(dir + "/to/suid")
		if err != nil || fi.Mode() != 0o755 {
			t.Errorf("%v %v", fi.Mode(), err)
		}
		if got := fmt.Sprint(tree(t, dir+"/to")); got != "[foreign suid]" {
			t.Errorf("restored %s", got)
		}
	})
}

// A hard link may go to a file in a directory that the archive closed already.
func TestUnprivilegedHardLink(t *testing.T) {
	asOther(t, func(t *testing.T, dir string) {
		outer, closed := &tar.Header{Typeflag: tar.TypeDir, Name: "d/"}, &tar.Header{Typeflag: tar.TypeDir, Name: "d/closed/"}
		outer.Mode, closed.Mode = 0o500, 0o400
		stream := tarOf(t, outer, closed, file("d/closed/f"), hard("d/same", "d/closed/f"), hard("h", "d/closed/f"))
		extract(t, bytes.NewReader(stream), dir+"/to", nil)
		defer os.Chmod(dir+"/to/d", 0o700)
		defer os.Chmod(dir+"/to/d/closed", 0o700)
		for name, mode := range map[string]fs.FileMode{"d": 0o500, "d/closed": 0o400} {
			fi, err := os.Stat(dir + "/to/" + name)
			if err != nil || fi.Mode().Perm() != mode || !fi.ModTime().Equal(someTime) {
				t.Errorf("%s: %v, %v", name, fi, err)
			}
		}
		if fi, err := os.Stat(dir + "/to/h"); err != nil || fi.Sys().(*syscall.Stat_t).Nlink != 3 {
			t.Errorf("%+v, %v", fi, err)
		}
	})
}

func TestOwners(t *testing.T) {
	need.Root(t)
	suid := file("suid")
	suid.Uid, suid.Gid, suid.Mode = 1234, 2345, 0o6755
	for _, tt := range []struct {
		noOwners bool
		uid, gid uint32
		mode     fs.FileMode
		warnings int64
	}{
		{false, 1234, 2345, 0o755 | fs.ModeSetuid | fs.ModeSetgid, 0},
		{true, 0, 0, 0o755, 1},
	} {
		target := t.TempDir()
		report, err := archive.Extract(t.Context(), bytes.NewReader(tarOf(t, suid)), target, &archive.ExtractOptions{NoOwners: tt.noOwners})
		if err != nil || report.Warnings != tt.warnings {
			t.Errorf("%v, %+v", err, report)
		}
		fi, err := os.Stat(target + "/suid")
		if err != nil {
			t.Fatal(err)
		}
		if st := fi.Sys().(*syscall.Stat_t); st.Uid != tt.uid || st.Gid != tt.gid || fi.Mode() != tt.mode {
			t.Errorf("NoOwners %v: %d:%d %v", tt.noOwners, st.Uid, st.Gid, fi.Mode())
		}
	}
}
