package vault

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/codec"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A cell as it is stored is its format, its ver, a nonce and what is sealed, with a
// length that says no more than whether the keyring is large. SPEC.md § 6
const (
	cellFormat  = 1
	cellHeader  = 1 + 8
	nonceSize   = 12
	tagSize     = 16
	smallCell   = 1536
	largeCell   = 5632
	sealingSize = cellHeader + nonceSize + tagSize
)

// errCell is wrapped by errors about cells that are not what was stored.
var errCell = errors.New("vault: a stored record is damaged, or is another vault's")

// A subject is a record's place in the store, and the keys for it.
type subject struct {
	vault string
	index store.Index
	root  [32]byte
}

// subject returns the place of a credential id.
func (s *Server) subject(ctx context.Context, credential string) (*subject, error) {
	name, err := s.evaluator.MAC(ctx, lp(lp([]byte(labelIndex), s.id), credential))
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return s.subjectAt(ctx, s.index(name[:]))
}

// index completes the first half of name to an index: the second half is proof that the
// vault made it.
func (s *Server) index(name []byte) (index store.Index) {
	half := copy(index[:], name[:len(index)/2])
	h := hmac.New(sha256.New, s.indexKey[:])
	h.Write(index[:half])
	copy(index[half:], h.Sum(nil))
	return index
}

// subjectAt returns the place of an index, which may be a stranger's: one that the vault
// did not make is refused before the evaluator is asked.
func (s *Server) subjectAt(ctx context.Context, index store.Index) (*subject, error) {
	if own := s.index(index[:]); !hmac.Equal(own[:], index[:]) {
		return nil, ErrRefused
	}
	root, err := s.evaluator.MAC(ctx, append([]byte(labelRow), index[:]...))
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &subject{s.id, index, root}, nil
}

// key derives what label names.
func (u *subject) key(label string) [32]byte { return expand(u.root[:], label) }

func expand(secret []byte, info string) (key [32]byte) {
	out, err := hkdf.Expand(sha256.New, secret, info, len(key))
	if err != nil {
		panic("vault: internal error: " + err.Error()) // only for more than 255 blocks
	}
	copy(key[:], out)
	clear(out)
	return key
}

// scalarFrom derives a scalar. That it may be above the order makes it no less random
// than one part in 2^32.
func scalarFrom(root []byte, label string) evaluator.Scalar {
	return evaluator.Scalar(expand(root, label))
}

func newGCM(key [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("vault: internal error: " + err.Error()) // only for other lengths
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("vault: internal error: " + err.Error()) // only for other block sizes
	}
	return aead
}

// A nobody is a subject with a row that is opened where there is none, so that this
// takes as long.
type nobody struct {
	subject
	cells store.Cells
}

func newNobody(vault string) nobody {
	n := nobody{subject: subject{vault: vault}}
	row := &machine.Row{Status: machine.Active, Material: machine.Material{Keyring: make([]byte, keyringSize)}}
	n.cells.Row = n.sealCell(labelSealRow, 0, row.Fields)
	return n
}

// open opens the cells of u.
func (s *Server) open(u *subject, c store.Cells) (*machine.State, error) {
	if c.Row == nil {
		if _, err := s.nobody.open(s.nobody.cells); err != nil {
			return nil, err
		}
	}
	return u.open(c)
}

// open opens the cells.
func (u *subject) open(c store.Cells) (*machine.State, error) {
	s := new(machine.State)
	if c.Row != nil {
		s.Row = new(machine.Row)
		ver, err := u.openCell(labelSealRow, c.Row, s.Row.Fields)
		if err != nil {
			return nil, err
		}
		s.Row.Ver = ver
	}
	if c.Pending != nil {
		s.Pending = new(machine.Pending)
		ver, err := u.openCell(labelSealPend, c.Pending, s.Pending.Fields)
		if err != nil {
			return nil, err
		}
		if s.Row == nil || ver != s.Row.Ver { // they are written together
			return nil, fmt.Errorf("%w: a registration of another time than its row", errCell)
		}
	}
	return s, nil
}

func (u *subject) openCell(label string, cell []byte, fields func(*codec.Codec)) (ver uint64, err error) {
	if len(cell) != smallCell && len(cell) != largeCell || cell[0] != cellFormat {
		return 0, fmt.Errorf("%w: %d bytes", errCell, len(cell))
	}
	header, nonce, sealed := cell[:cellHeader], cell[cellHeader:cellHeader+nonceSize], cell[cellHeader+nonceSize:]
	plain, err := newGCM(u.key(label)).Open(nil, nonce, sealed, u.binding(header))
	if err != nil {
		return 0, errCell
	}
	defer clear(plain)
	if _, err := codec.Parse(plain, fields); err != nil {
		return 0, fmt.Errorf("%w: %w", errCell, err)
	}
	return binary.BigEndian.Uint64(header[1:]), nil
}

// binding returns what a cell is bound to.
func (u *subject) binding(header []byte) []byte {
	b := lp(append(make([]byte, 0, 128), header...), u.vault)
	return append(b, u.index[:]...)
}

// change seals what an outcome made of a state, as the next ver.
func (u *subject) change(s *machine.State, o machine.Outcome, now int64, hadPending bool) store.Change {
	s.Row.Ver++
	c := store.Change{Row: u.sealCell(labelSealRow, s.Row.Ver, s.Row.Fields), Due: s.Due(), Log: o.Log}
	switch {
	case s.Pending != nil:
		c.Pending = u.sealCell(labelSealPend, s.Row.Ver, s.Pending.Fields)
	case hadPending:
		c.Pending = []byte{}
	}
	for i := range c.Log {
		e := &c.Log[i]
		e.Index, e.Time, e.Ver, e.Gen = u.index, now, s.Row.Ver, s.Row.Gen
	}
	return c
}

func (u *subject) sealCell(label string, ver uint64, fields func(*codec.Codec)) []byte {
	plain := codec.Append(make([]byte, 0, smallCell), fields)
	defer func() { clear(plain[:cap(plain)]) }()
	size := smallCell
	if len(plain) > size-sealingSize {
		size = largeCell
	}
	plain = append(plain, make([]byte, size-sealingSize-len(plain))...)
	cell := binary.BigEndian.AppendUint64(append(make([]byte, 0, size), cellFormat), ver)
	cell = cell[:cellHeader+nonceSize]
	rand.Read(cell[cellHeader:]) // never fails
	return newGCM(u.key(label)).Seal(cell, cell[cellHeader:], plain, u.binding(cell[:cellHeader]))
}

// transact has event act on the state of u and makes what it changes durable. If it is
// not known whether that happened, the store is asked: an event that has happened is told
// again, and one that has not is not tried again.
func (s *Server) transact(ctx context.Context, u *subject, event func(*machine.State) machine.Outcome) (o machine.Outcome, err error) {
	now := s.clock.unix()
	err = s.store.Update(ctx, u.index, func(cells store.Cells) (store.Change, error) {
		state, err := s.open(u, cells)
		if err != nil {
			return store.Change{}, err
		}
		if o = event(state); !o.Changed {
			return store.Change{}, nil
		}
		return u.change(state, o, now, cells.Pending != nil), nil
	})
	if !errors.Is(err, store.ErrUnknown) {
		return o, err
	}
	s.log.Error("the outcome of a write is not known", "error", err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unknownTime)
	defer cancel()
	if o, err = s.look(ctx, u, event); err == nil && o.Changed {
		err = errors.New("the write did not happen")
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errUnavailable, err)
	}
	return o, err
}

// look has event act on the state of u, of which nothing is kept.
func (s *Server) look(ctx context.Context, u *subject, event func(*machine.State) machine.Outcome) (o machine.Outcome, err error) {
	cells, err := s.store.View(ctx, u.index)
	if err != nil {
		return o, err
	}
	state, err := s.open(u, cells)
	if err != nil {
		return o, err
	}
	return event(state), nil
}

// virtual returns what stands for a credential id that has no record. It has the size of
// a record, and takes the same work.
func (s *Server) virtual(u *subject, credential string) machine.Row {
	key := evaluator.Key{Blob: bytes.Clone(s.decoy.Blob), Public: s.decoy.Public} // a row is wiped at its end
	return machine.Row{ID: credential, Gen: u.fakeGen(), Material: s.material(key, make([]byte, keyringSize))}
}

// keyringSize is the length of a wrapped keyring of few keys.
const keyringSize = 32 + 512 + 16

func (u *subject) fakeGen() uint64 {
	key := u.key(labelFakeGen)
	return binary.BigEndian.Uint64(key[:])
}

// material returns what a registration begins with.
func (s *Server) material(key evaluator.Key, keyring []byte) machine.Material {
	return machine.Material{
		Key: key, AKE: s.descriptor.newest().ID, KSF: wire.KSF(s.descriptor.KSF.wire()), Descriptor: s.hash, Keyring: keyring,
	}
}
