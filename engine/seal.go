package engine

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/spool"
)

// A sealPipe takes segments through four steps: a worker compresses the segment;
// place, in order, settles which packages the frame falls into; a worker seals
// them; write, in order, gives them to dst.
//
//	Writer ── job ──► tasks ──► worker ─► compressed
//	             └──► placing ──► place ──► tasks ──► worker ─► sealed
//	                                  └───► writing ──► write ──► dst, free
//
// Every job carries its buffers. There is a fixed number of jobs, so all the
// queues have room for all jobs, memory is bounded, and nothing is allocated for
// a segment. The order is that of the queues placing and writing: their readers
// wait for each job's step in turn.
type sealPipe struct {
	lifetime

	dst     io.Writer
	jobs    pool[*sealJob]
	tasks   chan *sealJob
	placing chan *sealJob
	writing chan *sealJob

	maxFrame int
	store    bool
	last     *stream // seals the final package

	// Owned by place, and by the Writer's goroutine when the pipe is drained.
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
	filled int    // plaintext bytes
	buf    []byte // the segment's plaintext and, once that is compressed, its packages
	frame  []byte
	isData bool // the frame came from a segment

	number uint64 // of the first package
	first  []byte // payload of the first package, if it begins in earlier frames
	whole  []byte // payloads of the other packages, within frame
	sealed []byte // within buf
	step   chan struct{}
	stage  stage
}

type stage int

const (
	stageCompress stage = iota
	stageSeal
)

// room returns where the next bytes of a segment of size bytes go. At level Store
// that is their place in the frame, so that they are not copied again.
func (p *sealPipe) room(j *sealJob, size int) []byte {
	if p.store {
		return format.StoredRoom(j.frame[:cap(j.frame)], j.filled, size)
	}
	return j.buf[j.filled:size]
}

func newSealPipe(ctx context.Context, dst io.Writer, w *Writer, backend backends.Backend, key []byte, nonce format.Nonce) (*sealPipe, error) {
	p := &sealPipe{dst: dst, maxFrame: format.MaxFrameSize(w.segment), store: w.opts.Level == Store, progress: w.opts.Progress}
	p.begin(ctx)
	// One job is being filled, one for each worker, and as many wait for their
	// turn or for dst; large segments get fewer.
	jobs := 2*w.opts.Workers + 1
	if w.segment > 4<<20 {
		jobs = w.opts.Workers + 1
	}
	p.jobs = newPool(jobs, p.newJob)
	p.placing, p.writing = make(chan *sealJob, jobs), make(chan *sealJob, jobs)
	p.tasks = make(chan *sealJob, jobs)
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
	p.running.Go(p.place)
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
		frame: make([]byte, 0, p.maxFrame),
		first: make([]byte, 0, format.MaxPayload),
		step:  make(chan struct{}, 1),
	}
}

// compress sends on a job whose segment is filled.
func (p *sealPipe) compress(j *sealJob) error {
	j.isData, j.stage = true, stageCompress
	if send(p.ctx, p.placing, j) && send(p.ctx, p.tasks, j) {
		return nil
	}
	return p.failure()
}

// raw sends on a job whose frame holds content bytes as they are.
func (p *sealPipe) raw(j *sealJob) error {
	j.isData = false
	j.step <- struct{}{}
	if send(p.ctx, p.placing, j) {
		return nil
	}
	return p.failure()
}

// work compresses and seals until the pipe stops.
func (p *sealPipe) work(s *stream, enc *encoder) {
	defer s.close()
	for {
		j, ok := receive(p.ctx, p.tasks)
		if !ok {
			return
		}
		var err error
		if j.stage == stageCompress {
			err = p.encode(j, enc)
		} else {
			err = j.seal(s)
		}
		if err != nil {
			p.fail(err)
			return
		}
		j.step <- struct{}{}
	}
}

// encode makes the frame of the job's segment.
func (p *sealPipe) encode(j *sealJob, enc *encoder) (err error) {
	if p.store {
		j.frame, err = enc.store(j.frame[:cap(j.frame)], j.filled)
	} else {
		j.frame, err = enc.append(j.frame[:0], j.buf[:j.filled])
	}
	return err
}

// place gives each frame its place in the content and its packages.
func (p *sealPipe) place() {
	for {
		j, ok := receive(p.ctx, p.placing)
		if !ok {
			return
		}
		if _, ok = receive(p.ctx, j.step); !ok {
			return
		}
		if err := p.placeJob(j); err != nil {
			p.fail(err)
			return
		}
		j.stage = stageSeal
		if !send(p.ctx, p.writing, j) || !send(p.ctx, p.tasks, j) {
			return
		}
	}
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
		if _, ok = receive(p.ctx, j.step); !ok {
			return
		}
		if p.ctx.Err() != nil { // it may have ended together with the step
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
		j.filled, j.frame = 0, j.frame[:0]
		p.jobs.put(j)
	}
}

func (p *sealPipe) report() {
	if p.progress != nil {
		p.progress(Progress{Plain: p.plain, Sealed: p.written.Load()})
	}
}

func (p *sealPipe) output(b []byte) error {
	n, err := p.dst.Write(b)
	p.written.Add(int64(n))
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("writing the container: %w", err)
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
		m := min(len(p)-n, cap(w.cur.frame)-len(w.cur.frame))
		w.cur.frame = append(w.cur.frame, p[n:n+m]...)
		n += m
		if len(w.cur.frame) == cap(w.cur.frame) {
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
	return w.pipe.raw(j)
}
