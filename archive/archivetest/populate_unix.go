//go:build linux || darwin

package archivetest

import (
	"os"
	"path"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// populateSystem makes what only Unix has. Calls that a file system or the
// user's rights may refuse are not checked.
func populateSystem(t testing.TB, r *os.Root) {
	t.Helper()
	for name, target := range map[string]string{
		"links/relative": "../docs/page", "links/absolute": "/etc/passwd", "links/dangling": "nowhere",
		"links/dir": "../docs/deep", "links/up": "../../..", "links/long": strings.Repeat("x/", 500) + "y",
		"links/bytes": "\xff\xfe", "links/self": "self",
	} {
		check(t, r.Symlink(target, name))
	}
	for _, name := range []string{"docs/new\nline", "docs/back\\slash", "docs/*", "docs/quote\"'"} {
		check(t, r.WriteFile(name, []byte(name), 0o640))
	}
	if runtime.GOOS == "linux" { // macOS demands UTF-8
		check(t, r.WriteFile("docs/\xff\x80 bytes", []byte("x"), 0o644))
		check(t, r.Mkdir("docs/dir \xe4", 0o755))
	}
	check(t, r.Link("docs/page", "links/page"))
	check(t, r.Link("docs/page", "docs/deep/page again"))
	check(t, r.Link("links/relative", "links/relative again"))

	sys, err := r.Open("system")
	check(t, err)
	defer sys.Close()
	fd := int(sys.Fd())
	for _, m := range []struct {
		name string
		mode uint32
	}{{"setuid", 0o4755}, {"setgid", 0o2711}, {"none", 0}} {
		if m.mode == 0 && os.Geteuid() != 0 {
			continue // could not be archived
		}
		check(t, r.WriteFile("system/"+m.name, []byte(m.name), 0o600))
		check(t, unix.Fchmodat(fd, m.name, m.mode, 0))
	}
	check(t, r.Mkdir("system/sticky", 0o700))
	check(t, unix.Fchmodat(fd, "sticky", 0o1777, 0))
	populateSpecial(t, fd)
	if os.Geteuid() == 0 {
		check(t, r.WriteFile("system/owned", []byte("x"), 0o600))
		check(t, r.Lchown("system/owned", 1234, 2_100_000)) // over seven octal digits
		check(t, r.Lchown("links/dangling", 12, 34))
	}
	populateXattrs(t, r)
}

func populateXattrs(t testing.TB, r *os.Root) {
	t.Helper()
	acl := "\x02\x00\x00\x00" + // version, then tag, permissions and id of each entry
		"\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x39\x05\x00\x00" + "\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00" + strings.Repeat("\x00", 12) // cap_net_bind_service
	for name, attrs := range map[string]map[string]string{
		"docs/block":    {"user.comment": "a\x00b\nc=d", "user.empty": "", "user.a=b%c%3D": "x", "system.posix_acl_access": acl},
		"docs/deep":     {"user.dir": "yes", "system.posix_acl_default": acl},
		"readonly/file": {"user.readonly": strings.Repeat("v", 3000)},
		"system/setgid": {"security.capability": capability},
	} {
		f, err := r.Open(name)
		check(t, err)
		for key, value := range attrs {
			unix.Fsetxattr(int(f.Fd()), key, []byte(value), 0)
		}
		f.Close()
	}
}

func setTime(r *os.Root, name string, sec, nsec int64) error {
	dir, err := r.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	ts, err := unix.TimeToTimespec(time.Unix(sec, nsec))
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(int(dir.Fd()), path.Base(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}
