package tink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/testing/fakekms"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// TestServiceFails: what a service that fails says of a slot is an *Error, and never
// ErrNoMatch. A service that works says the latter of the same slot.
func TestServiceFails(t *testing.T) {
	fk := keys.NewFileKey()
	for name, tt := range map[string]struct {
		encrypt, decrypt func(s *service) func(text, ad []byte) ([]byte, error) // nil: works
		match            bool                                                   // with ErrNoMatch
		err              string
	}{
		"works": {match: true},
		"down": {func(*service) func(_, _ []byte) ([]byte, error) { return down }, func(*service) func(_, _ []byte) ([]byte, error) { return down },
			false, "backup key: unwrapping: the service is down; nor does a self-test pass: encrypting: the service is down"},
		"does not decrypt": {nil, func(*service) func(_, _ []byte) ([]byte, error) { return down },
			false, "backup key: unwrapping: the service is down; nor does a self-test pass: decrypting: the service is down"},
		"may not encrypt": {func(*service) func(_, _ []byte) ([]byte, error) { return down }, nil,
			false, "self-test pass: encrypting: the service is down"},
		"decrypts wrongly in the self-test": {nil, func(s *service) func(_, _ []byte) ([]byte, error) {
			first := true
			return func(text, ad []byte) ([]byte, error) {
				if first {
					first = false
					return nil, errPlain
				}
				return []byte("something else"), nil
			}
		}, false, "what was decrypted is not what was encrypted"},
	} {
		s := newService()
		key := New(s, &Options{Name: "backup key"})
		foreign := must(New(newService(), nil).Wrap(t.Context(), core, fk))
		if tt.encrypt != nil {
			s.encrypt = tt.encrypt(s)
		}
		if tt.decrypt != nil {
			s.decrypt = tt.decrypt(s)
		}
		_, err := key.Unwrap(t.Context(), core, foreign)
		if errors.Is(err, keys.ErrNoMatch) != tt.match {
			t.Errorf("%s: %v", name, err)
		}
		if e := new(Error); tt.match == errors.As(err, &e) || !tt.match && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorUnwraps(t *testing.T) {
	s := newService()
	s.encrypt, s.decrypt = down, down
	key := New(s, nil)
	slot := must(New(newService(), nil).Wrap(t.Context(), core, keys.NewFileKey()))
	_, unwrap := key.Unwrap(t.Context(), core, slot)
	_, wrap := key.Wrap(t.Context(), core, keys.NewFileKey())
	for op, err := range map[string]error{"unwrapping": unwrap, "wrapping": wrap, "self-test": key.SelfTest(t.Context())} {
		if e := new(Error); !errors.As(err, &e) || e.Op != op || e.Key != "Tink key" || !errors.Is(err, errDown) {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// TestHang: an AEAD that takes no context and hangs keeps nobody past the context or
// the timeout, and what it returns in the end is erased.
func TestHang(t *testing.T) {
	for _, method := range []string{"wrapping", "unwrapping", "self-test"} {
		for name, timeout := range map[string]time.Duration{"default": 0, "option": 7 * time.Second, "context": time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				s, fk := newService(), keys.NewFileKey()
				key := New(s, &Options{Name: "backup key", Timeout: timeout})
				slot := must(key.Wrap(t.Context(), core, fk))
				release, late := make(chan struct{}), bytes.Repeat([]byte{1}, 64)
				s.encrypt = func([]byte, []byte) ([]byte, error) { <-release; return late, nil }
				s.decrypt = s.encrypt
				limit := map[string]time.Duration{"default": 30 * time.Second, "option": 7 * time.Second, "context": 3 * time.Second}[name]
				ctx, cancel := context.WithCancelCause(t.Context())
				stopped := errors.New("the user pressed a key")
				if name == "context" {
					time.AfterFunc(limit, func() { cancel(stopped) })
				}
				start := time.Now()
				var err error
				switch method {
				case "wrapping":
					_, err = key.Wrap(ctx, core, fk)
				case "unwrapping":
					_, err = key.Unwrap(ctx, core, slot)
				case "self-test":
					err = key.SelfTest(ctx)
				}
				if took := time.Since(start); took != limit {
					t.Errorf("%s, %s: took %v, want %v", method, name, took, limit)
				}
				want := error(context.DeadlineExceeded)
				if name == "context" {
					want = stopped
				}
				if e := new(Error); !errors.As(err, &e) || e.Op != method || e.Key != "backup key" || !errors.Is(err, want) || errors.Is(err, keys.ErrNoMatch) ||
					method == "unwrapping" && strings.Contains(err.Error(), "self-test") { // nobody is left to test it for
					t.Errorf("%s, %s: %v", method, name, err)
				}
				close(release)
				synctest.Wait() // which fails if the goroutine never ends
				if method == "unwrapping" && !bytes.Equal(late, make([]byte, 64)) {
					t.Errorf("%s, %s: what came late is not erased", method, name)
				}
				cancel(nil)
			})
		}
	}
}

// TestDone: with a context that has ended nobody is asked.
func TestDone(t *testing.T) {
	s := newService()
	key := New(s, nil)
	slot := must(key.Wrap(t.Context(), core, keys.NewFileKey()))
	s.encrypt = func([]byte, []byte) ([]byte, error) { t.Error("asked"); return nil, errDown }
	s.decrypt = s.encrypt
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errDown)
	if _, err := key.Unwrap(ctx, core, slot); !errors.Is(err, errDown) || errors.Is(err, keys.ErrNoMatch) {
		t.Error(err)
	}
	if _, err := key.Wrap(ctx, core, keys.NewFileKey()); !errors.Is(err, errDown) {
		t.Error(err)
	}
}

// observer is an AEADWithContext that waits for its context.
type observer struct{ service }

func (o *observer) EncryptWithContext(ctx context.Context, plaintext, ad []byte) ([]byte, error) {
	return o.encrypt(plaintext, ad)
}

func (o *observer) DecryptWithContext(ctx context.Context, _, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestContext: an AEAD that takes contexts gets one that ends, also if New is given
// one that has both sets of methods, as Google's client has.
func TestContext(t *testing.T) {
	o := &observer{*newService()}
	for name, key := range map[string]*Key{"New": New(o, nil), "NewWithContext": NewWithContext(o, nil)} {
		synctest.Test(t, func(t *testing.T) {
			slot := must(key.Wrap(t.Context(), core, keys.NewFileKey()))
			start := time.Now()
			_, err := key.Unwrap(t.Context(), core, slot)
			if e := new(Error); !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != defaultTimeout {
				t.Errorf("%s: %v after %v", name, err, time.Since(start))
			}
			// The goroutine ends although nobody releases it: synctest demands that.
		})
	}
	// One that gives up by itself says nothing about a slot either.
	s := newService()
	key := New(s, nil)
	slot := must(key.Wrap(t.Context(), core, keys.NewFileKey()))
	for _, err := range []error{context.DeadlineExceeded, context.Canceled} {
		s.decrypt = func([]byte, []byte) ([]byte, error) { return nil, fmt.Errorf("rpc: %w", err) }
		if _, got := key.Unwrap(t.Context(), core, slot); !errors.Is(got, err) || errors.Is(got, keys.ErrNoMatch) || strings.Contains(got.Error(), "self-test") {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// A kms is a registry.KMSClient.
type kms struct {
	asked []string
	aead  tink.AEAD
	err   error
}

func (c *kms) Supported(uri string) bool { return strings.HasPrefix(uri, "kms://ours/") }

func (c *kms) GetAEAD(uri string) (tink.AEAD, error) {
	c.asked = append(c.asked, uri)
	return c.aead, c.err
}

func TestFromKMS(t *testing.T) {
	client := &kms{aead: newService()}
	key, err := FromKMS(client, "kms://ours/backups", nil)
	if err != nil {
		t.Fatal(err)
	}
	fk := keys.NewFileKey()
	slot := must(key.Wrap(t.Context(), core, fk))
	opens(t, key, slot, fk)
	client.aead.(*service).encrypt = down
	if err := key.SelfTest(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "kms://ours/backups: self-test: ") {
		t.Errorf("the error does not name the key: %v", err)
	}
	if len(client.asked) != 1 {
		t.Errorf("the client was asked for %q", client.asked)
	}

	client.err = errDown
	opts := &Options{Name: "backup key"}
	if _, err := FromKMS(client, "kms://ours/backups", opts); !errors.Is(err, errDown) || !strings.HasPrefix(err.Error(), "backup key: ") {
		t.Errorf("a client that fails: %v", err)
	}
	asked := len(client.asked)
	if _, err := FromKMS(client, "kms://theirs/backups", nil); err == nil || len(client.asked) != asked {
		t.Errorf("a key that the client does not support: %v", err)
	}
	if *opts != (Options{Name: "backup key"}) {
		t.Error("the options changed")
	}
}

// TestFakeKMS uses Tink's own double, by URI and in an envelope.
func TestFakeKMS(t *testing.T) {
	uri := must(fakekms.NewKeyURI())
	client := must(fakekms.NewClient("fake-kms://"))
	remote, withContext := must(fakekms.NewAEAD(uri)), must(fakekms.NewAEADWithContext(uri))
	opts := &Options{Name: "fake KMS"} // the URI is the key
	template := aead.AES256GCMKeyTemplate()
	for name, pair := range map[string][2]*Key{
		"FromKMS":               {must(FromKMS(client, uri, opts)), NewWithContext(withContext, opts)},
		"envelope":              {New(aead.NewKMSEnvelopeAEAD2(template, remote), opts), NewWithContext(must(aead.NewKMSEnvelopeAEADWithContext(template, withContext)), opts)},
		"envelope with context": {NewWithContext(must(aead.NewKMSEnvelopeAEADWithContext(template, withContext)), opts), New(aead.NewKMSEnvelopeAEAD2(template, remote), opts)},
	} {
		t.Run(name, func(t *testing.T) {
			fk := keys.NewFileKey()
			slot := must(pair[0].Wrap(t.Context(), core, fk))
			for _, key := range pair {
				opens(t, key, slot, fk)
				if _, err := key.Unwrap(t.Context(), format.Core{9}, slot); !errors.Is(err, keys.ErrNoMatch) {
					t.Errorf("a slot of another container: %v", err)
				}
			}
			other := must(FromKMS(client, must(fakekms.NewKeyURI()), opts))
			if _, err := other.Unwrap(t.Context(), core, slot); !errors.Is(err, keys.ErrNoMatch) {
				t.Errorf("another key: %v", err)
			}
		})
	}
}
