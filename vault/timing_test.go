package vault

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/vault/internal/machine"
	"github.com/coffer-backup/coffer/vault/store"
	"github.com/coffer-backup/coffer/vault/wire"
)

// maxT is what Welch's t of two classes is below if there is no difference: it is beyond
// that once in 150,000.
const maxT = 4.5

// welch returns Welch's t of two samples.
func welch(a, b []float64) float64 {
	mean := func(x []float64) (m float64) {
		for _, v := range x {
			m += v / float64(len(x))
		}
		return m
	}
	squares := func(x []float64, m float64) (s float64) {
		for _, v := range x {
			s += (v - m) * (v - m)
		}
		return s / float64(len(x)-1) / float64(len(x))
	}
	ma, mb := mean(a), mean(b)
	return (ma - mb) / math.Sqrt(squares(a, ma)+squares(b, mb))
}

// A stopwatch has the times of two classes: no record, and one.
type stopwatch [2][]float64

// t returns Welch's t of the times up to the one that a part of all are up to: what was
// interrupted says nothing.
func (w *stopwatch) t(part float64) float64 {
	all := slices.Sorted(slices.Values(slices.Concat(w[0], w[1])))
	limit := all[int(part*float64(len(all)-1))]
	var cut stopwatch
	for class, times := range w {
		for _, x := range times {
			if x <= limit {
				cut[class] = append(cut[class], x)
			}
		}
	}
	return welch(cut[0], cut[1])
}

// median of a class, in nanoseconds.
func (w *stopwatch) median(class int) float64 {
	return slices.Sorted(slices.Values(w[class]))[len(w[class])/2]
}

// copied puts a record in the place of a credential id.
func (v *testVault) copied(from *machine.Row, who string) {
	v.t.Helper()
	u, row := must(v.subject(context.Background(), who)), *from
	row.ID = who
	err := v.store.Update(context.Background(), u.index, func(store.Cells) (store.Change, error) {
		return store.Change{Row: u.sealCell(labelSealRow, row.Ver, row.Fields)}, nil
	})
	if err != nil {
		v.t.Fatal(err)
	}
}

// TestTiming measures whether a record is there or not: Start, the first that a credential
// id has seen and a later one, Abort, and Status, before and after. COFFER_LONG=1 has
// 100,000 pairs of each in place of 2,000.
func TestTiming(t *testing.T) {
	rounds := 500
	if need.Long() {
		rounds = 25_000
	}
	const ids = 4 // of each class, in a round
	v := newTestVault(t)
	watches := map[string]*stopwatch{}
	for _, what := range []string{"Status before", "Start, first", "Status after", "Abort, first", "Start, later", "Abort, later"} {
		watches[what] = new(stopwatch)
	}
	v.registered("template", password)
	template := v.state(v.Server, "template").Row
	g := v.guess("template", password2) // whose KE1 is as good as another
	for round := range rounds {
		order := rand.Perm(2 * ids)
		who := func(i int) string { return "r" + strconv.Itoa(round) + "." + strconv.Itoa(i) }
		for i := range ids { // class 1 has records
			v.copied(template, who(2*i+1))
		}
		measure := func(what string, request func(i int) wire.Request) map[int]*wire.Reply {
			frames, replies := make([][]byte, 2*ids), map[int]*wire.Reply{}
			for i := range frames {
				frames[i] = wire.AppendRequest(nil, request(i))
			}
			for _, i := range order {
				began := time.Now()
				frame, err := v.Call(context.Background(), frames[i])
				took := time.Since(began)
				if err != nil {
					t.Fatal(err)
				}
				replies[i] = must(wire.ParseReply(frame, wire.Call(frame[1])))
				if r := replies[i]; r.Code != wire.OK && r.Code != wire.Failed {
					t.Fatalf("%s: %v", what, r.Code)
				}
				watches[what][i%2] = append(watches[what][i%2], float64(took))
			}
			return replies
		}
		status := func(i int) wire.Request { return &wire.Status{Ticket: v.ticket(who(i), TicketStatus)} }
		start := func(i int) wire.Request {
			return &wire.Start{Ticket: v.ticket(who(i), TicketRecover), Attempt: [16]byte{1}, KE1: g.start.KE1}
		}
		measure("Status before", status)
		begun := measure("Start, first", start)
		measure("Status after", status)
		abort := func(i int) wire.Request { return &wire.Abort{Token: begun[i].Login.Token} }
		measure("Abort, first", abort)
		begun = measure("Start, later", start)
		measure("Abort, later", abort)
	}
	for what, w := range watches {
		// The least of several looks at the same: a difference shows in all of them.
		score := min(math.Abs(w.t(1)), math.Abs(w.t(0.95)), math.Abs(w.t(0.75)))
		t.Logf("%-13s |t| %4.1f (%4.1f of all, %4.1f of 95%%, %4.1f of 75%%), medians %.0f and %.0f µs", what, score,
			w.t(1), w.t(0.95), w.t(0.75), w.median(0)/1e3, w.median(1)/1e3)
		if score >= maxT {
			t.Errorf("%s takes another time where a record is", what)
		}
	}
}
