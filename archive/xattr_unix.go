//go:build linux || darwin

package archive

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/coffer-backup/coffer/internal/durable"
)

// xattrStored reports whether an attribute of that name is archived, and may be
// set from an archive. Linux has attributes that steer the kernel or a security
// module (trusted.*, security.selinux): those belong to the machine.
func xattrStored(name string) bool {
	if runtime.GOOS == "darwin" {
		return !strings.HasPrefix(name, "com.apple.system.")
	}
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.")
}

// readXattrs returns the attributes of f that are archived. Those that can be
// read come with an error too.
func readXattrs(f *os.File) (map[string]string, error) {
	var small [512]byte
	list, err := xattrBytes(small[:], func(buf []byte) (int, error) { return unix.Flistxattr(int(f.Fd()), buf) })
	if err != nil || len(list) == 0 {
		return nil, err
	}
	attrs := make(map[string]string)
	for key := range bytes.SplitSeq(bytes.TrimSuffix(list, []byte{0}), []byte{0}) {
		name := string(key)
		if !xattrStored(name) {
			continue
		}
		value, e := xattrBytes(nil, func(buf []byte) (int, error) { return unix.Fgetxattr(int(f.Fd()), name, buf) })
		if errors.Is(e, errNoXattr) {
			continue // removed meanwhile
		}
		if e != nil {
			err = fmt.Errorf("reading extended attribute %q: %w", name, e)
			continue
		}
		attrs[name] = string(value)
	}
	return attrs, err
}

// xattrBytes calls get with growing buffers. A file system without attributes
// has none.
func xattrBytes(buf []byte, get func([]byte) (int, error)) ([]byte, error) {
	if buf == nil {
		buf = make([]byte, 256)
	}
	for {
		n, err := get(buf)
		switch {
		case err == nil:
			return buf[:n], nil
		case errors.Is(err, unix.ENOTSUP):
			return nil, nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.ERANGE) || len(buf) >= maxXattrSize:
			return nil, err
		default:
			buf = make([]byte, 8*len(buf))
		}
	}
}

// maxXattrSize is far over what Linux allows for a value or a list (64 KiB) and
// about what is worth keeping in a tar header.
const maxXattrSize = 512 << 10

// hasDefaultACL reports whether what is made in the directory f inherits rights.
func hasDefaultACL(f *os.File) bool {
	n, err := unix.Fgetxattr(int(f.Fd()), "system.posix_acl_default", nil)
	return err == nil && n > 0
}

// removeACLs takes from f the rights that it inherited: the archive tells all that
// it shall have.
func removeACLs(f *os.File) error {
	for _, name := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
		err := unix.Fremovexattr(int(f.Fd()), name)
		if err != nil && !errors.Is(err, errNoXattr) && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("inherited access control list: %w", err)
		}
	}
	return nil
}

func setXattr(f *os.File, name, value string) error {
	return durable.RetryEINTR(func() error { return unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0) })
}
