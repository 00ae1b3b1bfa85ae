package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/format"
)

func newInspect(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE|-",
		Short: "Show what anybody can see of a container, without a key",
		Long: `Show every public field of a container: what an observer sees, and which keys open
it. Nothing of it is authenticated without a key; "coffer verify" does that.

Of each slot it says who may have written a container that opens by it: whoever has its
key, or that of another slot of the same container. The names of keys in slots are hints,
which whoever wrote the container chose; coffer never looks for a key by them.

No container records which backend and which compressor made it: all of them make the
same format. "coffer backends" shows those of this build.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspect(cmd.Context(), u, args[0])
		},
	}
}

// errHeaderCopy says that the container cannot be whole.
var errHeaderCopy = errors.New("one of the two copies of the header is damaged, missing or of another container")

// public is what inspect shows, as an object of --json.
type public struct {
	Type        string       `json:"type"`
	Input       string       `json:"input"`
	Length      int64        `json:"length"`
	Version     int          `json:"version"`
	Suite       string       `json:"suite"`
	SegmentSize int          `json:"segment_size"`
	Context     bool         `json:"context_required"`
	ContextTag  string       `json:"context_tag,omitempty"`
	Salt        string       `json:"salt"`
	Generation  uint64       `json:"generation"`
	HeaderSize  int          `json:"header_size"`
	MAC         string       `json:"mac"`
	BodyLength  int64        `json:"body_length"`
	Copies      string       `json:"copies"` // how the two header copies compare
	Slots       []publicSlot `json:"slots"`
}

func inspect(ctx context.Context, u *ui, name string) error {
	in, err := openInput(ctx, name)
	if err != nil {
		return err
	}
	defer in.close()
	head, tail, err := readEnds(in)
	if err != nil {
		return in.fault(err)
	}
	p, damage := describe(in.name, head, tail)
	if p != nil {
		if err := u.print(p, p.text()); err != nil {
			return err
		}
	}
	if damage != nil {
		return in.fault(damage)
	}
	return nil
}

// An end is the last part of a container, where a header block can be.
type end struct {
	bytes  []byte
	length int64 // of the whole container
}

// readEnds reads the first and the last MaxHeaderSize bytes of in.
func readEnds(in *input) (head []byte, tail end, err error) {
	head = make([]byte, format.MaxHeaderSize)
	n, err := io.ReadFull(in, head)
	head = head[:n]
	tail = end{bytes.Clone(head), int64(n)}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return head, tail, nil
	} else if err != nil {
		return nil, end{}, err
	}
	if in.random() {
		tail.length = in.size
		_, err = in.file.ReadAt(tail.bytes, in.size-int64(len(tail.bytes)))
		return head, tail, err
	}
	_, err = io.Copy(&tail, in)
	return head, tail, err
}

// Write keeps the last bytes of a stream.
func (e *end) Write(p []byte) (int, error) {
	e.length += int64(len(p))
	keep := p[max(0, len(p)-len(e.bytes)):]
	copy(e.bytes, e.bytes[len(keep):])
	copy(e.bytes[len(e.bytes)-len(keep):], keep)
	return len(p), nil
}

// describe returns what can be told, nil if that is nothing, and what is damaged.
func describe(name string, head []byte, tail end) (*public, error) {
	header, block, err := format.ReadHeader(bytes.NewReader(head))
	last, lastBlock, lastErr := readTail(bytes.NewReader(tail.bytes), int64(len(tail.bytes)))
	copies, damage := "identical", error(nil)
	switch {
	case err != nil && lastErr != nil:
		return nil, err
	case err != nil:
		header, copies = last, "the first one is damaged: "+err.Error()
		damage = errHeaderCopy
	case lastErr != nil:
		copies = "the second one is damaged or missing: " + lastErr.Error()
		damage = errHeaderCopy
	case tail.length < 2*int64(header.Size):
		copies = "the second one is missing: the file is truncated"
		damage = errHeaderCopy
	case header.Core() != last.Core() || header.Size != last.Size:
		copies = "they are of two different containers"
		damage = errHeaderCopy
	case !bytes.Equal(block, lastBlock):
		copies = fmt.Sprintf("they differ: generation %d at the beginning, %d at the end", header.Generation, last.Generation)
	}
	return newPublic(name, header, tail.length, copies), damage
}

func newPublic(name string, h *format.Header, length int64, copies string) *public {
	p := &public{
		Type: "container", Input: name, Length: length, Version: format.Version, Suite: h.Suite.String(),
		SegmentSize: h.SegmentSize(), Context: h.HasContext(), Salt: hex.EncodeToString(h.Salt[:]),
		Generation: h.Generation, HeaderSize: h.Size, MAC: hex.EncodeToString(h.MAC[:]),
		BodyLength: max(0, length-2*int64(h.Size)), Copies: copies,
	}
	if p.Context {
		p.ContextTag = hex.EncodeToString(h.ContextTag[:])
	}
	for _, e := range h.Entries {
		p.Slots = append(p.Slots, newPublicSlot(e))
	}
	return p
}

func (p *public) text() string {
	var r rows
	r.add("container", "%s, version %d", quoteName(p.Input), p.Version)
	r.add("length", "%d bytes (%s), of which %d are the encrypted body", p.Length, byteCount(p.Length), p.BodyLength)
	r.add("suite", "%s", p.Suite)
	r.add("segment size", "%s", byteCount(int64(p.SegmentSize)))
	if p.Context {
		r.add("context", "required, tag %s", p.ContextTag)
	} else {
		r.add("context", "none")
	}
	r.add("generation", "%d", p.Generation)
	r.add("salt", "%s", p.Salt)
	r.add("header", "two copies of %d bytes: %s", p.HeaderSize, p.Copies)
	r.add("header MAC", "%s", p.MAC)
	for i, s := range p.Slots {
		r.add(fmt.Sprintf("slot %d", i+1), "%s", s.text())
		if s.Writer != "" {
			r.add("", "%s", s.writer())
		}
	}
	return r.text()
}
