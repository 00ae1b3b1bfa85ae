package dare_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/format"
	"github.com/minio/sio"
)

// FuzzOpenAgainstSio seals packages under headers from the fuzzer with tags that
// are right, so that only the headers decide. headers holds 16 bytes for each of
// at most 4 packages, last the payload of the last one. Whatever Open accepts, sio
// must accept with the same bytes, and Seal must make.
func FuzzOpenAgainstSio(f *testing.F) {
	for _, suite := range suites {
		for _, n := range lengths[:18] { // up to three packages
			plain := bytes.Repeat(plaintext(format.MaxPayload), 3)[:n] // as sealUnder has it
			body := sealAll(f, newStream(f, suite), plain)
			var headers []byte
			for pkg := range slices.Chunk(body, format.MaxPackageSize) {
				headers = append(headers, pkg[:format.PackageHeaderSize]...)
			}
			last := plain[(n-1)/format.MaxPayload*format.MaxPayload:]
			if !bytes.Equal(sealUnder(f, newAEAD(f, suite), headers, last), body) {
				f.Fatalf("the seed of %d bytes is no valid stream", n)
			}
			f.Add(byte(slices.Index(suites, suite)), headers, last)
		}
	}
	f.Fuzz(func(t *testing.T, b byte, headers, last []byte) {
		suite := suites[int(b)%len(suites)]
		if len(last) > format.MaxPayload || len(headers) > 4*format.PackageHeaderSize {
			return
		}
		body := sealUnder(t, newAEAD(t, suite), headers, last)
		s := newStream(t, suite)
		ours, err := openAll(s, body)
		if err != nil {
			return
		}
		if !bytes.Equal(sealAll(t, s, ours), body) {
			t.Errorf("we open a body of %d bytes that we would not seal", len(body))
		}
		theirs, err := sio.DecryptBuffer(nil, body, sioConfig(suite))
		if err != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("we open a body of %d bytes, sio gives other bytes or error %v", len(body), err)
		}
	})
}

// sealUnder makes a body of one package for each whole header, the last with
// payload last, the others full.
func sealUnder(t testing.TB, aead backends.AEAD, headers, last []byte) (body []byte) {
	count := len(headers) / format.PackageHeaderSize
	for number := range count {
		header := headers[number*format.PackageHeaderSize:][:format.PackageHeaderSize]
		payload := last
		if number < count-1 {
			payload = plaintext(format.MaxPayload)
		}
		n := bytes.Clone(header[4:])
		n[8] ^= byte(number)
		var err error
		if body, err = aead.Seal(append(body, header...), n, payload, header[:4]); err != nil {
			t.Fatal(err)
		}
	}
	return body
}
