package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/format"
)

// packagesPerRun is how many packages are read, and opened by one worker, at a time:
// no more than a segment, and at most 256 KiB, which stay in a core's cache until they
// are cut into frames.
func packagesPerRun(segment int) int { return min(segment/format.MaxPayload, 4) }

// An openPipe is a sealPipe backwards: fetch reads runs of packages; a worker
// opens each; split, in order, cuts their payloads into frames; a worker
// decompresses each; next gives them out in order.
//
//	src ──► fetch ─ run ──► tasks ──► worker ─► opened
//	                  └───► opening ──► split ─ job ──► tasks ──► worker ─► decoded
//	                                              └───► decoding ──► next, free
//
// The first fault in the order of the file ends the stream, after everything
// before it was given out, however the workers were scheduled: each run and job
// carries its error to its place in the order.
type openPipe struct {
	lifetime

	src  io.Reader
	key  *unlocked
	tail tailCheck
	read atomic.Int64

	runs     pool[*openRun]
	opening  chan *openRun
	jobs     pool[*openJob]
	decoding chan *openJob
	tasks    chan openTask

	mu   sync.Mutex
	warn []string
}

// An openRun is some consecutive packages.
type openRun struct {
	sealed   []byte
	packages []openPackage
	number   uint64 // of the first package
	err      error  // why nothing follows packages; io.EOF at the end of a sound file
	step     chan struct{}
}

// An openPackage lies in its run's sealed at [from, to); its payload takes the
// place of its ciphertext.
type openPackage struct {
	from, to int
	final    bool
	payload  []byte
}

// An openJob is one frame that has plaintext. With err it is the end instead.
type openJob struct {
	kind   format.FrameKind
	offset int64 // of the frame in the container
	frame  []byte
	size   int  // of the plaintext
	stored bool // the plaintext is in frame as it is, else it comes to be in plain
	buf    []byte
	plain  []byte
	err    error
	step   chan struct{}
}

// An openTask is one of the two.
type openTask struct {
	run *openRun
	job *openJob
}

// A tailCheck judges what follows the final package: rest, which was read
// already, then src. It returns io.EOF if all is well.
type tailCheck func(p *openPipe, rest []byte, offset int64) error

// openSpare is how many runs, and jobs, there are beside the one that each worker
// has: one is being filled, and one is being used up.
const openSpare = 2

// openMemory is what the buffers of a pipe with n workers take, in bytes.
func openMemory(n, segment int) int64 {
	return int64(n+openSpare) * int64(segment+decodeSpare+format.MaxFrameSize(segment)+packagesPerRun(segment)*format.MaxPackageSize)
}

func newOpenPipe(ctx context.Context, src io.Reader, key *unlocked, b backends.Backend, workers int, tail tailCheck) (*openPipe, error) {
	n, segment := workers+openSpare, key.copy.header.SegmentSize()
	p := &openPipe{key: key, tail: tail}
	p.begin(ctx)
	p.src = gatedReader{p.ctx, src}
	p.runs = newPool(n, func() *openRun {
		return &openRun{sealed: make([]byte, packagesPerRun(segment)*format.MaxPackageSize), step: make(chan struct{}, 1)}
	})
	p.jobs = newPool(n, func() *openJob {
		return &openJob{buf: make([]byte, segment+decodeSpare), frame: make([]byte, 0, format.MaxFrameSize(segment)), step: make(chan struct{}, 1)}
	})
	p.opening, p.decoding = make(chan *openRun, n), make(chan *openJob, n+1) // and the end
	p.tasks = make(chan openTask, 2*n)
	for range workers {
		dec, err := newDecoder(segment)
		var s *stream
		if err == nil {
			s, err = newStream(p.ctx, b, key.copy.header.Suite, key.bodyKey, key.nonce)
		}
		if err != nil {
			p.cancel(err)
			p.running.Wait()
			return nil, err
		}
		p.running.Go(func() { p.work(s, dec) })
	}
	p.running.Go(p.split)
	go p.fetch()
	return p, nil
}

// close ends all goroutines but fetch, which may be blocked in src.
func (p *openPipe) close() {
	p.cancel(errReaderClosed)
	p.running.Wait()
}

// A gatedReader begins no Read after its context has ended.
type gatedReader struct {
	ctx context.Context
	src io.Reader
}

func (g gatedReader) Read(p []byte) (int, error) {
	if g.ctx.Err() != nil {
		return 0, context.Cause(g.ctx)
	}
	return g.src.Read(p)
}

func (p *openPipe) warnings() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.warn
}

func (p *openPipe) addWarning(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warn = append(p.warn, text)
}

// fetch reads runs until the end of the file or the first fault that shows
// without a key.
func (p *openPipe) fetch() {
	defer close(p.gone)
	p.read.Store(int64(p.key.copy.header.Size))
	for number, end := uint64(0), false; !end; {
		r, ok := p.runs.get(p.ctx)
		if !ok {
			return
		}
		p.fill(r, number)
		number += uint64(len(r.packages))
		end = r.err != nil // read now: r is about to be others'
		if !send(p.ctx, p.opening, r) || !send(p.ctx, p.tasks, openTask{run: r}) {
			return
		}
	}
}

// fill reads a run and finds its packages. What it believes of their headers,
// that a package is the final one and short, is proved when it is opened.
func (p *openPipe) fill(r *openRun, number uint64) {
	n, err := readChunks(p.src, r.sealed)
	p.read.Add(int64(n))
	r.number, r.packages, r.err = number, r.packages[:0], nil
	suite := p.key.copy.header.Suite
	for at := 0; at < len(r.sealed); number++ {
		if n-at < format.PackageHeaderSize {
			r.err = p.incomplete(number, err)
			return
		}
		h := format.PackageHeader(r.sealed[at:])
		if !h.Check(suite, &p.key.nonce) || number >= format.MaxPackages {
			r.err = p.packageError(number, ErrAuth)
			return
		}
		size := format.PackageHeaderSize + h.Payload() + format.PackageTagSize
		if n-at < size {
			r.err = p.incomplete(number, err)
			return
		}
		r.packages = append(r.packages, openPackage{from: at, to: at + size, final: h.Final()})
		at += size
		if h.Final() {
			r.err = p.end(r.sealed[at:n], p.packageOffset(number)+int64(size), err)
			return
		}
	}
}

// readChunks fills b, as io.ReadFull does, by calls of sealedIOSize. Of a source that ends it
// returns either of the errors that say so.
func readChunks(src io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = io.ReadFull(src, b[n:min(len(b), n+sealedIOSize)])
		n += m
	}
	return n, err
}

// incomplete is the error when src ended, or failed with err, inside a package.
func (p *openPipe) incomplete(number uint64, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = ErrTruncated
	}
	return p.packageError(number, err)
}

// end is what follows the final package. A source that failed with err, while
// more was read than the package, fails here too.
func (p *openPipe) end(rest []byte, offset int64, err error) error {
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return &Error{"tail", offset, err}
	}
	return p.tail(p, rest, offset)
}

func (p *openPipe) packageError(number uint64, err error) error {
	return &Error{fmt.Sprintf("package %d", number), p.packageOffset(number), authError(err)}
}

// streamTail is the tailCheck of a stream: exactly the other header block, then
// the end.
func streamTail(p *openPipe, rest []byte, offset int64) error {
	size := p.key.copy.header.Size
	tail := make([]byte, size)
	n := copy(tail, rest)
	if n < size {
		m, err := io.ReadFull(p.src, tail[n:])
		p.read.Add(int64(m))
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = ErrTruncated
		}
		if err != nil {
			return &Error{"tail", offset, err}
		}
	}
	other, err := p.key.judgeCopy(tail)
	if err != nil {
		return &Error{"tail", offset, err}
	}
	if other != nil {
		p.addWarning(skewWarning(p.key.copy.header, other))
	}
	if len(rest) > size {
		return &Error{"end", offset + int64(size), ErrTrailingData}
	}
	return expectEnd(p.src, offset+int64(size))
}

// expectEnd demands that src has no more bytes.
func expectEnd(src io.Reader, offset int64) error {
	var one [1]byte
	switch n, err := io.ReadFull(src, one[:]); {
	case n > 0:
		return &Error{"end", offset, ErrTrailingData}
	case err == io.EOF:
		return io.EOF
	default:
		return &Error{"end", offset, err}
	}
}

// work opens runs and decompresses frames until the pipe stops.
func (p *openPipe) work(s *stream, dec *decoder) {
	defer s.close()
	var sum xxhash.Digest
	for {
		t, ok := receive(p.ctx, p.tasks)
		if !ok {
			return
		}
		if r := t.run; r != nil {
			p.open(r, s)
			r.step <- struct{}{}
			continue
		}
		j := t.job
		if j.stored {
			j.err = checkStored(j.frame, j.size, &sum)
		} else {
			j.plain, j.err = dec.decode(j.buf, j.frame, j.size)
		}
		if j.err != nil {
			j.err = &Error{"content", j.offset, j.err}
		}
		j.step <- struct{}{}
	}
}

// open opens the packages of r in place, up to the first that is not authentic.
func (p *openPipe) open(r *openRun, s *stream) {
	for i := range r.packages {
		k := &r.packages[i]
		sealed := r.sealed[k.from:k.to:k.to]
		var err error
		k.payload, err = s.Open(sealed[format.PackageHeaderSize:format.PackageHeaderSize], sealed, r.number+uint64(i), k.final)
		if err != nil {
			r.err = p.packageError(r.number+uint64(i), err)
			r.packages = r.packages[:i]
			return
		}
	}
}

func (p *openPipe) packageOffset(number uint64) int64 {
	return int64(p.key.copy.header.Size) + int64(number)*format.MaxPackageSize
}

// split cuts the payloads of the runs into frames.
func (p *openPipe) split() {
	s := newSplitter(p)
	for {
		r, ok := receive(p.ctx, p.opening)
		if !ok {
			return
		}
		if _, ok := receive(p.ctx, r.step); !ok {
			return
		}
		for i := range r.packages {
			if err := s.feed(r.packages[i].payload); err != nil {
				p.finish(err)
				return
			}
		}
		if n := len(r.packages); n > 0 && r.packages[n-1].final {
			r.err = cmp.Or(s.end(), r.err)
		}
		if r.err != nil {
			p.finish(r.err)
			return
		}
		p.runs.put(r)
	}
}

// finish queues the end of the stream behind all frames.
func (p *openPipe) finish(err error) {
	end := &openJob{err: err, step: make(chan struct{}, 1)}
	end.step <- struct{}{}
	send(p.ctx, p.decoding, end)
}

// next returns the next frame's plaintext, or the error that ends the stream.
func (p *openPipe) next() (*openJob, error) {
	j, ok := receive(p.ctx, p.decoding)
	if ok {
		_, ok = receive(p.ctx, j.step)
	}
	if !ok {
		if err := context.Cause(p.ctx); err != io.EOF {
			return nil, err
		}
		return nil, errors.New("the reader was cancelled") // io.EOF would say that all is well
	}
	return j, j.err
}

// recycle takes back a job that next gave.
func (p *openPipe) recycle(j *openJob) { p.jobs.put(j) }
