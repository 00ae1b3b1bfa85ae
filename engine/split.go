package engine

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"

	"github.com/coffer-backup/coffer/format"
)

// A splitter follows the content (§ 6) as it is opened, sends the frames that have
// plaintext to be decompressed, and judges everything that can be judged without
// that: the order of the frames, their lengths, the padding and the seek table.
type splitter struct {
	pipe    *openPipe
	segment int

	offset int64 // content bytes seen
	begin  int64 // where in the content the current frame began
	stage  format.FrameKind
	short  bool // a data frame of less than a segment was seen
	frames int64
	pairs  hash.Hash // of the (csize, dsize) pairs, to compare with the table
	entry  []byte
	padded bool
	pad    int64 // payload of the padding

	// The current frame: either gathered into a job,
	job     *openJob
	head    []byte // its first bytes, until its kind is known
	walker  format.FrameWalker
	payload int64 // of a catalog frame
	// or looked at as it passes by.
	passing bool
	remain  int64 // of its payload

	table  hash.Hash // of the table's entries
	footer []byte
	done   bool
}

func newSplitter(p *openPipe) *splitter {
	return &splitter{pipe: p, segment: p.key.copy.header.SegmentSize(), pairs: sha256.New(), table: sha256.New(),
		head: make([]byte, 0, format.SkippableHeaderSize)}
}

func (s *splitter) fail(field, reason string) error {
	return s.wrap(&format.SyntaxError{Struct: "content", Field: field, Reason: reason})
}

// wrap gives a fault of the current frame its place in the container.
func (s *splitter) wrap(err error) error {
	return &Error{"content", s.fileOffset(), err}
}

// fileOffset is where in the container the current frame begins.
func (s *splitter) fileOffset() int64 {
	return s.pipe.packageOffset(uint64(s.begin/format.MaxPayload)) + format.PackageHeaderSize + s.begin%format.MaxPayload
}

// feed takes the next bytes of the content.
func (s *splitter) feed(p []byte) error {
	for len(p) > 0 {
		n, err := s.take(p)
		if err != nil {
			return err
		}
		s.offset += int64(n)
		p = p[n:]
	}
	return nil
}

// take uses some of p.
func (s *splitter) take(p []byte) (n int, err error) {
	switch {
	case s.done:
		return 0, s.fail("seek table", "bytes follow it")
	case s.passing:
		n = int(min(s.remain, int64(len(p))))
		if err := s.pass(p[:n]); err != nil {
			return 0, err
		}
		if s.remain -= int64(n); s.remain == 0 {
			err = s.passed()
		}
		return n, err
	case s.job == nil:
		if len(s.head) == 0 {
			s.begin = s.offset
		}
		n = min(len(p), cap(s.head)-len(s.head))
		if s.head = append(s.head, p[:n]...); len(s.head) == cap(s.head) {
			err = s.start()
		}
		return n, err
	}
	n = min(len(p), s.walker.Need()-len(s.job.frame))
	s.job.frame = append(s.job.frame, p[:n]...)
	return n, s.walk()
}

// start begins the frame whose first bytes are in head.
func (s *splitter) start() error {
	kind, payload, err := format.ParseFrameHeader(s.head)
	if err != nil {
		return s.wrap(err)
	}
	if kind < s.stage || kind == format.FramePadding && s.padded {
		return s.fail("frame magic", "a frame is not in its order")
	}
	if s.frames == format.MaxFrames && kind != format.FrameSeekTable {
		return s.fail("frames", fmt.Sprintf("more than %d", format.MaxFrames))
	}
	s.stage, s.payload = kind, payload
	if kind != format.FrameData && kind != format.FrameCatalog {
		return s.startPassing(kind)
	}
	if kind == format.FrameData && s.short {
		return s.fail("frame", "data follow a frame that is not full")
	}
	job, ok := s.pipe.jobs.get(s.pipe.ctx)
	if !ok {
		return context.Cause(s.pipe.ctx)
	}
	s.job = job
	job.kind, job.offset, job.frame = kind, s.fileOffset(), job.frame[:0]
	s.walker.Reset(s.segment)
	if kind == format.FrameData {
		job.frame = append(job.frame, s.head...)
	}
	s.head = s.head[:0]
	return s.walk()
}

// walk follows the frame in the job as far as it is there, and sends it on when
// it is whole.
func (s *splitter) walk() error {
	j := s.job
	for s.walker.Need() <= len(j.frame) {
		done, err := s.walker.Step(j.frame)
		if err != nil {
			return s.wrap(err)
		}
		need := s.walker.Need()
		if j.kind == format.FrameCatalog && (int64(need) > s.payload || done && int64(need) != s.payload) {
			return s.fail("catalog", "its payload is not one data frame")
		}
		if done {
			return s.send()
		}
	}
	return nil
}

// send sends the finished frame on.
func (s *splitter) send() error {
	j := s.job
	s.job = nil
	j.size, j.stored = s.walker.ContentSize(), s.walker.Stored() && j.kind == format.FrameData
	e := format.SeekEntry{Compressed: uint32(len(j.frame)), Decompressed: uint32(j.size)}
	if j.kind == format.FrameCatalog {
		e = format.SeekEntry{Compressed: uint32(format.SkippableHeaderSize + len(j.frame))}
	} else {
		s.short = j.size < s.segment
	}
	s.count(e)
	if !send(s.pipe.ctx, s.pipe.decoding, j) || !send(s.pipe.ctx, s.pipe.tasks, openTask{job: j}) {
		return context.Cause(s.pipe.ctx)
	}
	return nil
}

// count adds a frame to what the seek table must say.
func (s *splitter) count(e format.SeekEntry) {
	s.frames++
	s.entry = format.AppendSeekEntry(s.entry[:0], e)
	s.pairs.Write(s.entry)
}

// startPassing begins a frame whose payload is not gathered.
func (s *splitter) startPassing(kind format.FrameKind) error {
	s.head = s.head[:0]
	s.passing, s.remain = true, s.payload
	switch kind {
	case format.FramePadding:
		s.padded, s.pad = true, s.payload
	case format.FrameSeekTable:
		if want := format.SeekTableSize(s.frames) - format.SkippableHeaderSize; s.payload != want {
			return s.fail("seek table", fmt.Sprintf("has %d bytes, and %d frames need %d", s.payload, s.frames, want))
		}
	}
	if s.remain == 0 {
		return s.passed()
	}
	return nil
}

// pass looks at some of the payload.
func (s *splitter) pass(p []byte) error {
	switch s.stage {
	case format.FramePadding:
		for _, b := range p {
			if b != 0 {
				return s.fail("padding", "is not zero")
			}
		}
	case format.FrameSeekTable:
		entries := min(max(0, s.remain-format.SeekFooterSize), int64(len(p)))
		s.table.Write(p[:entries])
		s.footer = append(s.footer, p[entries:]...)
	}
	return nil
}

// passed ends such a frame.
func (s *splitter) passed() error {
	s.passing = false
	if s.stage != format.FrameSeekTable {
		s.count(format.SeekEntry{Compressed: uint32(format.SkippableHeaderSize + s.payload)})
		return nil
	}
	frames, err := format.ParseSeekFooter(s.footer)
	if err != nil {
		return s.wrap(err)
	}
	if frames != s.frames || string(s.table.Sum(nil)) != string(s.pairs.Sum(nil)) {
		return s.fail("seek table", "does not agree with the frames")
	}
	s.done = true
	return nil
}

// end judges the content once its last byte was seen.
func (s *splitter) end() error {
	if !s.done {
		s.begin = s.offset
		return s.fail("seek table", "the content ends without one, or inside a frame")
	}
	return checkPadding(s.padded, s.offset, s.pad)
}

// checkPadding judges the length of content with a padding payload of pad bytes.
func checkPadding(padded bool, length, pad int64) error {
	if padded && format.Padded(length-pad) != length {
		return &Error{"content", -1, &format.SyntaxError{Struct: "content", Field: "padding", Reason: fmt.Sprintf("%d bytes are not what pads the rest of %d", pad, length-pad)}}
	}
	return nil
}
