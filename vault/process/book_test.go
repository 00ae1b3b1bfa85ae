//go:build linux

package process_test

import (
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/wire"
)

// A book has what all clients did and heard, to be compared with the log in the end.
type book struct {
	t                              *testing.T
	attempts, destroyed, recovered atomic.Int64
	expired                        atomic.Int64 // tickets

	mu   sync.Mutex
	sent map[evaluator.Point]*guess
}

// A guess is a blinded point that a client sent.
type guess struct {
	credential string
	entry              // what the log must have if the point was evaluated
	heard      bool    // the client knows that it was
	also       []uint8 // kinds of other entries that the log must have
}

// An entry of the log.
type entry struct {
	kind uint8
	id   [wire.IDSize]byte // of the attempt or the registration
}

func newBook(t *testing.T) *book { return &book{t: t, sent: make(map[evaluator.Point]*guess)} }

// expect is called before a point is sent.
func (b *book) expect(p evaluator.Point, credential string, id [wire.IDSize]byte, kind uint8) *guess {
	g := &guess{credential: credential, entry: entry{kind, id}}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent[p] = g
	return g
}

// answered is called when the vault has said that these things happened.
func (g *guess) answered(kinds ...uint8) {
	g.heard = true
	g.also = append(g.also, kinds...)
}

// audit compares the log of a process that has ended with the book.
func (b *book) audit(p *process, starts int) {
	b.t.Helper()
	counts := make(map[entry]int)
	places := make(map[string]store.Index)
	tallies := make(map[store.Index]*tally)
	known := make(map[[wire.IDSize]byte]*guess)
	for _, g := range b.sent {
		known[g.id] = g
	}
	log := p.readLog()
	for _, e := range log {
		counts[entry{e.Kind, e.Attempt}]++
		if tallies[e.Index] == nil {
			tallies[e.Index] = new(tally)
		}
		if wrong := tallies[e.Index].add(e); wrong != "" {
			b.t.Errorf("entry %d, %+v: %s", e.Seq, e.Event, wrong)
		}
		g := known[e.Attempt]
		if g == nil {
			b.t.Errorf("entry %d, %+v: nobody has asked for it", e.Seq, e.Event)
			continue
		}
		if place, ok := places[g.credential]; ok && place != e.Index {
			b.t.Errorf("entry %d, %+v: it was of %s, whose index is %x", e.Seq, e.Event, g.credential, place)
		}
		places[g.credential] = e.Index
	}
	b.t.Logf("%d entries in the log", len(log))
	b.compare(counts)
	b.compareEvaluated(p, counts, starts)
}

// A tally follows the entries of one index.
type tally struct {
	started int // since the last success
	dead    bool
	ver     uint64
}

func (y *tally) add(e store.Entry) (wrong string) {
	if e.Ver < y.ver {
		wrong = "its ver has grown smaller"
	}
	y.ver = e.Ver
	switch e.Kind {
	case machine.LogStart:
		y.started++
		switch {
		case y.dead:
			wrong = "it was destroyed"
		case y.started > maxAttempts:
			wrong = "there is no success between more attempts than are allowed"
		case int(e.Left) != maxAttempts-y.started:
			wrong = "another number was left"
		}
	case machine.LogSuccess:
		y.started = 0
	case machine.LogRegistered:
		y.started, y.dead = 0, false
	case machine.LogDestroyed:
		y.started, y.dead = 0, true
	}
	return wrong
}

// compare checks that what clients heard of is in the log, once.
func (b *book) compare(counts map[entry]int) {
	b.t.Helper()
	for _, g := range b.sent {
		n := counts[g.entry]
		if n > 1 || g.heard && n == 0 {
			b.t.Errorf("%s: %d entries of kind %d, id %x, of which the client heard: %v", g.credential, n, g.kind, g.id, g.heard)
		}
		for _, kind := range g.also {
			if counts[entry{kind, g.id}] == 0 {
				b.t.Errorf("%s: the client heard of what is not in the log: kind %d, id %x", g.credential, kind, g.id)
			}
		}
	}
}

// compareEvaluated checks that what was evaluated, whether a client heard of it or not, is
// in the log.
func (b *book) compareEvaluated(p *process, counts map[entry]int, starts int) {
	b.t.Helper()
	points, err := os.ReadFile(p.file(evaluatedFile))
	if err != nil {
		b.t.Fatal(err)
	}
	evaluated, own := make(map[*guess]bool), 0
	for ; len(points) >= evaluator.PointSize; points = points[evaluator.PointSize:] {
		g := b.sent[evaluator.Point(points)]
		if g == nil {
			own++ // a vault tries its evaluator when it starts
			continue
		}
		evaluated[g] = true
		if counts[g.entry] == 0 {
			b.t.Errorf("%s: a point was evaluated, and the log has no entry of kind %d, id %x", g.credential, g.kind, g.id)
		}
	}
	if len(points) > 0 || own > starts {
		b.t.Errorf("%d evaluations of what nobody has sent, at %d starts; %d bytes of one more", own, starts, len(points))
	}
	unheard := 0
	for _, g := range b.sent {
		if g.heard && !evaluated[g] {
			b.t.Errorf("%s: the evaluator did not evaluate what the client got", g.credential)
		}
		if !g.heard && evaluated[g] {
			unheard++
		}
	}
	b.t.Logf("%d evaluations, %d of which no client heard", len(evaluated), unheard)
}
