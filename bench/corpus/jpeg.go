package corpus

import (
	"encoding/binary"
	"fmt"
)

// The tables of Annex K of the JPEG standard, which most encoders use: the
// quantisation tables in zigzag order, and the Huffman tables' code lengths and,
// where no rule gives them, symbols.
var (
	luminance = [64]byte{
		16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40,
		26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51,
		56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87,
		95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
	}
	chrominance = [64]byte{
		17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, 99, 99,
		99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
		99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
		99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
	}
	dcLengths = [2]string{
		"\x00\x01\x05\x01\x01\x01\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00",
		"\x00\x03\x01\x01\x01\x01\x01\x01\x01\x01\x01\x00\x00\x00\x00\x00",
	}
	acLengths = [2]string{
		"\x00\x02\x01\x03\x03\x02\x04\x03\x05\x05\x04\x04\x00\x00\x01\x7d",
		"\x00\x02\x01\x02\x04\x04\x03\x04\x07\x05\x04\x04\x00\x01\x02\x77",
	}
	acSymbols = [2]string{
		"\x01\x02\x03\x00\x04\x11\x05\x12\x21\x31\x41\x06\x13\x51\x61\x07" +
			"\x22\x71\x14\x32\x81\x91\xa1\x08\x23\x42\xb1\xc1\x15\x52\xd1\xf0" +
			"\x24\x33\x62\x72\x82\x09\x0a\x16\x17\x18\x19\x1a\x25\x26\x27\x28" +
			"\x29\x2a\x34\x35\x36\x37\x38\x39\x3a\x43\x44\x45\x46\x47\x48\x49" +
			"\x4a\x53\x54\x55\x56\x57\x58\x59\x5a\x63\x64\x65\x66\x67\x68\x69" +
			"\x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x83\x84\x85\x86\x87\x88\x89" +
			"\x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\xa4\xa5\xa6\xa7" +
			"\xa8\xa9\xaa\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xc2\xc3\xc4\xc5" +
			"\xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xe1\xe2" +
			"\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8" +
			"\xf9\xfa",
		"\x00\x01\x02\x03\x11\x04\x05\x21\x31\x06\x12\x41\x51\x07\x61\x71" +
			"\x13\x22\x32\x81\x08\x14\x42\x91\xa1\xb1\xc1\x09\x23\x33\x52\xf0" +
			"\x15\x62\x72\xd1\x0a\x16\x24\x34\xe1\x25\xf1\x17\x18\x19\x1a\x26" +
			"\x27\x28\x29\x2a\x35\x36\x37\x38\x39\x3a\x43\x44\x45\x46\x47\x48" +
			"\x49\x4a\x53\x54\x55\x56\x57\x58\x59\x5a\x63\x64\x65\x66\x67\x68" +
			"\x69\x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x82\x83\x84\x85\x86\x87" +
			"\x88\x89\x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\xa4\xa5" +
			"\xa6\xa7\xa8\xa9\xaa\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xc2\xc3" +
			"\xc4\xc5\xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda" +
			"\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf2\xf3\xf4\xf5\xf6\xf7\xf8" +
			"\xf9\xfa",
	}
)

// appendJPEGHead appends the head of a picture without EXIF data.
func appendJPEGHead(dst []byte, width, height, quality int) []byte {
	dst = append(dst, 0xff, 0xd8)
	dst = appendSegment(dst, 0xe0, []byte("JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"))
	return appendJPEGTables(dst, width, height, quality)
}

// appendJPEGTables appends what comes between the metadata and the scan of a
// baseline JPEG with chroma at half the resolution.
func appendJPEGTables(dst []byte, width, height, quality int) []byte {
	scale := 200 - 2*quality // as libjpeg does
	if quality < 50 {
		scale = 5000 / quality
	}
	for i, table := range [][64]byte{luminance, chrominance} {
		for j, q := range table {
			table[j] = byte(max(1, min(255, (int(q)*scale+50)/100)))
		}
		dst = appendSegment(dst, 0xdb, []byte{byte(i)}, table[:])
	}
	frame := []byte{8, byte(height >> 8), byte(height), byte(width >> 8), byte(width), 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1}
	dst = appendSegment(dst, 0xc0, frame)
	for i := range byte(2) {
		dst = appendSegment(dst, 0xc4, []byte{i}, []byte(dcLengths[i]), []byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b"))
		dst = appendSegment(dst, 0xc4, []byte{0x10 | i}, []byte(acLengths[i]), []byte(acSymbols[i]))
	}
	return appendSegment(dst, 0xda, []byte{3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0})
}

func appendSegment(dst []byte, marker byte, parts ...[]byte) []byte {
	n := 2
	for _, p := range parts {
		n += len(p)
	}
	dst = append(dst, 0xff, marker, byte(n>>8), byte(n))
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

// EXIF data: a TIFF file of one directory of short entries.
const (
	tiffASCII    = 2
	tiffShort    = 3
	tiffLong     = 4
	tiffRational = 5
	tiffOpaque   = 7
)

// appendEXIF appends what a camera notes: itself, when and how the photo was
// taken, and a note that only its maker understands.
func (m *media) appendEXIF(dst []byte, width, height int) []byte {
	var entries, values []byte
	const count = 14
	const first = 8 + 2 + 12*count + 4 // where values begin
	entry := func(tag, kind, n int, value []byte) {
		entries = binary.LittleEndian.AppendUint16(entries, uint16(tag))
		entries = binary.LittleEndian.AppendUint16(entries, uint16(kind))
		entries = binary.LittleEndian.AppendUint32(entries, uint32(n))
		if len(value) <= 4 {
			entries = append(append(entries, value...), make([]byte, 4-len(value))...)
			return
		}
		entries = binary.LittleEndian.AppendUint32(entries, uint32(first+len(values)))
		values = append(append(values, value...), make([]byte, len(value)%2)...)
	}
	text := func(tag int, s string) { entry(tag, tiffASCII, len(s)+1, append([]byte(s), 0)) }
	long := func(tag, v int) { entry(tag, tiffLong, 1, binary.LittleEndian.AppendUint32(nil, uint32(v))) }
	ratio := func(tag, a, b int) {
		entry(tag, tiffRational, 1, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(a)), uint32(b)))
	}
	long(0x100, width)
	long(0x101, height)
	camera := [][2]string{{"Google", "Pixel 7"}, {"samsung", "SM-G991B"}, {"Apple", "iPhone 13"}, {"FUJIFILM", "X-T30"}}[m.bits(2)]
	text(0x10f, camera[0])
	text(0x110, camera[1])
	entry(0x112, tiffShort, 1, []byte{1, 0})
	text(0x131, "HDR+ 1.0.540104767zd")
	taken := m.taken().Format("2006:01:02 15:04:05")
	text(0x132, taken)
	ratio(0x829a, 1, 1<<m.between(4, 11))
	ratio(0x829d, m.between(17, 28), 10)
	long(0x8827, 50<<m.below(6))
	text(0x9003, taken)
	ratio(0x920a, m.between(4000, 9000), 1000)
	entry(0x927c, tiffOpaque, 4*160, m.makerNote(160))
	text(0xa420, fmt.Sprintf("%016x%016x", m.pcg.Uint64(), m.pcg.Uint64()))

	tiff := append([]byte("II*\x00\x08\x00\x00\x00"), count, 0)
	tiff = append(append(tiff, entries...), 0, 0, 0, 0)
	tiff = append(tiff, values...)
	return appendSegment(dst, 0xe1, []byte("Exif\x00\x00"), tiff)
}

// makerNote returns n numbers, most of them small.
func (m *media) makerNote(n int) (note []byte) {
	for range n {
		note = binary.LittleEndian.AppendUint32(note, m.bits(32)>>(4*m.bits(3)))
	}
	return note
}
