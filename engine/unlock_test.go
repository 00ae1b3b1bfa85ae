package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

var cheap = format.PassphraseParams{Time: 1, MemoryKiB: 64, Parallelism: 1}

func passphrase(t testing.TB, text string, cost format.PassphraseParams) *keys.Passphrase {
	t.Helper()
	p, err := keys.NewPassphrase([]byte(text))
	if err == nil {
		p, err = p.WithCost(cost)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// both opens c with both readers and demands that they agree.
func both(t *testing.T, c []byte, with []keys.Identity, opts *engine.ReaderOptions) (engine.Info, error) {
	t.Helper()
	r, err := engine.NewReader(t.Context(), bytes.NewReader(c), with, opts)
	f, ferr := engine.Open(t.Context(), bytes.NewReader(c), int64(len(c)), with, opts)
	if class(err) != class(ferr) {
		t.Errorf("stream: %v, file: %v", err, ferr)
	}
	if err != nil {
		return engine.Info{}, err
	}
	defer r.Close()
	defer f.Close()
	return r.Info(), nil
}

func TestKeysOfEveryKind(t *testing.T) {
	pass := passphrase(t, "correct horse", cheap)
	var out bytes.Buffer
	w, err := engine.NewWriter(t.Context(), &out, []keys.Recipient{testKey, pass, testKey.WithID()}, nil)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	c := out.Bytes()
	for _, test := range []struct {
		name string
		with []keys.Identity
		want error
		kind format.Kind
	}{
		{"account key", []keys.Identity{testKey}, nil, format.KindAccount},
		{"passphrase", []keys.Identity{pass}, nil, format.KindPassphrase},
		{"both", []keys.Identity{pass, testKey}, nil, format.KindAccount},
		{"other key", []keys.Identity{keys.GenerateAccountKey()}, keys.ErrNoMatch, 0},
		{"other passphrase", []keys.Identity{passphrase(t, "wrong horse", cheap)}, keys.ErrNoMatch, 0},
		{"one of two", []keys.Identity{keys.GenerateAccountKey(), pass}, nil, format.KindPassphrase},
		{"none", nil, keys.ErrNoMatch, 0},
	} {
		info, err := both(t, c, test.with, nil)
		if !errors.Is(err, test.want) || info.SlotKind != test.kind {
			t.Errorf("%s: %v, %v", test.name, info.SlotKind, err)
		}
		if test.want == keys.ErrNoMatch && err != keys.ErrNoMatch {
			t.Errorf("%s: the error tells more than that: %v", test.name, err)
		}
	}
}

// A countingIdentity counts attempts and fails them with err.
type countingIdentity struct {
	kind format.Kind
	n    *int
	err  error
}

func (i countingIdentity) Kind() format.Kind { return i.kind }
func (i countingIdentity) Unwrap(context.Context, format.Core, format.Slot) (*keys.FileKey, error) {
	*i.n++
	return nil, i.err
}

func TestArgon2Policy(t *testing.T) {
	const mib = 1 << 10
	slots := func(costs ...format.PassphraseParams) []byte {
		f := newForger(t)
		f.to = nil
		// Wrapping is not what is tested: the costs may be absurd.
		f.header.Entries = []format.Entry{}
		for i, c := range costs {
			params, err := c.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			f.header.Entries = append(f.header.Entries, format.Slot{Kind: format.KindPassphrase, Salt: [32]byte{byte(i + 1)}, Params: params, Wrapped: make([]byte, format.WrappedSize)}.Entry())
		}
		return f.container(withTable())
	}
	dear := func(m uint32, time uint32) format.PassphraseParams {
		return format.PassphraseParams{Time: time, MemoryKiB: m, Parallelism: 1}
	}
	for _, test := range []struct {
		name  string
		costs []format.PassphraseParams
		tries int
		want  error
	}{
		{"one", []format.PassphraseParams{dear(256*mib, 3)}, 1, keys.ErrNoMatch},
		{"largest allowed", []format.PassphraseParams{dear(1024*mib, 4)}, 1, keys.ErrNoMatch},
		{"too much memory", []format.PassphraseParams{dear(1024*mib+1, 1)}, 0, engine.ErrLimit},
		{"too much work", []format.PassphraseParams{dear(1024*mib, 5)}, 0, engine.ErrLimit},
		{"one of two", []format.PassphraseParams{dear(4096*mib, 1), dear(64*mib, 1)}, 1, engine.ErrLimit},
		{"four", []format.PassphraseParams{cheap, cheap, cheap, cheap}, 4, keys.ErrNoMatch},
		{"five", []format.PassphraseParams{cheap, cheap, cheap, cheap, cheap}, 4, engine.ErrLimit},
		{"sum", []format.PassphraseParams{dear(1024*mib, 3), dear(1024*mib, 2)}, 1, engine.ErrLimit},
	} {
		n := 0
		_, err := engine.NewReader(t.Context(), bytes.NewReader(slots(test.costs...)), []keys.Identity{countingIdentity{format.KindPassphrase, &n, keys.ErrNoMatch}}, nil)
		if !errors.Is(err, test.want) || n != test.tries {
			t.Errorf("%s: %d attempts, %v", test.name, n, err)
		}
	}
	c := slots(dear(2048*mib, 1))
	n := 0
	_, err := engine.NewReader(t.Context(), bytes.NewReader(c), []keys.Identity{countingIdentity{format.KindPassphrase, &n, keys.ErrNoMatch}},
		&engine.ReaderOptions{Argon2: engine.Argon2Policy{MaxMemoryKiB: 2048 * mib, MaxRuns: 1, MaxWorkKiB: 2048 * mib}})
	if !errors.Is(err, keys.ErrNoMatch) || n != 1 {
		t.Errorf("a wider policy: %d attempts, %v", n, err)
	}
}

// Slots that stand in both copies are tried once, and the limits hold over both.
func TestSlotsOfBothCopies(t *testing.T) {
	c := seal(t, []byte("x"), &engine.WriterOptions{HeaderSize: 4096})
	n := 0
	_, err := engine.Open(t.Context(), bytes.NewReader(c), int64(len(c)), []keys.Identity{countingIdentity{format.KindAccount, &n, keys.ErrNoMatch}}, nil)
	if !errors.Is(err, keys.ErrNoMatch) || n != 1 {
		t.Errorf("%d attempts, %v", n, err)
	}
	f := newForger(t)
	f.editTail = func(h *format.Header) { h.Generation, h.Entries = 2, nil }
	c = f.container(withTable())
	n = 0
	_, err = engine.Open(t.Context(), bytes.NewReader(c), int64(len(c)), []keys.Identity{countingIdentity{format.KindAccount, &n, keys.ErrNoMatch}}, nil)
	if !errors.Is(err, keys.ErrNoMatch) || n != 2 {
		t.Errorf("different slots: %d attempts, %v", n, err)
	}
}

func TestRemoteAndPublicSlots(t *testing.T) {
	tink := func(i int) format.Entry {
		return format.Slot{Kind: format.KindTink, Salt: [32]byte{byte(i + 1)}, Params: []byte{0}, Wrapped: []byte{1, 0, 9}}.Entry()
	}
	hpke := format.Slot{Kind: format.KindHPKE, Params: []byte{0x7a, 0x64}, Wrapped: make([]byte, 1168)}.Entry()
	f := newForger(t)
	f.header.Entries = []format.Entry{hpke}
	for i := range 6 {
		f.header.Entries = append(f.header.Entries, tink(i))
	}
	c := f.container(withTable())
	n := 0
	unavailable := errors.New("the KMS is down")
	_, err := both(t, c, []keys.Identity{countingIdentity{format.KindTink, &n, unavailable}}, nil)
	if !errors.Is(err, unavailable) || n != 8 {
		t.Errorf("KMS: %d attempts by two readers, %v", n, err)
	}
	n = 0
	_, err = both(t, c, []keys.Identity{countingIdentity{format.KindTink, &n, keys.ErrNoMatch}}, nil)
	if !errors.Is(err, engine.ErrLimit) || n != 8 {
		t.Errorf("KMS: %d attempts by two readers, %v", n, err)
	}
	n = 0
	id := countingIdentity{format.KindHPKE, &n, keys.ErrNoMatch}
	var refused *engine.PolicyError
	if _, err = both(t, c, []keys.Identity{id, testKey}, nil); !errors.As(err, &refused) || *refused != (engine.PolicyError{Kind: format.KindHPKE, Anonymous: true}) || n != 0 {
		t.Errorf("HPKE unasked: %d attempts, %v", n, err)
	}
	if _, err = both(t, c, []keys.Identity{id}, nil); !errors.Is(err, keys.ErrNoMatch) || n != 2 {
		t.Errorf("HPKE alone: %d attempts, %v", n, err)
	}
	if _, err = both(t, c, []keys.Identity{id, testKey}, &engine.ReaderOptions{AllowAnonymous: true}); !errors.Is(err, keys.ErrNoMatch) || n != 4 {
		t.Errorf("HPKE allowed: %d attempts, %v", n, err)
	}
}

// Slots of a known kind whose mechanism is not are nobody's.
func TestUnknownMechanisms(t *testing.T) {
	f := newForger(t)
	f.header.Entries = []format.Entry{
		format.Slot{Kind: format.KindPassphrase, Salt: [32]byte{1}, Params: []byte{0x10}}.Entry(),
		format.Slot{Kind: format.KindPKCS11, Salt: [32]byte{2}, Params: []byte{5}}.Entry(),
		format.Slot{Kind: format.KindHPKE, Salt: [32]byte{3}, Params: []byte{0x20, 0}}.Entry(),
	}
	c, n := f.container(withTable()), 0
	for _, kind := range []format.Kind{format.KindPassphrase, format.KindPKCS11, format.KindHPKE} {
		_, err := both(t, c, []keys.Identity{countingIdentity{kind, &n, keys.ErrNoMatch}}, &engine.ReaderOptions{AllowAnonymous: true})
		if err != keys.ErrNoMatch || n != 0 {
			t.Errorf("%v: %d attempts, %v", kind, n, err)
		}
	}
}

// Slots of kinds that the caller does not accept are not tried, and that is said.
func TestAccept(t *testing.T) {
	c, n := seal(t, nil, nil), 0
	account := countingIdentity{format.KindAccount, &n, keys.ErrNoMatch}
	for _, accept := range [][]format.Kind{{format.KindHPKE}, {format.KindPassphrase, format.KindTink}} {
		_, err := both(t, c, []keys.Identity{account}, &engine.ReaderOptions{Accept: accept})
		var refused *engine.PolicyError
		if !errors.As(err, &refused) || *refused != (engine.PolicyError{Kind: format.KindAccount}) || !errors.Is(err, engine.ErrLimit) || n != 0 {
			t.Errorf("%v: %d attempts, %v", accept, n, err)
		}
	}
	// What is not accepted is no matter where there is no key for it.
	passphrase := countingIdentity{format.KindPassphrase, &n, keys.ErrNoMatch}
	if _, err := both(t, c, []keys.Identity{passphrase}, &engine.ReaderOptions{Accept: []format.Kind{format.KindPassphrase}}); err != keys.ErrNoMatch {
		t.Error(err)
	}
	if _, err := both(t, c, []keys.Identity{testKey}, &engine.ReaderOptions{Accept: []format.Kind{format.KindHPKE, format.KindAccount}}); err != nil {
		t.Error(err)
	}
}

// A knowingIdentity has the file key already.
type knowingIdentity struct {
	kind format.Kind
	fk   *keys.FileKey
}

func (i knowingIdentity) Kind() format.Kind { return i.kind }
func (i knowingIdentity) Unwrap(context.Context, format.Core, format.Slot) (*keys.FileKey, error) {
	return keys.FileKeyFrom(i.fk.Bytes())
}

// Only slots of public keys leave the sender open, whatever a hint says: 4, which is
// RSA in a PKCS#11 slot, stands where the mechanism would in all of them.
func TestSenderAuthenticated(t *testing.T) {
	pkcs11 := func(mech byte) []byte { return append([]byte{mech, 0, 0}, make([]byte, 16)...) }
	sized := func(n int) []byte { return append([]byte{byte(n), byte(n >> 8)}, make([]byte, n)...) }
	for _, test := range []struct {
		slot format.Slot
		want bool
	}{
		{format.Slot{Kind: format.KindAccount, Params: append([]byte{4}, make([]byte, 15)...), Wrapped: make([]byte, 64)}, true},
		{format.Slot{Kind: format.KindTink, Params: []byte("\x04name"), Wrapped: sized(9)}, true},
		{format.Slot{Kind: format.KindPKCS11, Params: pkcs11(1), Wrapped: sized(92)}, true},
		{format.Slot{Kind: format.KindPKCS11, Params: pkcs11(4), Wrapped: sized(256)}, false},
		{format.Slot{Kind: format.KindHPKE, Params: []byte{0x7a, 0x64}, Wrapped: make([]byte, 1168)}, false},
	} {
		f := newForger(t)
		f.header.Entries = []format.Entry{test.slot.Entry()}
		info, err := both(t, f.container(withTable()), []keys.Identity{knowingIdentity{test.slot.Kind, f.fk}}, &engine.ReaderOptions{AllowAnonymous: true})
		if err != nil || info.SenderAuthenticated != test.want {
			t.Errorf("%v: %v, %v", test.slot.Kind, info.SenderAuthenticated, err)
		}
	}
}

// A cancellingIdentity ends the context and does not fit.
type cancellingIdentity struct{ cancel context.CancelFunc }

func (cancellingIdentity) Kind() format.Kind { return format.KindAccount }
func (i cancellingIdentity) Unwrap(context.Context, format.Core, format.Slot) (*keys.FileKey, error) {
	i.cancel()
	return nil, keys.ErrNoMatch
}

// Who cancels while keys are tried is not told that none fits, nor are others tried.
func TestCancelWhileUnlocking(t *testing.T) {
	c, n := seal(t, nil, nil), 0
	ctx, cancel := context.WithCancel(t.Context())
	_, err := engine.NewReader(ctx, bytes.NewReader(c), []keys.Identity{cancellingIdentity{cancel}, countingIdentity{format.KindAccount, &n, nil}}, nil)
	if !errors.Is(err, context.Canceled) || n != 0 {
		t.Errorf("%d attempts, %v", n, err)
	}
}

// The first slot that unwraps decides, even if it then turns out to be wrong.
func TestFirstSlotDecides(t *testing.T) {
	f := newForger(t)
	evil, err := testKey.Wrap(t.Context(), f.header.Core(), keys.NewFileKey())
	if err != nil {
		t.Fatal(err)
	}
	good, err := testKey.Wrap(t.Context(), f.header.Core(), f.fk)
	if err != nil {
		t.Fatal(err)
	}
	f.header.Entries = []format.Entry{evil.Entry(), good.Entry()}
	if _, err := both(t, f.container(withTable()), []keys.Identity{testKey}, nil); !errors.Is(err, engine.ErrAuth) {
		t.Error(err)
	}
	f.header.Entries = []format.Entry{good.Entry(), evil.Entry()}
	if _, err := both(t, f.container(withTable()), []keys.Identity{testKey}, nil); err != nil {
		t.Error(err)
	}
}

// A slot is bound to its file: in another one with the same file key it is dead.
func TestTransplantedSlot(t *testing.T) {
	old := newForger(t)
	slot, err := testKey.Wrap(t.Context(), old.header.Core(), old.fk)
	if err != nil {
		t.Fatal(err)
	}
	forged := newForger(t)
	forged.fk = old.fk
	forged.header.Entries = []format.Entry{slot.Entry()}
	if _, err := both(t, forged.container(withTable()), []keys.Identity{testKey}, nil); !errors.Is(err, keys.ErrNoMatch) {
		t.Error(err)
	}
}

func TestContext(t *testing.T) {
	bound, unbound := seal(t, nil, &engine.WriterOptions{Context: []byte("snapshot 7")}), seal(t, nil, nil)
	for _, test := range []struct {
		c       []byte
		context string
		want    error
		text    string // what tells a person which of the two is amiss
	}{
		{bound, "snapshot 7", nil, ""}, {bound, "snapshot 8", engine.ErrContext, ""}, {bound, "", engine.ErrContext, "none was given"},
		{unbound, "", nil, ""}, {unbound, "snapshot 7", engine.ErrContext, "the container has none"},
	} {
		_, err := both(t, test.c, []keys.Identity{testKey}, &engine.ReaderOptions{Context: []byte(test.context)})
		if !errors.Is(err, test.want) || !strings.Contains(fmt.Sprint(err), test.text) {
			t.Errorf("%q: %v", test.context, err)
		}
	}
}

func TestMinGeneration(t *testing.T) {
	f := newForger(t)
	f.header.Generation = 4
	c := f.container(withTable())
	for min, want := range map[uint64]error{0: nil, 4: nil, 5: engine.ErrLimit} {
		if _, err := both(t, c, []keys.Identity{testKey}, &engine.ReaderOptions{MinGeneration: min}); !errors.Is(err, want) {
			t.Errorf("at least %d: %v", min, err)
		}
	}
}

// No error text has a key or a passphrase in it.
func TestErrorsAreSilent(t *testing.T) {
	pass := passphrase(t, "hunter2hunter2", cheap)
	_, err := both(t, seal(t, nil, nil), []keys.Identity{pass}, nil)
	text := fmt.Sprintf("%v %+v %#v", err, pass, pass)
	if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprint([]byte("hunter2"))) || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
		t.Error(text)
	}
}
