package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
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

// kindName returns the name of a kind that opened or may open a container.
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
	parsedVar(fs, &p.accept, "accept", "KIND[,KIND]", "", "only slots of these kinds may open the container: account, passphrase, hsm, tink, recipient", func(list string) ([]format.Kind, error) {
		more, err := parseAccept(list)
		return append(p.accept, more...), err
	})
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

// refused says by its flag which policy kept a key from a slot, if err is that. The
// status is that of a failure, not of wrong usage: it is the container that is another
// one than was expected.
func refused(err error) error {
	var policy *engine.PolicyError
	switch {
	case !errors.As(err, &policy):
		return err
	case policy.Anonymous:
		return fmt.Errorf("its %s slot, which this key may open, is of a sort that anyone can have made: use --allow-anonymous if you know otherwise who wrote it", kindName(policy.Kind))
	}
	return fmt.Errorf("--accept leaves out %s, whose slot this key may open", kindName(policy.Kind))
}

// refusedAll is for a container of whose slots --accept leaves none.
func refusedAll(slots []format.Slot) error {
	var names []string
	for _, s := range slots {
		if name := kindName(s.Kind); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return fmt.Errorf("--accept leaves out %s: the container has no other slots", strings.Join(names, ", "))
}
