// Package tink wraps file keys under an AEAD of Tink: a keyset in a file, or a key in
// a KMS that never leaves it. A Key is a Recipient and an Identity of slots of
// format.KindTink:
//
//	key, cleartext, err := tink.ReadKeyset(file, nil)
//	w, err := engine.NewWriter(ctx, dst, []keys.Recipient{key, accountKey}, nil)
//	r, err := engine.NewReader(ctx, src, []keys.Identity{key}, nil)
//
// Whoever may decrypt under the key reads the backups, and without it they are lost: a
// KMS forgets keys for good. So add an account key as well, and keep it elsewhere.
//
// # A KMS
//
// Any registry.KMSClient does, and any tink.AEAD or tink.AEADWithContext. Tink has
// clients in modules of their own, which this one does not import:
//
//	// github.com/tink-crypto/tink-go-awskms/v3/integration/awskms
//	client, err := awskms.NewClientWithOptions(ctx, "aws-kms://arn:aws:kms:eu-central-1:")
//	// github.com/tink-crypto/tink-go-gcpkms/v2/integration/gcpkms
//	client, err := gcpkms.NewClientWithOptions(ctx, "gcp-kms://projects/backups/")
//	// github.com/tink-crypto/tink-go-hcvault/v2/integration/hcvault
//	client, err := hcvault.NewClient("hcvault://vault.example.org/", tlsConfig, token)
//
//	key, err := tink.FromKMS(client, uri, nil)
//
// uri comes from the caller. Nothing that a container says chooses a key, a service or
// an address: a slot has an alias at most, which is shown and never used.
//
// A call of the KMS wraps the key of a whole container, and another opens it. For many
// small containers aead.NewKMSEnvelopeAEADWithContext of Tink encrypts locally under
// keys that the KMS wraps, but that is a call each as well; a keyset that is encrypted
// under a key of the KMS (ReadKeyset) takes one at the start.
//
// The associated data of each slot differ. Clients of HashiCorp Vault may pass them as
// the context of derived keys, which Vault demands for keys made with derived=true
// and ignores for others. Both work: what is wrapped has a copy of them.
//
// # Keysets
//
// Keyset files are those of tinkey, JSON or binary, with keys for AEAD only. A keyset
// that names keys in a KMS is refused: it would choose an address. When keys are
// rotated, the old ones must stay in the keyset, disabled ones do not open: containers
// are not wrapped again.
//
// Keys are redacted by every verb of fmt, by log/slog and by encoding/json. All types
// are safe for concurrent use if the AEAD is, as those of Tink are.
package tink

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// Options are those of a key. nil is the same as the zero value.
type Options struct {
	// Name is what errors call the key; "": the URI of a key of FromKMS, and otherwise
	// "Tink key".
	Name string
	// Timeout is the deadline of each call of the AEAD; 0: 30 s. When it has passed,
	// the call is given up, but goes on if the AEAD takes no context.
	Timeout time.Duration
}

const defaultTimeout = 30 * time.Second

// maxWrapped is how much of the AEAD's output fits in a slot (§ 3.3).
const maxWrapped = 4096

// ErrWrappedSize says that an AEAD makes too much, or nothing, of 64 bytes: no
// container can have a slot for it.
var ErrWrappedSize = errors.New("what the AEAD returns does not fit in a slot")

// An Error says which key could not be used, and for what. The service may be down,
// or may refuse the caller: it says nothing about a slot.
type Error struct {
	Key string // Options.Name
	Op  string // "wrapping", "unwrapping", "self-test"
	Err error
}

func (e *Error) Error() string { return e.Key + ": " + e.Op + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// A Key wraps and unwraps under an AEAD of Tink.
type Key struct {
	name    string
	timeout time.Duration
	local   bool // it answers at once and, having passed a self-test, does not fail
	// Functions, as no verb of fmt gets at what those have in them.
	encrypt, decrypt aeadFunc
}

type aeadFunc func(ctx context.Context, text, associatedData []byte) ([]byte, error)

// New returns the key that aead is. It need not be at hand: one that hangs is given
// up when the context or the timeout ends. An AEAD that has the methods of
// AEADWithContext, too, is used by them.
func New(aead tink.AEAD, opts *Options) *Key {
	if a, ok := aead.(tink.AEADWithContext); ok {
		return NewWithContext(a, opts)
	}
	return newKey(opts,
		func(_ context.Context, plaintext, ad []byte) ([]byte, error) { return aead.Encrypt(plaintext, ad) },
		func(_ context.Context, ciphertext, ad []byte) ([]byte, error) { return aead.Decrypt(ciphertext, ad) })
}

// NewWithContext is New for an AEAD that observes contexts, as clients of a KMS
// should.
func NewWithContext(aead tink.AEADWithContext, opts *Options) *Key {
	return newKey(opts, aead.EncryptWithContext, aead.DecryptWithContext)
}

// FromKMS returns the key in a KMS that uri names. The client must say that it
// supports it. Errors contain uri unless there is a Name.
func FromKMS(client registry.KMSClient, uri string, opts *Options) (*Key, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Name == "" {
		o.Name = uri
	}
	if !client.Supported(uri) {
		return nil, fmt.Errorf("%s: the KMS client does not support this key", o.Name)
	}
	aead, err := client.GetAEAD(uri)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	return New(aead, &o), nil
}

func newKey(opts *Options, encrypt, decrypt aeadFunc) *Key {
	k := &Key{name: "Tink key", timeout: defaultTimeout, encrypt: encrypt, decrypt: decrypt}
	if opts != nil && opts.Name != "" {
		k.name = opts.Name
	}
	if opts != nil && opts.Timeout > 0 {
		k.timeout = opts.Timeout
	}
	return k
}

// Kind returns format.KindTink.
func (k *Key) Kind() format.Kind { return format.KindTink }

// Wrap makes a slot without an alias.
func (k *Key) Wrap(ctx context.Context, core format.Core, fk *keys.FileKey) (format.Slot, error) {
	return k.wrap(ctx, core, fk, "")
}

// WithAlias returns a Recipient for k whose slots show alias, of at most 255 bytes, so
// that anybody can see which key a container needs, and which containers belong
// together.
func (k *Key) WithAlias(alias string) keys.Recipient { return withAlias{k, alias} }

type withAlias struct {
	*Key
	alias string
}

func (r withAlias) Wrap(ctx context.Context, core format.Core, fk *keys.FileKey) (format.Slot, error) {
	return r.wrap(ctx, core, fk, r.alias)
}

func (k *Key) wrap(ctx context.Context, core format.Core, fk *keys.FileKey, alias string) (format.Slot, error) {
	params, err := format.AppendTinkParams(nil, alias)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return format.Slot{}, &Error{k.name, "wrapping", err}
	}
	slot := format.Slot{Kind: format.KindTink, Params: params}
	rand.Read(slot.Salt[:])
	bind, bound := keys.Bind(core, slot), keys.Bound(core, slot, fk)
	wrapped, err := k.call(ctx, func(ctx context.Context) ([]byte, error) {
		text := bytes.Clone(bound) // the AEAD may work in it
		defer clear(text)
		defer clear(bound)
		wrapped, err := k.encrypt(ctx, text, bind[:])
		if err == nil && bytes.Contains(wrapped, bound[:32]) {
			err = errors.New("the AEAD encrypts nothing: the file key is in what it returns")
		}
		return bytes.Clone(wrapped), err
	})
	if err == nil && (len(wrapped) == 0 || len(wrapped) > maxWrapped) {
		err = fmt.Errorf("%d bytes, want 1 to %d: %w", len(wrapped), maxWrapped, ErrWrappedSize)
	}
	if err != nil {
		return format.Slot{}, &Error{k.name, "wrapping", err}
	}
	slot.Wrapped = format.Sized(wrapped)
	return slot, nil
}

// Unwrap returns the file key, ErrNoMatch if the slot is not for this key, or an
// *Error. AEADs tell no reason why they do not decrypt. That it is the slot's fault is
// concluded from a self-test that passes.
func (k *Key) Unwrap(ctx context.Context, core format.Core, slot format.Slot) (*keys.FileKey, error) {
	wrapped := bytes.Clone(slot.Unsized()) // a call that is given up may still read it
	if slot.Kind != format.KindTink || len(wrapped) == 0 || len(wrapped) > maxWrapped {
		return nil, fmt.Errorf("a slot of kind %v with %d wrapped bytes: %w", slot.Kind, len(slot.Wrapped), keys.ErrNoMatch)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, &Error{k.name, "unwrapping", err}
	}
	bind := keys.Bind(core, slot)
	bound, err := k.call(ctx, func(ctx context.Context) ([]byte, error) { return k.decrypt(ctx, wrapped, bind[:]) })
	if err != nil {
		return nil, k.judge(ctx, err)
	}
	defer clear(bound)
	return keys.Unbind(core, slot, bound)
}

// judge returns what a failure to decrypt means.
func (k *Key) judge(ctx context.Context, failure error) error {
	if k.local {
		return keys.ErrNoMatch
	}
	if ctx.Err() != nil || errors.Is(failure, context.DeadlineExceeded) || errors.Is(failure, context.Canceled) {
		return &Error{k.name, "unwrapping", failure}
	}
	if err := k.selfTest(ctx); err != nil {
		return &Error{k.name, "unwrapping", fmt.Errorf("%w; nor does a self-test pass: %w", failure, err)}
	}
	return keys.ErrNoMatch
}

// SelfTest encrypts a constant and decrypts it. It returns an *Error if the key cannot
// do both. A caller that may only encrypt writes containers all the same.
func (k *Key) SelfTest(ctx context.Context) error {
	if err := k.selfTest(ctx); err != nil {
		return &Error{k.name, "self-test", err}
	}
	return nil
}

func (k *Key) selfTest(ctx context.Context) error {
	text, ad := []byte("coffer v1 tink self-test"), []byte("coffer v1 tink self-test data")
	wrapped, err := k.call(ctx, func(ctx context.Context) ([]byte, error) { return k.encrypt(ctx, text, ad) })
	if err != nil {
		return fmt.Errorf("encrypting: %w", err)
	}
	again, err := k.call(ctx, func(ctx context.Context) ([]byte, error) { return k.decrypt(ctx, wrapped, ad) })
	if err != nil {
		return fmt.Errorf("decrypting: %w", err)
	}
	if !bytes.Equal(again, text) {
		return errors.New("what was decrypted is not what was encrypted")
	}
	return nil
}

// call runs f until the context or the timeout ends. What f returns after that is
// erased.
func (k *Key) call(ctx context.Context, f func(context.Context) ([]byte, error)) ([]byte, error) {
	if k.local {
		return f(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, k.timeout, fmt.Errorf("no answer in %v: %w", k.timeout, context.DeadlineExceeded))
	defer cancel()
	type result struct {
		out []byte
		err error
	}
	done := make(chan result)
	go func() {
		out, err := f(ctx)
		select {
		case done <- result{out, err}:
		case <-ctx.Done():
			clear(out)
		}
	}()
	select {
	case r := <-done:
		return r.out, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

const redacted = "[redacted]"

// Format keeps every verb of fmt from reaching the key.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue redacts in log/slog.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText redacts in encoders.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
