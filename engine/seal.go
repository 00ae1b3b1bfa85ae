package engine

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/spool"
)

// A sealPipe takes segments through four steps: a worker makes a frame of the
// segment; when all frames before it are placed, the packages that it falls into are
// settled; a worker seals them, as a rule the same one; write, in order, gives them
// to dst.
//
//	Writer ─ job ──► unplaced
//	           └───► tasks ──► worker ─► framed ─► placed ─► sealed
//	                              ▲                  ├─► writing ──► write ──► dst, free
//	                              └──────── tasks ◄──┘ (of the frames that waited for this one)
//
// Every job carries its buffers. There is a fixed number of jobs, so all the
// queues have room for all jobs, memory is bounded, and nothing is allocated for
// a segment. The order is that of the queues unplaced and writing.
type sealPipe struct {
	lifetime

	dst     io.Writer
	jobs    pool[*sealJob]
	tasks   chan *sealJob
	writing chan *sealJob

	maxFrame int
	last     *stream // seals the final package
	// guessStored says that the last frame was not compressed, as the next one may not
	// be. At level Store it is no guess.
	guessStored atomic.Bool

	mu       sync.Mutex // for what follows, until the pipe is drained
	unplaced fifo[*sealJob]
	table    seekTable
	content  int64  // bytes of content placed
	packages uint64 // packages placed
	carry    []byte // content after those packages: 1 … MaxPayload bytes, 0 only at the beginning

	written  atomic.Int64
	plain    int64 // written plaintext; owned by write
	progress func(Progress)
}

// A sealJob is one frame on its way.
type sealJob struct {
	filled  int    // plaintext bytes
	buf     []byte // the segment's plaintext and, once the frame is made, its packages
	room    []byte // for a frame of any kind
	frame   []byte // in room
	inFrame bool   // the plaintext is in room, where a stored frame has it, and not in buf
	isData  bool   // the frame came from a segment
	framed  bool
	placed  bool

	number uint64 // of the first package
	first  []byte // payload of the first package, if it begins in earlier frames
	whole  []byte // payloads of the other packages, within frame
	sealed []byte // within buf
	done   chan struct{}
}

// room returns where the next bytes of a segment of size bytes go. If the segment
// will not be compressed, or so it seems, that is their place in the frame, so that
// they are not copied again.
func (p *sealPipe) room(j *sealJob, size int) []byte {
	if j.filled == 0 {
		j.inFrame = p.guessStored.Load()
	}
	if j.inFrame {
		return format.StoredRoom(j.room, j.filled, size)
	}
	return j.buf[j.filled:size]
}

func newSealPipe(ctx context.Context, dst io.Writer, w *Writer, backend backends.Backend, key []byte, nonce format.Nonce) (*sealPipe, error) {
	p := &sealPipe{dst: dst, maxFrame: format.MaxFrameSize(w.segment), progress: w.opts.Progress}
	p.begin(ctx)
	p.guessStored.Store(w.opts.Level == Store)
	// One job is being filled, one for each worker, and as many wait for their
	// turn or for dst; large segments get fewer.
	jobs := 2*w.opts.Workers + 1
	if w.segment > 4<<20 {
		jobs = w.opts.Workers + 1
	}
	p.jobs = newPool(jobs, p.newJob)
	p.tasks, p.writing = make(chan *sealJob, jobs), make(chan *sealJob, jobs)
	p.unplaced = newFIFO[*sealJob](jobs)
	p.table.spool = spool.New(spoolLimit, w.opts.TempDir)
	p.carry = make([]byte, 0, format.MaxPayload)

	newStream := func() (*stream, error) {
		return newStream(p.ctx, backend, w.header.Suite, key, nonce)
	}
	var err error
	if p.last, err = newStream(); err != nil {
		p.fail(err)
		return nil, err
	}
	go p.write()
	for range w.opts.Workers {
		enc, err := newEncoder(&w.opts, w.segment)
		var s *stream
		if err == nil {
			s, err = newStream()
		}
		if err != nil {
			p.fail(err)
			p.wait()
			return nil, err
		}
		p.running.Go(func() { p.work(s, enc) })
	}
	return p, nil
}

// fail keeps the first error, which stops everything.
func (p *sealPipe) fail(err error) { p.cancel(err) }

// failure returns what stopped the pipe, or nil.
func (p *sealPipe) failure() error {
	if p.ctx.Err() == nil {
		return nil
	}
	return context.Cause(p.ctx)
}

// wait waits for the goroutines to end, after fail, and frees what they held.
// Afterwards dst is the caller's again, unless the caller has cancelled: a dst that
// hangs is left behind only then.
func (p *sealPipe) wait() {
	p.running.Wait()
	p.released()
	p.last.close()
	_ = p.table.spool.Close()
}

// job returns a job that is not in use, waiting for one if it must.
func (p *sealPipe) job() (*sealJob, error) {
	if err := p.failure(); err != nil {
		return nil, err
	}
	if j, ok := p.jobs.get(p.ctx); ok {
		return j, nil
	}
	return nil, p.failure()
}

func (p *sealPipe) newJob() *sealJob {
	packages := (format.MaxPayload + p.maxFrame) / format.MaxPayload
	return &sealJob{
		buf:   make([]byte, packages*format.MaxPackageSize),
		room:  make([]byte, p.maxFrame),
		first: make([]byte, 0, format.MaxPayload),
		done:  make(chan struct{}, 1),
	}
}

// begun sends on a job whose segment is filled, or whose frame, if it is no data
// frame, holds content bytes as they are.
func (p *sealPipe) begun(j *sealJob, isData bool) error {
	j.isData, j.framed, j.placed = isData, false, false
	p.mu.Lock()
	p.unplaced.push(j)
	p.mu.Unlock()
	p.tasks <- j // all queues have room for all jobs
	return p.failure()
}

// work makes frames and seals them until the pipe stops.
func (p *sealPipe) work(s *stream, enc *encoder) {
	defer s.close()
	for {
		j, ok := receive(p.ctx, p.tasks)
		if !ok {
			return
		}
		if err := p.advance(j, s, enc); err != nil {
			p.fail(err)
			return
		}
	}
}

// advance takes j as far as it can go now.
func (p *sealPipe) advance(j *sealJob, s *stream, enc *encoder) (err error) {
	if !j.placed {
		if j.isData {
			if err = p.encode(j, enc); err != nil {
				return err
			}
		}
		if mine, err := p.place(j); err != nil || !mine {
			return err
		}
	}
	if err = j.seal(s); err == nil {
		j.done <- struct{}{}
	}
	return err
}

// encode makes the frame of the job's segment.
func (p *sealPipe) encode(j *sealJob, enc *encoder) (err error) {
	plain := j.buf[:j.filled]
	if j.inFrame {
		plain = format.StoredRoom(j.room, 0, j.filled)[:j.filled] // with room for a block header here and there
	}
	compress := enc.compressible(plain)
	p.guessStored.Store(!compress)
	switch {
	case !compress && j.inFrame:
		j.frame, err = enc.store(j.room, j.filled)
	case !compress:
		j.frame, err = enc.appendStored(j.room[:0], plain)
	default:
		if j.inFrame { // the guess was wrong
			plain = j.buf[:0]
			for block := range contentBlocks(j.room, j.filled) {
				plain = append(plain, block...)
			}
		}
		j.frame, err = enc.append(j.room[:0], plain)
		if err == nil && &j.frame[0] != &j.room[0] { // a Compressor may answer with memory that it uses again
			j.frame = j.room[:copy(j.room, j.frame)]
		}
	}
	return err
}

// place is told that j's frame is made. It gives a place to each frame that has
// nothing unplaced before it any more. It reports whether j is among these, for the
// caller to seal; the others are sent to whoever is free.
func (p *sealPipe) place(j *sealJob) (mine bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.failure(); err != nil { // no frame takes the place of one that has none
		return false, err
	}
	j.framed = true
	for p.unplaced.len() > 0 && p.unplaced.first().framed {
		next := p.unplaced.pop()
		if err := p.placeJob(next); err != nil {
			p.fail(err)
			return false, err
		}
		next.placed = true
		p.writing <- next
		if next == j {
			mine = true
		} else {
			p.tasks <- next
		}
	}
	return mine, nil
}

// placeJob cuts carry ‖ frame into full packages. At least one byte is always
// kept back, because only the final package may be followed by nothing.
func (p *sealPipe) placeJob(j *sealJob) error {
	if j.isData {
		if err := p.table.add(format.SeekEntry{Compressed: uint32(len(j.frame)), Decompressed: uint32(j.filled)}); err != nil {
			return err
		}
	}
	p.content += int64(len(j.frame))
	j.number, j.first, j.whole = p.packages, j.first[:0], nil
	packages := (len(p.carry) + len(j.frame) - 1) / format.MaxPayload
	if packages <= 0 {
		p.carry = append(p.carry, j.frame...)
		return nil
	}
	if p.packages+uint64(packages) >= format.MaxPackages {
		return fmt.Errorf("%w: one key seals at most 2^32 packages", ErrLimit)
	}
	p.packages += uint64(packages)
	rest := j.frame
	if len(p.carry) > 0 {
		n := format.MaxPayload - len(p.carry)
		j.first = append(append(j.first, p.carry...), rest[:n]...)
		rest = rest[n:]
		packages--
	}
	j.whole = rest[:packages*format.MaxPayload]
	p.carry = append(p.carry[:0], rest[len(j.whole):]...)
	return nil
}

// seal makes the job's packages.
func (j *sealJob) seal(s *stream) (err error) {
	j.sealed = j.buf[:0]
	number := j.number
	if len(j.first) > 0 {
		if j.sealed, err = s.Seal(j.sealed, j.first, number, false); err != nil {
			return sealError(number, err)
		}
		number++
	}
	for rest := j.whole; len(rest) > 0; rest = rest[format.MaxPayload:] {
		if j.sealed, err = s.Seal(j.sealed, rest[:format.MaxPayload], number, false); err != nil {
			return sealError(number, err)
		}
		number++
	}
	return nil
}

func sealError(number uint64, err error) error {
	return fmt.Errorf("sealing package %d: %w", number, err)
}

// write gives packages to dst, in order, and jobs back.
func (p *sealPipe) write() {
	defer close(p.gone)
	for {
		j, ok := receive(p.ctx, p.writing)
		if !ok {
			return
		}
		if _, ok = receive(p.ctx, j.done); !ok {
			return
		}
		if p.ctx.Err() != nil { // it may have ended together with the job
			return
		}
		if len(j.sealed) > 0 {
			if err := p.output(j.sealed); err != nil {
				p.fail(err)
				return
			}
		}
		if j.isData {
			p.plain += int64(j.filled)
		}
		p.report()
		j.filled, j.frame = 0, nil
		p.jobs.put(j)
	}
}

func (p *sealPipe) report() {
	if p.progress != nil {
		p.progress(Progress{Plain: p.plain, Sealed: p.written.Load()})
	}
}

// ioSize is the most that is read or written by one call. The scheduler gives the
// processor of a goroutine that is long in the kernel to another thread, and what
// follows costs more than the additional calls: of a file in memory, 1 MiB at a time
// takes a third longer.
const ioSize = 128 << 10

// sealedIOSize is the same for packages, of which as many are whole.
const sealedIOSize = 2 * format.MaxPackageSize

func (p *sealPipe) output(b []byte) error {
	for len(b) > 0 {
		piece := b[:min(len(b), sealedIOSize)]
		n, err := p.dst.Write(piece)
		if err == nil && n != len(piece) { // or what n counts is something else
			err = io.ErrShortWrite
		}
		if err != nil {
			return fmt.Errorf("writing the container: %w", err)
		}
		p.written.Add(int64(n))
		b = b[n:]
	}
	return nil
}

// drain waits until every job is back.
func (p *sealPipe) drain() error {
	if p.jobs.drain(p.ctx) {
		return nil
	}
	return p.failure()
}

// finish seals the final package, and writes it and the tail.
func (p *sealPipe) finish(tail []byte) error {
	if err := p.drain(); err != nil {
		return err
	}
	sealed, err := p.last.Seal(nil, p.carry, p.packages, true)
	if err != nil {
		return sealError(p.packages, err)
	}
	if err := p.output(sealed); err != nil {
		return err
	}
	if err := p.output(tail); err != nil {
		return err
	}
	p.report()
	return nil
}

// A rawWriter sends content that is made of finished frames through the pipe.
type rawWriter struct {
	pipe *sealPipe
	cur  *sealJob
}

func (w *rawWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if w.cur == nil {
			if w.cur, err = w.pipe.job(); err != nil {
				return n, err
			}
		}
		at := len(w.cur.frame)
		m := copy(w.cur.room[at:], p[n:])
		w.cur.frame = w.cur.room[:at+m]
		n += m
		if len(w.cur.frame) == len(w.cur.room) {
			if err := w.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (w *rawWriter) flush() error {
	if w.cur == nil {
		return nil
	}
	j := w.cur
	w.cur = nil
	return w.pipe.begun(j, false)
}
