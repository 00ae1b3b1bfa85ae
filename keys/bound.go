package keys

import (
	"crypto/subtle"

	"github.com/coffer-backup/coffer/format"
)

// Bind is what ties slot to the container with this core: a hash of both but for
// slot.Wrapped (§ 4.5.1). Whoever wraps for slots of a kind of their own must wrap
// under it, or with it as Bound does; else slots could be moved to forged containers.
func Bind(core format.Core, slot format.Slot) [32]byte { return [32]byte([]byte(bind(core, slot))) }

// BoundSize is the length of what Bound returns.
const BoundSize = 64

// Bound returns FK ‖ bind, which slots of kinds 3 and 4 wrap (§ 4.5.6). slot has its
// kind, salt and params. The caller erases the result.
func Bound(core format.Core, slot format.Slot, fk *FileKey) []byte {
	return append(fk.Bytes(), bind(core, slot)...)
}

// Unbind returns the file key in what Bound made, or ErrNoMatch if it is bound to
// another slot or container, or is nothing that Bound makes.
func Unbind(core format.Core, slot format.Slot, bound []byte) (*FileKey, error) {
	if len(bound) != BoundSize || subtle.ConstantTimeCompare(bound[32:], []byte(bind(core, slot))) != 1 {
		return nil, ErrNoMatch
	}
	return FileKeyFrom(bound[:32])
}
