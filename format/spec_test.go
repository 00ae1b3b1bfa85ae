package format_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/coffer-backup/coffer/format"
)

// A namedValue is one line "name = hex" of § 10.
type namedValue struct {
	name  string
	value []byte
}

// workedExample builds the container of § 10 from the text of SPEC.md alone: it
// uses the standard library and xxhash, and nothing of package format.
func workedExample(t *testing.T) (values []namedValue, file []byte) {
	le := binary.LittleEndian
	note := func(name string, v []byte) []byte {
		values = append(values, namedValue{name, v})
		return v
	}
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	sum := func(b []byte) []byte { h := sha256.Sum256(b); return h[:] }
	mac := func(key, b []byte) []byte { m := hmac.New(sha256.New, key); m.Write(b); return m.Sum(nil) }
	expand := func(prk []byte, label string, info []byte, n int) []byte {
		return must(hkdf.Expand(sha256.New, prk, label+string(info), n))
	}

	// § 10.1, what is chosen
	ak := note("AK", count(0x00, 32))
	salt := note("salt", count(0x20, 32))
	fk := note("FK", count(0x40, 32))
	slotSalt := note("slot_salt", count(0x60, 32))
	context := note("context", []byte("worked example"))
	plaintext := note("plaintext", []byte("a backup is as good as its restore\n"))

	// § 10.2, the keys of the file
	contextHash := note("SHA-256(context)", sum(context))
	prk := note("PRK", must(hkdf.Extract(sha256.New, fk, salt)))
	kMAC := note("K_mac", expand(prk, "coffer v1 header mac", nil, 32))
	contextTag := note("context_tag", expand(prk, "coffer v1 context", contextHash, 16))
	core := note("CORE", cat([]byte{1, 0, 1, 1, 20, 1, 0, 0}, salt, contextTag))
	bound := cat(note("SHA-256(CORE)", sum(core)), contextHash)
	bk := note("BK", expand(prk, "coffer v1 body key", bound, 32))
	n := expand(prk, "coffer v1 body nonce", bound, 12)
	n[0] &= 0x7f
	clear(n[8:])
	note("N", n)

	// § 10.3, the slot
	note("key_id", expand(ak, "coffer v1 key id", nil, 16))
	note("key checksum", sum(cat([]byte("coffer v1 key text"), ak))[:2])
	kek := note("KEK", must(hkdf.Key(sha256.New, ak, slotSalt, "coffer v1 kek account", 32)))
	params := make([]byte, 16) // the hint is not given
	bind := note("bind", sum(cat([]byte("coffer v1 slot"), core, []byte{1, 0}, slotSalt, params)))
	pad := note("pad", expand(kek, "coffer v1 wrap pad", bind, 32))
	c := make([]byte, 32)
	for i := range c {
		c[i] = fk[i] ^ pad[i]
	}
	note("c", c)
	wrapMAC := note("K_wrap", expand(kek, "coffer v1 wrap mac", bind, 32))
	tag := note("tag", mac(wrapMAC, c))
	slot := note("slot", cat([]byte{1, 0, 112, 0}, slotSalt, params, c, tag))

	// § 10.4, the header block
	block := cat([]byte("\x89COF\r\n\x1a\n"), core)
	block = le.AppendUint64(block, 1)
	block = le.AppendUint32(block, 4096)
	block = le.AppendUint32(block, uint32(len(slot)))
	block = le.AppendUint16(block, 1)
	block = append(block, make([]byte, 14)...)
	note("header[0:96]", bytes.Clone(block))
	block = append(block, slot...)
	block = append(block, make([]byte, 4096-40-len(block))...)
	block = append(block, note("MAC", mac(kMAC, block))...)
	block = append(block, note("CRC", le.AppendUint32(nil, crc32.Checksum(block, crc32.MakeTable(crc32.Castagnoli))))...)
	block = append(block, note("H", le.AppendUint32(nil, 4096))...)

	// § 10.5, the content
	blockHeader := le.AppendUint32(nil, uint32(len(plaintext)<<3|1))[:3] // raw, the last
	frame := cat([]byte{0x28, 0xB5, 0x2F, 0xFD, 0xA4}, le.AppendUint32(nil, uint32(len(plaintext))),
		blockHeader, plaintext, le.AppendUint32(nil, uint32(xxhash.Sum64(plaintext))))
	note("data frame", frame)
	table := cat([]byte{0x5E, 0x2A, 0x4D, 0x18, 17, 0, 0, 0},
		le.AppendUint32(nil, uint32(len(frame))), le.AppendUint32(nil, uint32(len(plaintext))),
		[]byte{1, 0, 0, 0, 0, 0xB1, 0xEA, 0x92, 0x8F})
	content := cat(frame, note("seek table", table))

	// § 10.6, the body: one package, the last
	header := cat([]byte{0x20, 0, byte(len(content) - 1), 0}, n)
	header[4] |= 0x80
	note("package header", header)
	aead := must(cipher.NewGCM(must(aes.NewCipher(bk)))) // number 0 leaves the nonce as it is
	body := aead.Seal(header, header[4:16], content, header[:4])
	note("package", body)

	file = cat(block, body, block)
	note("SHA-256(file)", sum(file))
	return values, file
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// count returns n bytes that count up from first.
func count(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// specValues reads the lines "name = hex" of § 10; an indented line goes on with
// the value of the line before.
func specValues(t *testing.T) map[string]string {
	_, section, ok := strings.Cut(string(must(os.ReadFile("SPEC.md"))), "\n## 10. ")
	if !ok {
		t.Fatal("SPEC.md has no § 10")
	}
	values := map[string]string{}
	line := regexp.MustCompile(`(?m)^(\S[^=\n]*?) *= ([0-9a-f ]+(?:\n +[0-9a-f ]+)*)$`)
	for _, m := range line.FindAllStringSubmatch(section, -1) {
		if _, twice := values[m[1]]; twice {
			t.Errorf("SPEC.md gives %s twice", m[1])
		}
		values[m[1]] = strings.Join(strings.Fields(m[2]), "")
	}
	return values
}

func TestWorkedExample(t *testing.T) {
	values, file := workedExample(t)
	spec := specValues(t)
	for _, v := range values {
		if want := hex.EncodeToString(v.value); spec[v.name] != want {
			t.Errorf("SPEC.md § 10 has\n%s = %s, computed\n%s = %s", v.name, spec[v.name], v.name, want)
		}
		delete(spec, v.name)
	}
	if len(spec) > 0 {
		t.Errorf("SPEC.md § 10 has values that nothing recomputes: %q", slices.Sorted(maps.Keys(spec)))
	}
	if !bytes.Equal(file, must(os.ReadFile("testdata/worked-example.coffer"))) {
		t.Error("testdata/worked-example.coffer is not the container of § 10")
	}
}

// TestWorkedExampleParses holds the package against the same bytes.
func TestWorkedExampleParses(t *testing.T) {
	values, file := workedExample(t)
	v := map[string][]byte{}
	for _, nv := range values {
		v[nv.name] = nv.value
	}
	h, block, err := format.ReadHeader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if core := h.Core(); !bytes.Equal(core[:], v["CORE"]) || !bytes.Equal(h.MAC[:], v["MAC"]) || !h.HasContext() {
		t.Errorf("header is %+v", h)
	}
	if again := must(h.AppendBinary(nil)); !bytes.Equal(again, file[:4096]) || !bytes.Equal(block, again) {
		t.Error("the header encodes to other bytes")
	}
	slot, known, err := h.Entries[0].Slot()
	if err != nil || !known || slot.Kind != format.KindAccount || string(slot.Wrapped) != string(v["c"])+string(v["tag"]) {
		t.Errorf("slot is %+v, known %v, %v", slot, known, err)
	}
	body := file[4096 : len(file)-4096]
	if n, ok := format.PackageCount(int64(len(body))); n != 1 || !ok {
		t.Errorf("PackageCount = %d, %v", n, ok)
	}
	ph, nonce := format.PackageHeader(body[:16]), format.Nonce(v["N"])
	if !ph.Check(format.AES256GCM, &nonce) || !ph.Final() || ph.Payload() != len(body)-32 {
		t.Errorf("package header %x", ph)
	}
	frame := v["data frame"]
	if size, stored, err := format.WalkFrame(frame, h.SegmentSize()); size != len(v["plaintext"]) || !stored || err != nil {
		t.Errorf("WalkFrame = %d, %v, %v", size, stored, err)
	}
	if got := format.AppendStored(nil, v["plaintext"], uint32(xxhash.Sum64(v["plaintext"]))); !bytes.Equal(got, frame) {
		t.Errorf("AppendStored = %x", got)
	}
	table := format.AppendSkippable(nil, format.MagicSeekTable, uint32(format.SeekTableSize(1)-format.SkippableHeaderSize))
	table = format.AppendSeekEntry(table, format.SeekEntry{Compressed: uint32(len(frame)), Decompressed: uint32(len(v["plaintext"]))})
	if table = format.AppendSeekFooter(table, 1); !bytes.Equal(table, v["seek table"]) {
		t.Errorf("seek table = %x", table)
	}
}
