package fuzz_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/sha256"
	"crypto/sha3"
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/coffer-backup/coffer/vectors/build"
)

// This part of the oracle is kind 5 (§ 4.5.6) and § 4.7. HPKE and X-Wing are put together
// from their parts here; the package judged has both from the standard library.

// openHybrid tries every seed on a slot of kind 5 (§ 4.5.9).
func (c *caller) openHybrid(b *block, e *entry) (fk []byte, limited bool) {
	if !c.allowAnonymous && len(c.accounts)+len(c.passphrases) > 0 {
		return nil, len(c.seeds) > 0
	}
	info := append([]byte("coffer v1 hpke"), build.Bind(b.core(), 5, e.salt(), e.params)...)
	for _, seed := range c.seeds {
		secret, ok := xwingOpen(seed, e.wrapped[:1120])
		if !ok {
			continue
		}
		key, nonce := hpkeKey(secret, info)
		if fk, err := build.AEAD(2, key).Open(nil, nonce, e.wrapped[1120:], nil); err == nil {
			return fk, false
		}
	}
	return nil, false
}

// xwingKeys derives the private keys of a seed (§ 4.7.1).
func xwingKeys(seed []byte) (*mlkem.DecapsulationKey768, *ecdh.PrivateKey) {
	both := sha3.SumSHAKE256(seed, 96)
	return must(mlkem.NewDecapsulationKey768(both[:64])), must(ecdh.X25519().NewPrivateKey(both[64:]))
}

func xwingPublic(seed []byte) []byte {
	pq, classic := xwingKeys(seed)
	return append(pq.EncapsulationKey().Bytes(), classic.PublicKey().Bytes()...)
}

func xwingOpen(seed, enc []byte) (secret []byte, ok bool) {
	pq, classic := xwingKeys(seed)
	share := enc[1088:]
	if isLowOrder(share) {
		return nil, false
	}
	ss := must(pq.Decapsulate(enc[:1088]))
	return xwingSecret(ss, must(classic.ECDH(must(ecdh.X25519().NewPublicKey(share)))), share, classic.PublicKey().Bytes()), true
}

// xwingSecret is the combiner of X-Wing.
func xwingSecret(pq, classic, share, public []byte) []byte {
	sum := sha3.Sum256(slices.Concat(pq, classic, share, public, []byte(`\./`+`/^\`)))
	return sum[:]
}

// hpkeKey is the key schedule of RFC 9180, base mode, and the nonce of the first message.
func hpkeKey(secret, info []byte) (key, nonce []byte) {
	suite := "HPKE" + "\x64\x7a" + "\x00\x01" + "\x00\x03"
	extract := func(salt []byte, label string, ikm []byte) []byte {
		return must(hkdf.Extract(sha256.New, append([]byte("HPKE-v1"+suite+label), ikm...), salt))
	}
	context := slices.Concat([]byte{0}, extract(nil, "psk_id_hash", nil), extract(nil, "info_hash", info))
	prk := extract(secret, "secret", nil)
	expand := func(label string, n int) []byte {
		return must(hkdf.Expand(sha256.New, prk, "\x00"+string(rune(n))+"HPKE-v1"+suite+label+string(context), n))
	}
	return expand("key", 32), expand("base_nonce", 12)
}

// isLowOrder reports whether a public key of X25519 makes all secrets zero: it is one of
// five numbers modulo p, the top bit left aside.
func isLowOrder(public []byte) bool {
	be := slices.Clone(public)
	slices.Reverse(be)
	be[0] &= 0x7f
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	u := new(big.Int).Mod(new(big.Int).SetBytes(be), p)
	for _, low := range []string{"0", "1", new(big.Int).Sub(p, big.NewInt(1)).String(),
		"325606250916557431795983626356110631294008115727848805560023387167927233504",
		"39382357235489614581723060781553021112529911719440698176882885853963445705823"} {
		if u.String() == low {
			return true
		}
	}
	return false
}

// A hybridText is what § 4.7.2 says of recipients, or of secret keys.
type hybridText struct {
	prefix, label, alphabet string
	size                    int
}

var (
	recipientTexts = hybridText{"coffer1pq", "coffer v1 recipient text", "abcdefghijklmnopqrstuvwxyz234567", 1216}
	identityTexts  = hybridText{"COFFER-SECRET-KEY-PQ-1", "coffer v1 identity text", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 32}
)

// write returns the text of key.
func (h *hybridText) write(key []byte) string {
	sum := sha256.Sum256(append([]byte(h.label), key...))
	text := []byte(h.prefix)
	bits, n := 0, 0
	for _, b := range append(slices.Clone(key), sum[:4]...) {
		bits, n = bits<<8|int(b), n+8
		for ; n >= 5; n -= 5 {
			text = append(text, h.alphabet[bits>>(n-5)&31])
		}
		bits &= 1<<n - 1
	}
	if n > 0 {
		text = append(text, h.alphabet[bits<<(5-n)&31])
	}
	return string(text)
}

// read returns the key in text, whatever its checksum is.
func (h *hybridText) read(text string) (key []byte, ok bool) {
	digits, ok := strings.CutPrefix(text, h.prefix)
	if !ok || len(digits) != (8*(h.size+4)+4)/5 {
		return nil, false
	}
	bits, n := 0, 0
	for _, c := range []byte(digits) {
		value := strings.IndexByte(h.alphabet, c)
		if value < 0 {
			return nil, false
		}
		if bits, n = bits<<5|value, n+5; n >= 8 {
			n -= 8
			key = append(key, byte(bits>>n))
		}
		bits &= 1<<n - 1
	}
	return key[:h.size], true
}

// accepts is § 4.7.3.
func (h *hybridText) accepts(text string) (key []byte, ok bool) {
	key, ok = h.read(text)
	if !ok || h.write(key) != text || h.size == 1216 && !isXWingKey(key) {
		return nil, false
	}
	return key, true
}

// isXWingKey judges coefficients of 12 bits, and the X25519 key.
func isXWingKey(key []byte) bool {
	for b := range slices.Chunk(key[:1152], 3) {
		if int(b[0])|int(b[1]&15)<<8 >= 3329 || int(b[1]>>4)|int(b[2])<<4 >= 3329 {
			return false
		}
	}
	return !isLowOrder(key[1184:])
}

// file reads a file of such texts (§ 4.7.4).
func (h *hybridText) file(file string) (found [][]byte, ok bool) {
	if len(file) > 131072 || !utf8.ValidString(file) {
		return nil, false
	}
	for _, line := range contentLines(file) {
		key, ok := h.accepts(line)
		if !ok {
			return nil, false
		}
		found = append(found, key)
	}
	return found, len(found) >= 1 && len(found) <= 32
}

func contentLines(file string) (lines []string) {
	for line := range strings.SplitSeq(file, "\n") {
		if line = strings.Trim(line, " \t\r"); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

// distinct returns keys without those that were there before.
func distinct(keys [][]byte) (first [][]byte) {
	for _, k := range keys {
		if !slices.ContainsFunc(first, func(other []byte) bool { return bytes.Equal(k, other) }) {
			first = append(first, k)
		}
	}
	return first
}
