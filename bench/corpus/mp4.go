package corpus

import (
	"encoding/binary"
	"time"
)

// A video is an MP4 file as phones write it: the media data, a second at a time,
// and after it the index of all samples, in two tracks.
type video struct {
	taken  time.Time
	chunks []chunk
	next   int // chunk
	tracks [2][]uint32
	size   uint32 // of the media data with its head
}

// A chunk is a second: frames, a key frame first, and then its sound.
type chunk struct{ samples [2][]uint32 }

const (
	framesPerSecond = 30
	soundsPerSecond = 43 // AAC frames of 1024 samples
	videoHead       = 32 + 8
)

func newVideo(r *random, size int, taken time.Time) *video {
	v := &video{taken: taken, size: 8}
	for int(v.size) < size {
		var c chunk
		for i := range framesPerSecond {
			n := r.between(3000, 12000)
			if i == 0 {
				n *= 6
			}
			c.samples[0] = append(c.samples[0], uint32(n))
		}
		for range soundsPerSecond {
			c.samples[1] = append(c.samples[1], uint32(r.between(240, 400)))
		}
		for track, samples := range c.samples {
			for _, n := range samples {
				v.size += n
			}
			v.tracks[track] = append(v.tracks[track], samples...)
		}
		v.chunks = append(v.chunks, c)
	}
	return v
}

func (v *video) done() bool { return v.next == len(v.chunks) }

// appendHead appends all before the first sample.
func (v *video) appendHead(dst []byte) []byte {
	dst = appendBox(dst, "ftyp", []byte("isom\x00\x00\x02\x00isomiso2avc1mp41"))
	dst = binary.BigEndian.AppendUint32(dst, v.size)
	return append(dst, "mdat"...)
}

// appendChunk appends the next second.
func (v *video) appendChunk(dst []byte, e *entropy) []byte {
	c := &v.chunks[v.next]
	v.next++
	for i, n := range c.samples[0] { // each a NAL unit behind its length
		kind := byte(0x41)
		if i == 0 {
			kind = 0x65 // key frame
		}
		dst = append(binary.BigEndian.AppendUint32(dst, n-4), kind)
		dst = e.appendRaw(dst, int(n)-5)
	}
	for _, n := range c.samples[1] {
		dst = e.appendRaw(append(dst, 0x21), int(n)-1)
	}
	return dst
}

// appendIndex appends the last box.
func (v *video) appendIndex(dst []byte) []byte {
	duration := 1000 * len(v.chunks)
	movie := appendBox(nil, "mvhd", words(0, v.stamp(), v.stamp(), 1000, duration, 0x10000, 0x01000000, 0, 0), matrix(), words(0, 0, 0, 0, 0, 0, 3))
	for i := range v.tracks {
		movie = appendBox(movie, "trak", v.track(i, duration))
	}
	return appendBox(dst, "moov", movie)
}

// stamp is the time in seconds since 1904.
func (v *video) stamp() int { return int(v.taken.Unix() + 2_082_844_800) }

func (v *video) track(i, duration int) []byte {
	kind := [2]string{"vide", "soun"}[i]
	name := [2]string{"VideoHandle\x00", "SoundHandle\x00"}[i]
	scale := [2]int{90_000, 44_100}[i]
	step := [2]int{90_000 / framesPerSecond, 1024}[i]
	shape := [2][2]int{{1920 << 16, 1080 << 16}, {0, 0}}[i]
	per := len(v.chunks[0].samples[i])
	entry := [2]string{avcEntry, aacEntry}[i]
	head := [2][]byte{appendBox(nil, "vmhd", words(1, 0, 0)), appendBox(nil, "smhd", words(0, 0))}[i]

	sizes, offsets := words(0, 0, len(v.tracks[i])), words(0, len(v.chunks))
	for _, n := range v.tracks[i] {
		sizes = binary.BigEndian.AppendUint32(sizes, n)
	}
	at := uint32(videoHead)
	for _, c := range v.chunks {
		for track, samples := range c.samples {
			if track == i {
				offsets = binary.BigEndian.AppendUint32(offsets, at)
			}
			for _, n := range samples {
				at += n
			}
		}
	}
	table := appendBox(nil, "stsd", words(0, 1), []byte(entry))
	table = appendBox(table, "stts", words(0, 1, len(v.tracks[i]), step))
	table = appendBox(table, "stsc", words(0, 1, 1, per, 1))
	table = appendBox(table, "stsz", sizes)
	table = appendBox(table, "stco", offsets)
	data := appendBox(nil, "dinf", appendBox(nil, "dref", words(0, 1), appendBox(nil, "url ", words(1))))
	handling := appendBox(nil, "mdhd", words(0, v.stamp(), v.stamp(), scale, step*len(v.tracks[i]), 0x55c40000))
	handling = appendBox(handling, "hdlr", words(0, 0), []byte(kind), words(0, 0, 0), []byte(name))
	handling = appendBox(handling, "minf", head, data, appendBox(nil, "stbl", table))
	track := appendBox(nil, "tkhd", words(7, v.stamp(), v.stamp(), i+1, 0, duration, 0, 0, 0, i*0x01000000), matrix(), words(shape[0], shape[1]))
	return appendBox(track, "mdia", handling)
}

// The sample entries of H.264 at 1920 × 1080 and of AAC-LC at 44.1 kHz in stereo.
const (
	avcEntry = "\x00\x00\x00\x86avc1\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x07\x80\x04\x38\x00\x48\x00\x00\x00\x48\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x18\xff\xff" +
		"\x00\x00\x00\x30avcC\x01\x64\x00\x28\xff\xe1\x00\x19\x67\x64\x00\x28\xac\xd9\x40\x78\x02\x27\xe5\x84\x00\x00\x03\x00\x04\x00\x00\x03\x00\xf0\x3c\x60\xc6\x58" +
		"\x01\x00\x05\x68\xeb\xe3\xcb\x22"
	aacEntry = "\x00\x00\x00\x57mp4a\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x10\x00\x00\x00\x00\xac\x44\x00\x00" +
		"\x00\x00\x00\x33esds\x00\x00\x00\x00\x03\x80\x80\x80\x22\x00\x02\x00\x04\x80\x80\x80\x14\x40\x15\x00\x00\x00\x00\x01\xf4\x00\x00\x01\xf4\x00" +
		"\x05\x80\x80\x80\x02\x12\x10\x06\x80\x80\x80\x01\x02"
)

// matrix is the identity.
func matrix() []byte { return words(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000) }

// words returns numbers of four bytes each.
func words(numbers ...int) (b []byte) {
	for _, v := range numbers {
		b = binary.BigEndian.AppendUint32(b, uint32(v))
	}
	return b
}

func appendBox(dst []byte, kind string, parts ...[]byte) []byte {
	n := 8
	for _, p := range parts {
		n += len(p)
	}
	dst = append(binary.BigEndian.AppendUint32(dst, uint32(n)), kind...)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}
