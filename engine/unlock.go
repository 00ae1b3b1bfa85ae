package engine

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// headerCopy is one of the two header blocks of a container.
type headerCopy struct {
	name   string // "header" or "tail"
	offset int64
	block  []byte
	header *format.Header
	err    error // why header is nil
}

// unlocked is a container whose file key was found and whose header is authentic.
type unlocked struct {
	copy     headerCopy
	schedule *keys.Schedule
	bodyKey  []byte
	nonce    format.Nonce
	slotKind format.Kind
	public   bool // anyone could have made the slot
}

// The order in which slots are tried: cheap first, a person's patience last.
var unlockOrder = []format.Kind{format.KindAccount, format.KindHPKE, format.KindPKCS11, format.KindTink, format.KindPassphrase}

// Attempts at slots whose keys are elsewhere (§ 4.5), per kind and open.
const maxRemoteAttempts = 4

// unlock finds the file key in the candidates, best first, and authenticates the
// header it came from (§ 8). The first slot that opens decides.
func unlock(ctx context.Context, candidates []headerCopy, with []keys.Identity, opts *ReaderOptions) (*unlocked, error) {
	u := unlocker{ctx: ctx, with: with, opts: opts, policy: opts.Argon2.orDefault(), tried: make(map[triedSlot]bool)}
	for _, c := range candidates {
		fk, slot, err := u.findKey(c.header)
		if err != nil {
			return nil, &Error{c.name, c.offset, err}
		}
		if fk == nil {
			continue
		}
		defer fk.Erase()
		found := &unlocked{copy: c, slotKind: slot.Kind, public: isPublic(slot)}
		if err := found.authenticate(fk, opts); err != nil {
			found.erase()
			return nil, &Error{c.name, c.offset, err}
		}
		return found, nil
	}
	return nil, u.failure()
}

// authenticate verifies the MAC under fk, then the context and the caller's
// policy, in that order, and derives the keys of the body.
func (u *unlocked) authenticate(fk *keys.FileKey, opts *ReaderOptions) error {
	h := u.copy.header
	u.schedule = keys.NewSchedule(fk, &h.Salt)
	if !u.schedule.VerifyHeader(u.copy.block, &h.MAC) {
		return ErrAuth
	}
	if h.HasContext() != (len(opts.Context) > 0) {
		if h.HasContext() {
			return fmt.Errorf("%w: the container is bound to one, and none was given", ErrContext)
		}
		return fmt.Errorf("%w: one was given, and the container has none", ErrContext)
	}
	if h.HasContext() {
		tag := u.schedule.ContextTag(opts.Context)
		if subtle.ConstantTimeCompare(tag[:], h.ContextTag[:]) != 1 {
			return ErrContext
		}
	}
	if h.Generation < opts.MinGeneration {
		return fmt.Errorf("%w: the container has generation %d, and at least %d is wanted: an old header was put back", ErrLimit, h.Generation, opts.MinGeneration)
	}
	u.bodyKey, u.nonce = u.schedule.Body(h.Core(), opts.Context)
	return nil
}

// erase overwrites the keys, after which nothing can be opened.
func (u *unlocked) erase() {
	u.schedule.Erase()
	clear(u.bodyKey)
}

// unlocker keeps the limits on work across the copies of the header.
type unlocker struct {
	ctx     context.Context
	with    []keys.Identity
	opts    *ReaderOptions
	policy  Argon2Policy
	tried   map[triedSlot]bool
	remote  map[format.Kind]int
	runs    int
	workKiB uint64
	limited error // why a slot was not tried
	failed  error // an attempt that could not be made
}

// triedSlot tells slots apart that may stand in both copies of the header.
type triedSlot struct {
	kind format.Kind
	data string
}

// failure is the error when no slot opened.
func (u *unlocker) failure() error {
	switch {
	case u.failed != nil:
		return u.failed
	case u.limited != nil:
		return u.limited
	}
	return keys.ErrNoMatch
}

// findKey tries every slot of h that the identities could open, each once. The
// error is one that ends the search.
func (u *unlocker) findKey(h *format.Header) (*keys.FileKey, format.Slot, error) {
	core := h.Core()
	for _, kind := range unlockOrder {
		for _, e := range h.Entries {
			slot, known, err := e.Slot()
			this := triedSlot{e.Kind, string(e.Data)}
			if err != nil || !known || slot.Kind != kind || u.tried[this] {
				continue
			}
			u.tried[this] = true
			for _, id := range u.with {
				if id.Kind() != kind || !u.mayTry(slot) {
					continue
				}
				fk, err := id.Unwrap(u.ctx, core, slot)
				if err == nil {
					return fk, slot, nil
				}
				if u.ctx.Err() != nil {
					return nil, slot, context.Cause(u.ctx)
				}
				if !errors.Is(err, keys.ErrNoMatch) && u.failed == nil {
					u.failed = fmt.Errorf("opening the %v slot: %w", kind, err)
				}
			}
		}
	}
	return nil, format.Slot{}, nil
}

// A PolicyError says that there was a key for a slot which the options keep from being
// tried. It is an ErrLimit.
type PolicyError struct {
	Kind      format.Kind // of the slot
	Anonymous bool        // AllowAnonymous would let it be tried; else Accept would
}

func (e *PolicyError) Error() string {
	if e.Anonymous {
		return fmt.Sprintf("the slot of kind %v was not tried: anyone can have made it, and that is not allowed", e.Kind)
	}
	return fmt.Sprintf("the slot of kind %v was not tried: that kind is not accepted", e.Kind)
}

// Unwrap returns ErrLimit.
func (e *PolicyError) Unwrap() error { return ErrLimit }

// mayTry counts an attempt, and refuses it if it would pass a limit.
func (u *unlocker) mayTry(slot format.Slot) bool {
	refuse := func(err error) bool {
		if u.limited == nil {
			u.limited = err
		}
		return false
	}
	limit := func(text string, args ...any) bool {
		return refuse(fmt.Errorf("%w: "+text, append([]any{ErrLimit}, args...)...))
	}
	if len(u.opts.Accept) > 0 && !slices.Contains(u.opts.Accept, slot.Kind) {
		return refuse(&PolicyError{Kind: slot.Kind})
	}
	switch slot.Kind {
	case format.KindPassphrase:
		p, err := slot.PassphraseParams()
		if err != nil {
			return false
		}
		work := uint64(p.Time) * uint64(p.MemoryKiB)
		if p.MemoryKiB > u.policy.MaxMemoryKiB {
			return limit("a passphrase slot asks for %d KiB of memory, and %d KiB are allowed", p.MemoryKiB, u.policy.MaxMemoryKiB)
		}
		if u.runs == u.policy.MaxRuns {
			return limit("more than %d passphrase slots would have to be tried", u.policy.MaxRuns)
		}
		if u.workKiB+work > u.policy.MaxWorkKiB {
			return limit("the passphrase slots ask for more than %d KiB × passes in all", u.policy.MaxWorkKiB)
		}
		u.runs++
		u.workKiB += work
	case format.KindPKCS11, format.KindTink, format.KindHPKE:
		if isPublic(slot) && !u.opts.AllowAnonymous && !u.onlyPublic() {
			return refuse(&PolicyError{Kind: slot.Kind, Anonymous: true})
		}
		if slot.Kind == format.KindHPKE {
			break
		}
		if u.remote == nil {
			u.remote = make(map[format.Kind]int)
		}
		if u.remote[slot.Kind]++; u.remote[slot.Kind] > maxRemoteAttempts {
			return limit("more than %d slots of kind %v", maxRemoteAttempts, slot.Kind)
		}
	}
	return true
}

// onlyPublic reports whether the caller has no other identities than ones for
// public-key slots, and so cannot have meant to refuse them.
func (u *unlocker) onlyPublic() bool {
	for _, id := range u.with {
		if id.Kind() != format.KindHPKE {
			return false
		}
	}
	return true
}

// isPublic reports whether anyone could have made the slot (§ 4.5).
func isPublic(slot format.Slot) bool {
	return slot.Kind == format.KindHPKE || slot.Kind == format.KindPKCS11 && format.Mech(slot.Params[0]) == format.MechRSAOAEP
}

// judgeCopy compares the other header block with the one that opened the
// container (§ 3.4.4). It returns nil if they are identical, and otherwise the
// header of the other one, which is authentic.
func (u *unlocked) judgeCopy(block []byte) (*format.Header, error) {
	if bytes.Equal(block, u.copy.block) {
		return nil, nil
	}
	h, err := format.ParseHeader(block)
	own := u.copy.header
	if err != nil || h.Core() != own.Core() || h.Size != own.Size || !u.schedule.VerifyHeader(block, &h.MAC) {
		return nil, ErrAuth
	}
	return h, nil
}

// skewWarning is for a container whose two header blocks differ.
func skewWarning(head, tail *format.Header) string {
	h, t := head.Generation, tail.Generation
	switch {
	case h > t:
		return fmt.Sprintf("the header has generation %d and its copy at the end %d: no interrupted rewrap leaves that, so an old copy may have been put back", h, t)
	case h < t:
		return fmt.Sprintf("the header has generation %d and its copy at the end %d: a rewrap was interrupted, and should be run again", h, t)
	}
	return fmt.Sprintf("the header and its copy at the end differ, and both have generation %d", h)
}
