package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

const acceptHelp = `Who wrote it: whoever has the key of a slot can write a container that opens by it. The
slot of a recipient, and that of an RSA key in a token, is made with a public key, so
anyone can have made it: whoever can write to the store can put another backup there,
whose files you would restore. What opens by such a slot is warned of, and unless
recipients' secret keys are the only keys given, it is tried with --allow-anonymous
alone. --accept names the only kinds of slots that may open the container.`

// A slotKind is a kind by the name that it has in flags and in --json.
type slotKind struct {
	kind format.Kind
	name string
	flag string // what gives its key to a reader
}

var slotKinds = []slotKind{
	{format.KindAccount, "account", "--key-file"},
	{format.KindPassphrase, "passphrase", "--passphrase-file"},
	{format.KindPKCS11, "hsm", "--hsm"},
	{format.KindTink, "tink", "--tink-keyset"},
	{format.KindHPKE, "recipient", "--key-file with the recipient's secret key"},
}

// kindName returns the name of a kind that opened a container.
func kindName(kind format.Kind) string {
	for _, k := range slotKinds {
		if k.kind == kind {
			return k.name
		}
	}
	return kind.String()
}

func parseAccept(list string) (kinds []format.Kind, err error) {
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(slotKinds, func(k slotKind) bool { return k.name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown kind %q: want account, passphrase, hsm, tink or recipient", name)
		}
		kinds = append(kinds, slotKinds[i].kind)
	}
	return kinds, nil
}

// isPublic reports whether anyone could have made the slot: the engine's rule.
func isPublic(s format.Slot) bool {
	if s.Kind == format.KindPKCS11 {
		p, err := s.PKCS11Params()
		return err == nil && p.Mech == format.MechRSAOAEP
	}
	return s.Kind == format.KindHPKE
}

// readPolicy says which slots may open a container.
type readPolicy struct {
	accept         []format.Kind // empty: all
	allowAnonymous bool
}

func (p *readPolicy) register(fs *pflag.FlagSet) {
	parsedVar(fs, &p.accept, "accept", "KIND[,KIND]", "", "only slots of these kinds may open the container: account, passphrase, hsm, tink, recipient", parseAccept)
	fs.BoolVar(&p.allowAnonymous, "allow-anonymous", false, "try slots that anyone can have made, too, although other keys are given")
}

func (p *readPolicy) accepts(kind format.Kind) bool {
	return len(p.accept) == 0 || slices.Contains(p.accept, kind)
}

func (p *readPolicy) options(common *commonFlags, b backends.Backend) *engine.ReaderOptions {
	opts := common.readerOptions(b)
	opts.Accept, opts.AllowAnonymous = p.accept, p.allowAnonymous
	return opts
}

// withholds reports whether the policy keeps one of the keys from one of the slots
// because anyone can have made it: the engine's rule, which does not know what to advise.
func (p *readPolicy) withholds(slots []format.Slot, ring *keyring) bool {
	recipientsOnly := !slices.ContainsFunc(ring.with, func(id keys.Identity) bool { return id.Kind() != format.KindHPKE })
	return !p.allowAnonymous && !recipientsOnly && slices.ContainsFunc(slots, func(s format.Slot) bool {
		return isPublic(s) && ring.has(s.Kind) && p.accepts(s.Kind)
	})
}

// An anonymousError says that a slot which anyone can have made was not tried, though
// there was a key for it.
type anonymousError struct{ err error }

func (e *anonymousError) Error() string { return e.err.Error() }
func (e *anonymousError) Unwrap() error { return e.err }
