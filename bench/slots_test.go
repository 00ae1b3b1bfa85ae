package bench

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// A slot kind makes the recipients of a container, and the identity that opens the
// last one.
type slotKind struct {
	name  string
	slots []int
	make  func(testing.TB) (others, own keys.Recipient, id keys.Identity)
}

// lightCost is the least that OWASP's cheat sheet on password storage names.
var lightCost = format.PassphraseParams{Time: 2, MemoryKiB: 19 << 10, Parallelism: 1}

var slotKinds = []slotKind{
	{"account", []int{1, 32}, func(testing.TB) (keys.Recipient, keys.Recipient, keys.Identity) {
		own := keys.GenerateAccountKey()
		return keys.GenerateAccountKey(), own, own
	}},
	{"passphrase/cost=light", []int{1, 32}, passphrases(lightCost)},
	// 4 are what a reader tries unless it is told otherwise.
	{"passphrase/cost=default", []int{1, 4}, passphrases(keys.DefaultCost())},
}

func passphrases(cost format.PassphraseParams) func(testing.TB) (others, own keys.Recipient, id keys.Identity) {
	return func(tb testing.TB) (keys.Recipient, keys.Recipient, keys.Identity) {
		one := func(text string) *keys.Passphrase {
			p, err := keys.NewPassphrase([]byte(text))
			must(tb, err)
			p, err = p.WithCost(cost)
			must(tb, err)
			return p
		}
		own := one("measure twice")
		return one("cut once"), own, own
	}
}

// BenchmarkUnlock is what opening an empty container costs by its slots, of which
// the last one fits: all others are tried first.
func BenchmarkUnlock(b *testing.B) {
	for _, kind := range slotKinds {
		for _, slots := range kind.slots {
			b.Run(fmt.Sprintf("slot=%s/slots=%d", kind.name, slots), func(b *testing.B) {
				others, own, id := kind.make(b)
				to := make([]keys.Recipient, slots)
				for i := range to {
					to[i] = others
				}
				to[slots-1] = own
				var container bytes.Buffer
				w, err := engine.NewWriter(b.Context(), &container, to, nil)
				must(b, err)
				must(b, w.Close())

				opts := &engine.ReaderOptions{Argon2: engine.Argon2Policy{MaxRuns: slots}}
				b.ReportAllocs()
				for b.Loop() {
					f, err := engine.Open(b.Context(), bytes.NewReader(container.Bytes()), int64(container.Len()), []keys.Identity{id}, opts)
					must(b, err)
					must(b, f.Close())
				}
			})
		}
	}
}
