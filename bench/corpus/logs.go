package corpus

import (
	"strconv"
	"time"
)

// logs is what a web shop's servers wrote: access logs in the combined format,
// JSON lines of the services, and a little of syslog, in the order of time.
type logs struct {
	*speaker
	left  int64 // bytes of the corpus
	clock int64 // µs since 1970
	out   []byte
}

func newLogs(size int64, seed uint64) producer {
	l := &logs{left: size, clock: 1_710_000_000_000_000}
	at := func(layout string) func([]byte) []byte {
		var second int64
		var text []byte
		return func(dst []byte) []byte {
			if s := l.clock / 1e6; s != second { // formatting would take most of the time
				second, text = s, time.Unix(s, 0).UTC().AppendFormat(text[:0], layout)
			}
			return append(dst, text...)
		}
	}
	seconds := at("2006-01-02T15:04:05.")
	stamp := func(dst []byte) []byte {
		micro := strconv.AppendInt(nil, 1e6+l.clock%1e6, 10) // the leading 1 keeps zeros
		return append(append(seconds(dst), micro[1:]...), 'Z')
	}
	duration := func(dst []byte) []byte {
		v := l.scale(200, 3_000_000) // µs
		dst = strconv.AppendInt(dst, int64(v/1000), 10)
		return append(dst, '.', decimalDigits[v/100%10])
	}
	g := readGrammar("", []string{"clock", "stamp", "duration"}, "logs.txt")
	l.speaker = newSpeaker(g, newRandom(seed, 6), at("02/Jan/2006:15:04:05 +0000"), stamp, duration)
	return l
}

func (l *logs) next() []byte {
	l.out = l.out[:0]
	for l.left > int64(len(l.out)) && len(l.out) < 1<<16 {
		l.clock += int64(l.scale(100, 20_000))
		l.out = append(l.sayNamed(l.out, "line"), '\n')
	}
	l.out = l.out[:min(l.left, int64(len(l.out)))]
	l.left -= int64(len(l.out))
	return l.out
}
