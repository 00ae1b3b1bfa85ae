package vault

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/wire"
)

const (
	roundTime  = time.Second
	roundCount = 1000 // records or entries in a step
	notifyTime = 10 * time.Second
)

// Run does what comes due, until ctx ends: records whose last attempt vanished are
// destroyed, registrations that lapsed are forgotten, heads of the log are signed, and
// owners are told. One Run is enough for the servers of a store.
func (s *Server) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.every(ctx, "telling owners", newTeller(s).round)
	}()
	s.every(ctx, "sweeping", s.sweep)
	<-done
}

// every calls round each second. An error is logged when it comes and when it goes.
func (s *Server) every(ctx context.Context, what string, round func(context.Context) error) {
	tick := time.NewTicker(roundTime)
	defer tick.Stop()
	failing := false
	for ctx.Err() == nil {
		err := round(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			s.log.Error("failed: it is tried again each second", "what", what, "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// sweep does what is due in the store. A record that cannot be swept keeps nothing from
// the others.
func (s *Server) sweep(ctx context.Context) error {
	if s.ailing.Load() {
		if err := s.recover(ctx); err != nil {
			return err
		}
	}
	var faults []error
	for more := true; more; {
		now := s.clock.unix()
		due, err := s.store.Due(ctx, now, roundCount)
		if err != nil {
			return err
		}
		failed := 0
		for _, index := range due {
			if err := s.sweepOne(ctx, index, now); err != nil {
				failed++
				faults = append(faults, fmt.Errorf("record %x: %w", index, err))
			}
		}
		more = len(due) == roundCount && failed == 0
	}
	return errors.Join(append(faults[:min(len(faults), 8)], s.signHead(ctx))...)
}

func (s *Server) sweepOne(ctx context.Context, index store.Index, now int64) error {
	u, err := s.subjectAt(ctx, index)
	if err != nil {
		return err
	}
	_, err = s.transact(ctx, u, func(state *machine.State) machine.Outcome { return s.policy.Sweep(state, now) })
	return err
}

// A Head states how the log was at a time: who keeps one can tell if what it covers is
// changed or taken away later.
type Head struct {
	Seq  uint64 // of the last entry
	Hash [32]byte
	Time int64
	// Signature is of the statement key. SPEC.md § 5.7
	Signature [wire.SignatureSize]byte
}

const headSize = 8 + 32 + 8 + wire.SignatureSize

// digest is what is signed.
func (h *Head) digest(vault string) [32]byte {
	return sha256.Sum256(h.fields(lp([]byte(labelHead), vault)))
}

func (h *Head) fields(b []byte) []byte {
	b = append(binary.BigEndian.AppendUint64(b, h.Seq), h.Hash[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(h.Time))
}

func parseHead(b []byte) (*Head, error) {
	if len(b) != headSize {
		return nil, fmt.Errorf("%w: the head of the log has %d bytes", errCell, len(b))
	}
	h := &Head{Seq: binary.BigEndian.Uint64(b), Hash: [32]byte(b[8:]), Time: int64(binary.BigEndian.Uint64(b[40:]))}
	copy(h.Signature[:], b[48:])
	return h, nil
}

// Head returns the newest signed head of the log, or nil if there is none yet.
func (s *Server) Head(ctx context.Context) (*Head, error) {
	cells, err := s.store.View(ctx, s.own)
	if err != nil || cells.Row == nil {
		return nil, err
	}
	return parseHead(cells.Row)
}

// signHead signs the head of the log if there are new entries, whose chain it verifies.
func (s *Server) signHead(ctx context.Context) error {
	var last store.Entry
	signed, err := s.Head(ctx)
	if err != nil {
		return err
	}
	if signed != nil {
		last.Seq, last.Hash = signed.Seq, signed.Hash
	}
	first := last.Seq
	for {
		entries, err := s.store.Log(ctx, last.Seq, roundCount)
		if err != nil {
			return err
		}
		if last, err = store.Verify(last, entries); err != nil {
			return err
		}
		if len(entries) < roundCount {
			break
		}
	}
	if last.Seq == first && signed != nil {
		return nil
	}
	h := &Head{Seq: last.Seq, Hash: last.Hash, Time: s.clock.unix()}
	if h.Signature, err = s.evaluator.Sign(ctx, h.digest(s.id)); err != nil {
		return s.failed(ctx, err)
	}
	return s.store.Update(ctx, s.own, func(store.Cells) (store.Change, error) {
		return store.Change{Row: append(h.fields(nil), h.Signature[:]...)}, nil
	})
}

// ErrClock is returned by NewServer if the store has an entry of the future, and by Health
// if the clock was set.
var ErrClock = errors.New("vault: the clock cannot be right")

// checkLog compares the log with its signed head, and the clock with both.
func (s *Server) checkLog(ctx context.Context, clockWasWrong bool) error {
	h, err := s.Head(ctx)
	if err != nil {
		return err
	}
	if h == nil {
		if entries, err := s.store.Log(ctx, 0, 1); err != nil {
			return err
		} else if len(entries) > 0 {
			return fmt.Errorf("%w: the store is another vault's, or the evaluator has another MAC key", errCell)
		}
		return s.signHead(ctx) // so that it is there from now on
	}
	if !s.verify(h.digest(s.id), h.Signature) {
		return fmt.Errorf("%w: the head of the log is not signed by this vault", errCell)
	}
	// The end of what the head covers: all of a log may take minutes.
	from, before := h.Seq-min(h.Seq, roundCount), store.Entry{}
	entries, err := s.store.Log(ctx, from, int(h.Seq-from))
	if err != nil {
		return err
	}
	if from > 0 && len(entries) > 0 {
		before, entries = entries[0], entries[1:]
	}
	if last, err := store.Verify(before, entries); err != nil {
		return err
	} else if last.Seq != h.Seq || last.Hash != h.Hash {
		return fmt.Errorf("%w: the log does not go with its head", store.ErrChain)
	}
	if behind := h.Time - s.clock.unix(); behind > int64(maxStep/time.Second) && !clockWasWrong {
		return fmt.Errorf("%w, as it is %d s behind the last head of the log: set it; if it was ahead before, and is right now, say so", ErrClock, behind)
	}
	return nil
}
