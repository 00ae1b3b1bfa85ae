package tink

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
	"github.com/coffer-backup/coffer/vectors"
)

// fixed returns an AEAD whose keys are the same in each process of a campaign, one
// with a prefix and four without.
func fixed() tink.AEAD {
	secret := bytes.Repeat([]byte{0xA7, 0x3C, 0x91, 0x5E}, 8)
	return must(ReadKEK(marshal(
		jsonKey{"AesGcmKey", field(3, secret), 1, "TINK"},
		jsonKey{"AesGcmKey", field(3, secret[:16]), 2, "RAW"},
		jsonKey{"AesGcmSivKey", field(3, secret), 3, "RAW"},
		jsonKey{"ChaCha20Poly1305Key", field(2, secret), 4, "RAW"},
		jsonKey{"XChaCha20Poly1305Key", field(3, secret), 5, "RAW"})))
}

// FuzzUnwrap gives any bytes as what is wrapped to a keyset, to an envelope, and to a
// service that ignores associated data and decrypts whatever it gets. The first two
// open nothing that they did not make, the third nothing without the right bind, and
// none takes a slot for a failure of its own.
func FuzzUnwrap(f *testing.F) {
	fk := must(keys.FileKeyFrom(bytes.Repeat([]byte{7}, 32)))
	slot := format.Slot{Kind: format.KindTink, Salt: [32]byte{1, 2, 3}, Params: []byte{0}}
	bind, bound := keys.Bind(core, slot), keys.Bound(core, slot, fk)
	local := must(newLocal(fixed()))
	mirror := &service{encrypt: func(text, _ []byte) ([]byte, error) { return append([]byte{1}, text...), nil },
		decrypt: func(text, _ []byte) ([]byte, error) { return text[1:], nil }}
	all := map[string]*Key{"keyset": local, "envelope": New(aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), fixed()), nil), "mirror": New(mirror, nil)}
	for _, key := range all {
		wrapped := must(key.encrypt(f.Context(), bound, bind[:]))
		f.Add(format.Sized(wrapped))
		f.Add(format.Sized(wrapped[5:]))
	}
	for c := range tinkCases(f) {
		header := must(format.ParseHeader(must(vectors.Files.ReadFile(c.File))[:format.MinHeaderSize]))
		for _, e := range header.Entries {
			if slot, known, err := e.Slot(); err == nil && known {
				f.Add(slot.Wrapped)
			}
		}
	}
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		if len(wrapped) > 5000 {
			return
		}
		slot := slot
		slot.Wrapped = bytes.Clone(wrapped)
		for name, key := range all {
			got, err := key.Unwrap(t.Context(), core, slot)
			switch {
			case err != nil && !errors.Is(err, keys.ErrNoMatch):
				t.Fatalf("%s: %v", name, err)
			case err != nil:
			case name == "mirror" && !bytes.Equal(slot.Unsized()[1:], keys.Bound(core, slot, got)):
				t.Fatal("a slot opens without its bind")
			case name != "mirror" && !bytes.Equal(got.Bytes(), fk.Bytes()):
				t.Fatalf("%s opens a slot that it did not make", name)
			}
			if !bytes.Equal(slot.Wrapped, wrapped) {
				t.Fatalf("%s changes the slot", name)
			}
		}
	})
}

// FuzzReadKeyset reads any bytes as a keyset file, in the clear and as one whose kek
// decrypts to them. What is accepted wraps and unwraps, no error quotes the file, and
// no client of a KMS is asked for anything.
func FuzzReadKeyset(f *testing.F) {
	client := &kms{aead: newService()}
	registry.RegisterKMSClient(client)
	f.Cleanup(registry.ClearKMSClients)
	kek := fixed()
	for _, t := range []*tinkpb.KeyTemplate{aead.AES256GCMKeyTemplate(), aead.AES256CTRHMACSHA256KeyTemplate(), aead.XChaCha20Poly1305KeyTemplate(),
		aead.XAES256GCM192BitNonceKeyTemplate(), aead.AES128GCMSIVKeyTemplate(), mac.HMACSHA256Tag256KeyTemplate(),
		must(aead.CreateKMSEnvelopeAEADKeyTemplate("kms://ours/backups", aead.AES256GCMKeyTemplate()))} {
		handle := newHandle(t)
		for _, file := range encodings(handle, nil, nil) {
			f.Add(file)
		}
		for _, file := range encodings(handle, kek, nil) {
			f.Add(file)
		}
	}
	f.Add(marshal(jsonKey{"KmsAeadKey", field(2, field(1, []byte("kms://ours/backups"))), 1, "TINK"}))
	asked := len(client.asked)
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) > 5000 {
			return
		}
		// Two fields, the first of which is all that an encrypted keyset needs.
		encrypted := []byte{2<<3 | 2, 1, 0}
		for name, read := range map[string]func() (*Key, bool, error){
			"in the clear": func() (*Key, bool, error) { return ReadKeyset(file, nil) },
			"encrypted":    func() (*Key, bool, error) { return ReadKeyset(encrypted, &service{decrypt: returns(file)}) },
			"under a kek":  func() (*Key, bool, error) { return ReadKeyset(file, kek) },
		} {
			key, cleartext, err := read()
			if err != nil {
				if key != nil || quotes(err, file, nil) || !strings.HasPrefix(err.Error(), "reading a Tink keyset: ") {
					t.Fatalf("%s: %v", name, err)
				}
				continue
			}
			fk := keys.NewFileKey()
			slot, err := key.Wrap(t.Context(), core, fk)
			if err != nil || cleartext != (name == "in the clear") {
				t.Fatalf("%s: cleartext %v, %v", name, cleartext, err)
			}
			opens(t, key, slot, fk)
		}
		if len(client.asked) != asked {
			t.Fatalf("a KMS was asked for %q", client.asked)
		}
	})
}
