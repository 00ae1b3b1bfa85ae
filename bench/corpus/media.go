package corpus

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// media is a camera's folder, one file after another: photos as JPEG, videos as
// MP4, their headers with all that real ones have, and bits drawn evenly where the
// coder's output would be, in JPEG with the 00 stuffed after each FF. A real coder's
// bits are not quite even: of cameras' JPEG files zstd saves a percent or two at
// best, of 40 MB of these 0.06 % at level 19.
type media struct {
	*random
	*entropy
	out    []byte
	left   int64  // bytes of the corpus
	photo  int    // bytes that are still to come
	video  *video // nil: none
	number int    // of the file
}

const mediaPiece = 64 << 10

func newMedia(size int64, seed uint64) producer {
	return &media{random: newRandom(seed, 3), entropy: newEntropy(seed, 4), left: size}
}

func (m *media) next() []byte {
	if m.left == 0 {
		return nil
	}
	m.out = m.out[:0]
	switch {
	case m.video != nil:
		if m.out = m.video.appendChunk(m.out, m.entropy); m.video.done() {
			m.out = m.video.appendIndex(m.out)
			m.video = nil
		}
	case m.photo > mediaPiece:
		m.out = m.appendBits(m.out, mediaPiece)
		m.photo -= mediaPiece
	case m.photo > 0:
		m.out = m.appendScan(m.out, m.photo)
		m.photo = 0
	default:
		m.begin()
	}
	m.out = m.out[:min(m.left, int64(len(m.out)))]
	m.left -= int64(len(m.out))
	return m.out
}

// begin starts the next file: three in four are photos.
func (m *media) begin() {
	m.number++
	if m.oneIn(4) {
		m.video = newVideo(m.random, m.scale(1<<20, 8<<20), m.taken())
		m.out = m.video.appendHead(m.out)
		return
	}
	size := m.scale(100<<10, 6<<20)
	shape := [][2]int{{4000, 3000}, {3000, 4000}, {4032, 3024}, {1600, 1200}}[m.bits(2)]
	m.out = append(m.out, 0xff, 0xd8)
	m.out = m.appendEXIF(m.out, shape[0], shape[1])
	m.out = appendJPEGTables(m.out, shape[0], shape[1], m.between(75, 96))
	m.photo = size - len(m.out)
}

// taken returns when the file was: a few a day, from 2019 on.
func (m *media) taken() time.Time {
	return time.Unix(1_550_000_000+int64(m.number)*21_000+int64(m.bits(14)), 0).UTC()
}

// entropy makes the bits of JPEG scans and video samples.
type entropy struct {
	stream *rand.ChaCha8
	raw    [mediaPiece]byte
}

func newEntropy(seed, purpose uint64) *entropy {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	binary.LittleEndian.PutUint64(key[8:], purpose)
	return &entropy{stream: rand.NewChaCha8(key)}
}

// appendRaw appends n random bytes.
func (e *entropy) appendRaw(dst []byte, n int) []byte {
	for n > 0 {
		raw := e.raw[:min(n, len(e.raw))]
		_, _ = e.stream.Read(raw) // never fails
		dst = append(dst, raw...)
		n -= len(raw)
	}
	return dst
}

// appendBits appends n bytes of a JPEG's entropy-coded segment: after each FF
// comes 00, so that no marker is mistaken.
func (e *entropy) appendBits(dst []byte, n int) []byte {
	for n > 0 {
		raw := e.raw[:min(n, len(e.raw))]
		_, _ = e.stream.Read(raw)
		for n > 0 && len(raw) > 0 {
			i := bytes.IndexByte(raw, 0xff)
			if i < 0 || i+2 > n {
				k := min(len(raw), n)
				dst = append(dst, raw[:k]...)
				if i >= 0 && i < k {
					dst[len(dst)-k+i] = 0xfe // there is no room for its 00
				}
				n -= k
				break
			}
			dst = append(append(dst, raw[:i+1]...), 0)
			raw, n = raw[i+1:], n-i-2
		}
	}
	return dst
}

// appendScan appends the last n bytes of a JPEG.
func (e *entropy) appendScan(dst []byte, n int) []byte {
	return append(e.appendBits(dst, n-2), 0xff, 0xd9)
}
