package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/auto"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/keys"
)

// parsed is a flag whose text becomes a T when the command line is read, so that
// a bad value is a usage error.
type parsed[T any] struct {
	value *T
	parse func(string) (T, error)
	kind  string
	text  string
}

func (p *parsed[T]) String() string { return p.text }
func (p *parsed[T]) Type() string   { return p.kind }

func (p *parsed[T]) Set(text string) (err error) {
	if *p.value, err = p.parse(text); err == nil {
		p.text = text
	}
	return err
}

// single is a flag with a text that is given once and is not empty: the last of several
// would silently take the place of the others, and "" is a variable that is not set.
type single struct {
	value *string
	kind  string
}

func (s single) String() string {
	if s.value == nil { // pflag asks a zero one
		return ""
	}
	return *s.value
}
func (s single) Type() string { return s.kind }

func (s single) Set(text string) error {
	if err := checkSingle(*s.value, text); err != nil {
		return err
	}
	*s.value = text
	return nil
}

func checkSingle(value, text string) error {
	switch {
	case text == "":
		return errors.New("it is empty")
	case value != "" && value != text:
		return errors.New("it can be given once only")
	}
	return nil
}

func parsedVar[T any](fs *pflag.FlagSet, value *T, name, kind, initial, usage string, parse func(string) (T, error)) {
	fs.Var(&parsed[T]{value, parse, kind, initial}, name, usage)
}

// commonFlags are those of every command that opens or makes a container.
type commonFlags struct {
	backend backendChoice
	context string
	workers int
}

// A backendChoice is what --backend says.
type backendChoice struct {
	own     backends.Backend // nil: the best of this machine
	inToken bool             // instead: that of --hsm
}

func (c *commonFlags) register(fs *pflag.FlagSet) {
	parsedVar(fs, &c.backend, "backend", "NAME", "auto", "who computes the encryption: auto, software, aesni, or pkcs11: the token of --hsm", parseBackend)
	fs.StringVar(&c.context, "context", "", "`TEXT` that the container is bound to: it opens only where the same is given")
	parsedVar(fs, &c.workers, "workers", "N", "", "goroutines at work (default: one a CPU)", parseWorkers)
}

func parseBackend(name string) (c backendChoice, err error) {
	switch name {
	case "auto":
	case "pkcs11":
		c.inToken = true
	default:
		if c.own, err = auto.ByName(name); err != nil && !errors.Is(err, backends.ErrUnavailable) {
			err = fmt.Errorf("unknown backend %q: want auto, software, aesni or pkcs11", name)
		}
	}
	return c, err
}

// chosen returns the backend to use, nil for the best of this machine. Nothing else
// ever takes the place of a token that refuses.
func (c *commonFlags) chosen(ctx context.Context, ring *keyring) (backends.Backend, error) {
	switch {
	case !c.backend.inToken:
		return c.backend.own, nil
	case ring.token == nil:
		return nil, usagef("--backend pkcs11 computes in a token: name it with --hsm")
	}
	b, err := ring.token.bulk(ctx)
	return b, c.backend.orWithout(err)
}

// orWithout adds to an error what to do about a token that does not compute. Its key is
// another matter.
func (c backendChoice) orWithout(err error) error {
	if c.inToken && errors.Is(err, backends.ErrUnavailable) {
		return fmt.Errorf("%w: leave --backend pkcs11 out, and the token's key is used all the same", err)
	}
	return err
}

func parseWorkers(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("want a number from 1 on")
	}
	return n, nil
}

func (c *commonFlags) readerOptions(b backends.Backend) *engine.ReaderOptions {
	return &engine.ReaderOptions{Backend: b, Context: []byte(c.context), Workers: c.workers}
}

// writeFlags are those of the commands that make a container.
type writeFlags struct {
	commonFlags
	keys    keyFlags
	newKey  string
	out     outputFlags
	suite   format.Suite
	level   engine.Level
	comp    compressor
	segment int
	cost    format.PassphraseParams
	pad     bool
	noPad   bool
	noCheck bool
	verify  bool
}

func (w *writeFlags) register(fs *pflag.FlagSet) {
	w.cost = keys.DefaultCost()
	w.commonFlags.register(fs)
	w.keys.register(fs)
	w.keys.registerRecipients(fs)
	w.out.register(fs, "the container")
	fs.Var(single{&w.newKey, "KEYFILE"}, "new-key", "make a new account key in this `KEYFILE`, which must not exist, and show its digits once")
	parsedVar(fs, &w.cost, "argon2", "COST", "t=3,m=256MiB,p=4", "what a guess at the passphrase costs", parseCost)
	parsedVar(fs, &w.suite, "suite", "NAME", "auto", "auto, aes-256-gcm or chacha20-poly1305", parseSuite)
	parsedVar(fs, &w.level, "level", "NAME", "fast", "compression: store, fast, balanced or small", engine.ParseLevel)
	w.comp = compressors()[0]
	parsedVar(fs, &w.comp, "compressor", "NAME", "auto", "who compresses: auto, libzstd (not in every build, see coffer version) or klauspost; containers are alike", parseCompressor)
	parsedVar(fs, &w.segment, "segment-size", "SIZE", "1MiB", "bytes compressed at a time, a power of two from 64KiB to 64MiB", parseSegment)
	fs.BoolVar(&w.pad, "pad", false, "hide the exact length (the default of backup)")
	fs.BoolVar(&w.noPad, "no-pad", false, "do not hide the exact length (the default of seal)")
	fs.BoolVar(&w.noCheck, "no-check", false, "do not decompress what was compressed before sealing it")
	fs.BoolVar(&w.verify, "verify", false, "read the written container back before it gets its name")
}

func (w *writeFlags) writerOptions(archive bool, b backends.Backend) *engine.WriterOptions {
	return &engine.WriterOptions{
		Backend:       b,
		Suite:         w.suite,
		Level:         w.level,
		SegmentSize:   w.segment,
		Context:       []byte(w.context),
		Pad:           w.pad || archive && !w.noPad,
		SkipCheck:     w.noCheck,
		Workers:       w.workers,
		NewCompressor: w.comp.forWriter(w.level, w.segment),
	}
}

func parseSuite(name string) (format.Suite, error) {
	if name == "auto" {
		return 0, nil
	}
	return format.ParseSuite(name)
}

func parseSegment(s string) (int, error) {
	n, err := parseSize(s)
	if err != nil {
		return 0, err
	}
	if n < 1<<format.MinSegmentLog2 || n > 1<<format.MaxSegmentLog2 || n&(n-1) != 0 {
		return 0, fmt.Errorf("want a power of two from 64KiB to 64MiB")
	}
	return int(n), nil
}

// parseCost reads costs of Argon2id as t=3,m=256MiB,p=4. What is left out has its
// default.
func parseCost(s string) (format.PassphraseParams, error) { return changeCost(keys.DefaultCost(), s) }

// changeCost returns cost with what s says of it.
func changeCost(cost format.PassphraseParams, s string) (format.PassphraseParams, error) {
	for part := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(part, "=")
		var n int64
		var err error
		if name == "m" {
			n, err = parseSize(value)
			n >>= 10
		} else {
			n, err = strconv.ParseInt(value, 10, 64)
		}
		if err != nil || n < 0 || n > format.MaxArgon2MemoryKiB {
			return cost, fmt.Errorf("%q is no cost: write it as t=3,m=256MiB,p=4", part)
		}
		switch name {
		case "t":
			cost.Time = uint32(n)
		case "m":
			cost.MemoryKiB = uint32(n)
		case "p":
			cost.Parallelism = uint8(min(n, 255)) // 255 is over its limit too
		default:
			return cost, fmt.Errorf("%q is no cost: write it as t=3,m=256MiB,p=4", part)
		}
	}
	_, err := cost.AppendBinary(nil)
	return cost, err
}
