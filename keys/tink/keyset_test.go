package tink

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/coffer-backup/coffer/keys"
)

// A jsonKey is a key of a keyset in the clear.
type jsonKey struct {
	keyType string // AesGcmKey
	value   []byte // a protocol buffer
	id      uint32
	prefix  string // TINK or RAW
}

// marshal returns the keyset, of which the first key is the primary one.
func marshal(list ...jsonKey) []byte {
	var entries []string
	for _, k := range list {
		entries = append(entries, fmt.Sprintf(`{"keyData": {"typeUrl": "type.googleapis.com/google.crypto.tink.%s", "value": %q,
			"keyMaterialType": "SYMMETRIC"}, "status": "ENABLED", "keyId": %d, "outputPrefixType": %q}`,
			k.keyType, base64.StdEncoding.EncodeToString(k.value), k.id, k.prefix))
	}
	return fmt.Appendf(nil, `{"primaryKeyId": %d, "key": [%s]}`, list[0].id, strings.Join(entries, ", "))
}

// field is one of a protocol buffer, at most 127 bytes long.
func field(number byte, value []byte) []byte {
	return append([]byte{number<<3 | 2, byte(len(value))}, value...)
}

// keysetJSON is a keyset in the clear of one AES-GCM key with Tink's prefix.
func keysetJSON(key []byte, id uint32) []byte {
	return marshal(jsonKey{"AesGcmKey", field(3, key), id, "TINK"})
}

// encodings writes handle in each encoding, in the clear or under kek.
func encodings(handle *keyset.Handle, kek tink.AEAD, ad []byte) map[string][]byte {
	files := make(map[string][]byte)
	for name, newWriter := range map[string]func(b *bytes.Buffer) keyset.Writer{
		"JSON":   func(b *bytes.Buffer) keyset.Writer { return keyset.NewJSONWriter(b) },
		"binary": func(b *bytes.Buffer) keyset.Writer { return keyset.NewBinaryWriter(b) },
	} {
		var b bytes.Buffer
		var err error
		if kek == nil {
			err = insecurecleartextkeyset.Write(handle, newWriter(&b))
		} else {
			err = handle.WriteWithAssociatedData(newWriter(&b), kek, ad)
		}
		if err != nil {
			panic(err)
		}
		files[name] = b.Bytes()
	}
	return files
}

func newHandle(template *tinkpb.KeyTemplate) *keyset.Handle {
	return must(keyset.NewHandle(template))
}

func TestReadKeyset(t *testing.T) {
	ad := []byte("of this host")
	for name, template := range map[string]*tinkpb.KeyTemplate{
		"AES-128-GCM": aead.AES128GCMKeyTemplate(), "AES-256-GCM": aead.AES256GCMKeyTemplate(), "no prefix": aead.AES256GCMNoPrefixKeyTemplate(),
		"X-AES-GCM": aead.XAES256GCM192BitNonceKeyTemplate(), "AES-GCM-SIV": aead.AES256GCMSIVKeyTemplate(), "CTR-HMAC": aead.AES256CTRHMACSHA256KeyTemplate(),
		"ChaCha20": aead.ChaCha20Poly1305KeyTemplate(), "XChaCha20": aead.XChaCha20Poly1305KeyTemplate(),
	} {
		handle, fk := newHandle(template), keys.NewFileKey()
		kek := newService()
		slot := must(New(must(aead.New(handle)), nil).Wrap(t.Context(), core, fk))
		for encoding, file := range encodings(handle, nil, nil) {
			key, cleartext, err := ReadKeyset(file, nil)
			if err != nil || !cleartext {
				t.Fatalf("%s, %s, in the clear: %v, %v", name, encoding, cleartext, err)
			}
			opens(t, key, slot, fk)
			if !key.local {
				t.Error("a keyset is taken for a KMS")
			}
			if _, _, err := ReadKeyset(file, kek); err == nil || !strings.Contains(err.Error(), "it is not encrypted") {
				t.Errorf("%s, %s, in the clear though a kek is given: %v", name, encoding, err)
			}
		}
		for encoding, file := range encodings(handle, kek, nil) {
			key, cleartext, err := ReadKeyset(file, kek)
			if err != nil || cleartext {
				t.Fatalf("%s, %s, encrypted: %v, %v", name, encoding, cleartext, err)
			}
			opens(t, key, slot, fk)
			if _, _, err := ReadKeyset(file, nil); err == nil || !strings.Contains(err.Error(), "it is encrypted, or damaged") {
				t.Errorf("%s, %s, encrypted, without a kek: %v", name, encoding, err)
			}
			if _, _, err := ReadKeyset(file, newService()); err == nil || !strings.Contains(err.Error(), "decrypting it: ") {
				t.Errorf("%s, %s, encrypted, another kek: %v", name, encoding, err)
			}
			if _, _, err := ReadKeysetWithAssociatedData(file, kek, ad); err == nil {
				t.Errorf("%s, %s: opens with associated data that it does not have", name, encoding)
			}
		}
		for encoding, file := range encodings(handle, kek, ad) {
			key, cleartext, err := ReadKeysetWithAssociatedData(file, kek, ad)
			if err != nil || cleartext {
				t.Fatalf("%s, %s, encrypted with associated data: %v, %v", name, encoding, cleartext, err)
			}
			opens(t, key, slot, fk)
			if _, _, err := ReadKeyset(file, kek); err == nil {
				t.Errorf("%s, %s: opens without its associated data", name, encoding)
			}
		}
	}
}

func TestReadKEK(t *testing.T) {
	kekHandle := newHandle(aead.AES256GCMKeyTemplate())
	for _, kekFile := range encodings(kekHandle, nil, nil) {
		kek, err := ReadKEK(kekFile)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range encodings(newHandle(aead.AES256GCMKeyTemplate()), must(aead.New(kekHandle)), nil) {
			if _, cleartext, err := ReadKeyset(file, kek); err != nil || cleartext {
				t.Error(cleartext, err)
			}
			if _, err := ReadKEK(file); err == nil {
				t.Error("an encrypted keyset is read as one in the clear")
			}
		}
	}
}

// TestKEKFails: that the KMS of a kek is down is told as such.
func TestKEKFails(t *testing.T) {
	kek := newService()
	for _, file := range encodings(newHandle(aead.AES256GCMKeyTemplate()), kek, nil) {
		broken := &service{decrypt: down}
		if _, _, err := ReadKeyset(file, broken); !errors.Is(err, errDown) {
			t.Error(err)
		}
	}
}

// TestRotation: a container from before a rotation opens as long as the old key is
// enabled.
func TestRotation(t *testing.T) {
	manager := keyset.NewManager()
	old := must(manager.Add(aead.AES256GCMKeyTemplate()))
	read := func() *Key {
		t.Helper()
		key, _, err := ReadKeyset(encodings(must(manager.Handle()), nil, nil)["JSON"], nil)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(manager.SetPrimary(old))
	fk := keys.NewFileKey()
	before := must(read().Wrap(t.Context(), core, fk))

	next := must(manager.Add(aead.XChaCha20Poly1305KeyTemplate()))
	opens(t, read(), before, fk)
	check(manager.SetPrimary(next))
	opens(t, read(), before, fk)
	after := must(read().Wrap(t.Context(), core, fk))
	opens(t, read(), after, fk)
	if bytes.Equal(before.Unsized()[:5], after.Unsized()[:5]) {
		t.Error("the new key does not wrap")
	}
	for _, retire := range []func(uint32) error{manager.Disable, manager.Delete} {
		check(retire(old))
		if _, err := read().Unwrap(t.Context(), core, before); !errors.Is(err, keys.ErrNoMatch) {
			t.Errorf("without the old key: %v", err)
		}
		opens(t, read(), after, fk)
	}
}

func TestReadKeysetRefuses(t *testing.T) {
	secret := bytes.Repeat([]byte{0xA7, 0x3C, 0x91, 0x5E}, 8)
	good := string(keysetJSON(secret, 1))
	other := must(ReadKEK(keysetJSON(secret, 1)))
	replaced := func(old, new string) []byte {
		if !strings.Contains(good, old) {
			t.Fatalf("there is no %s", old)
		}
		return []byte(strings.ReplaceAll(good, old, new))
	}
	for name, tt := range map[string]struct {
		file []byte
		err  string
	}{
		"empty":             {nil, "no keyset"},
		"text":              {[]byte("hello"), "no keyset"},
		"an empty object":   {[]byte("{}"), "no keyset"},
		"no key":            {[]byte(`{"primaryKeyId": 1, "key": []}`), "no keyset"},
		"cut":               {[]byte(good[:len(good)-1]), "no keyset"},
		"two":               {[]byte(good + good), "no keyset"},
		"field":             {replaced(`"status"`, `"state"`), "no keyset"},
		"primary":           {replaced(`"primaryKeyId": 1`, `"primaryKeyId": 2`), "no keyset"},
		"disabled":          {replaced("ENABLED", "DISABLED"), "no keyset"},
		"base64":            {replaced(`"Gi`, `"!!`), "no keyset"},
		"key type":          {replaced("AesGcmKey", "NoSuchKey"), "no AEAD, or is in a KMS"},
		"prefix of type":    {replaced("type.googleapis.com/", "type.example.com/"), "no AEAD, or is in a KMS"},
		"short key":         {keysetJSON(secret[:5], 1), "one of its keys is not right"},
		"empty key":         {marshal(jsonKey{"AesGcmKey", nil, 1, "TINK"}), "one of its keys is not right"},
		"garbage in a key":  {marshal(jsonKey{"AesGcmKey", secret, 1, "TINK"}), "one of its keys is not right"},
		"a MAC":             {encodings(newHandle(mac.HMACSHA256Tag256KeyTemplate()), nil, nil)["JSON"], "no AEAD"},
		"a MAC, binary":     {encodings(newHandle(mac.HMACSHA256Tag256KeyTemplate()), nil, nil)["binary"], "no AEAD"},
		"over the limit":    {bytes.Repeat([]byte(" "), maxKeyset+1), "65537 bytes are over the limit of 65536"},
		"a key of ours":     {[]byte(keys.GenerateAccountKey().Text()), "no keyset"},
		"encrypted, broken": {[]byte(`{"encryptedKeyset": "Gi"}`), "it is encrypted, or damaged"},
	} {
		for _, read := range []func([]byte) error{
			func(file []byte) error { _, _, err := ReadKeyset(file, nil); return err },
			func(file []byte) error { _, err := ReadKEK(file); return err },
		} {
			err := read(tt.file)
			if err == nil || !strings.HasPrefix(err.Error(), "reading a Tink keyset: ") || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %s", name, err, tt.err)
			} else if quotes(err, tt.file, secret) {
				t.Errorf("%s: the error quotes the file: %v", name, err)
			}
		}
		if _, _, err := ReadKeyset(tt.file, other); err == nil || quotes(err, tt.file, secret) {
			t.Errorf("%s, with a kek: %v", name, err)
		}
	}
	if _, _, err := ReadKeyset(append(bytes.Repeat([]byte(" "), maxKeyset-len(good)), good...), nil); err != nil {
		t.Errorf("at the limit: %v", err)
	}
}

// quotes reports whether an error has any 16 characters of the keys in file, which no
// sentence has by chance.
func quotes(err error, file, secret []byte) bool {
	text := err.Error()
	if tells(text, secret) {
		return true
	}
	for _, value := range strings.Split(string(file), `"`) {
		if len(value) < 32 || strings.Contains(value, "google") {
			continue // no key
		}
		for i := range len(value) - 15 {
			if strings.Contains(text, value[i:i+16]) {
				return true
			}
		}
	}
	return false
}

// TestNoRemoteKeys: a keyset that names a key in a KMS is not used, even if the program
// has registered a client that would serve it.
func TestNoRemoteKeys(t *testing.T) {
	client := &kms{aead: newService()}
	registry.RegisterKMSClient(client)
	defer registry.ClearKMSClients()
	uri := "kms://ours/backups"
	kmsKey := marshal(jsonKey{"KmsAeadKey", field(2, field(1, []byte(uri))), 1, "TINK"})
	files := encodings(newHandle(must(aead.CreateKMSEnvelopeAEADKeyTemplate(uri, aead.AES256GCMKeyTemplate()))), nil, nil)
	files["KMS key"] = kmsKey
	asked := len(client.asked)
	for name, file := range files {
		if _, _, err := ReadKeyset(file, nil); err == nil || !strings.Contains(err.Error(), "is in a KMS") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(client.asked) != asked {
		t.Errorf("the client was asked for %q", client.asked)
	}
	// Tink itself would ask.
	handle := must(insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(files["JSON"]))))
	if _, err := aead.New(handle); err != nil || len(client.asked) == asked {
		t.Errorf("Tink does not ask for %s, so this test shows nothing: %v", uri, err)
	}
}

// TestNewLocal: a keyset whose primary key does not work is found at loading.
func TestNewLocal(t *testing.T) {
	s := newService()
	if _, err := newLocal(s); err != nil {
		t.Fatal(err)
	}
	s.decrypt = returns([]byte("something else"))
	if key, err := newLocal(s); key != nil || !errors.As(err, new(*Error)) {
		t.Error(err)
	}
}

// TestLyingKEK: what a kek returns is a keyset of ours, or refused.
func TestLyingKEK(t *testing.T) {
	file := encodings(newHandle(aead.AES256GCMKeyTemplate()), newService(), nil)["JSON"]
	for name, plaintext := range map[string][]byte{"nothing": nil, "garbage": []byte("garbage"), "text": bytes.Repeat([]byte{8}, 100)} {
		if _, _, err := ReadKeyset(file, &service{decrypt: returns(plaintext)}); err == nil || !strings.Contains(err.Error(), "no encrypted keyset") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
