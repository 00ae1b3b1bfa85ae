package corpus

import (
	"embed"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

//go:embed grammar/*.txt
var grammarFiles embed.FS

// A grammar is what all texts are made by: rules with alternatives, of which one
// is picked by weight, and whose parts may be rules again. In the files,
//
//	name: word word word        words by Zipf's law, the most frequent first
//	name =                      alternatives, one a line, as frequent as each other
//		text $rule text
//		3* text                 or three times as frequent
//	name @24 =                  a pool: 24 expansions drawn beforehand, used by Zipf's law
//
// and in an alternative:
//
//	$name ${name}  a rule
//	$^name $!name  the rule with a capital, or in capitals
//	$?name         the rule in half of all cases, else the next space goes, too
//	$> $<          one step of indentation more, or less
//	\n             a line break, and the indentation
//	\s \e $$ \\    a space at an end, nothing, a dollar, a backslash
//	$dec4 $hex4    so many random digits; so with $base64_4
//	$num           a number as there are in code: mostly small, or a power of two
type grammar struct {
	rules  []rule
	names  map[string]int // looked up only, never iterated
	indent string
}

type rule struct {
	name   string
	alts   [][]token
	weight []uint64
	choice chooser // of an alternative
	pool   int     // how many expansions, 0: not a pool
	used   chooser // of the pool
}

type op uint8

const (
	opText op = iota
	opRule
	opMaybe // the rule in half of all cases
	opCapital
	opUpper
	opLine
	opIndent
	opDedent
	opDecimal
	opHex
	opBase64
	opNumber
	opHook
)

type token struct {
	op   op
	arg  int    // the rule, the digits, the hook
	text string // of opText; what follows opMaybe
}

// readGrammar reads files of grammar/ as one grammar. hooks are the names of the
// rules that the caller writes itself.
func readGrammar(indent string, hooks []string, files ...string) *grammar {
	var all strings.Builder
	for _, file := range files {
		text, err := grammarFiles.ReadFile("grammar/" + file)
		if err != nil {
			panic("corpus: internal error: " + err.Error())
		}
		all.Write(text)
	}
	return parseGrammar(indent, hooks, all.String())
}

// parseGrammar panics on mistakes, which are ours.
func parseGrammar(indent string, hooks []string, text string) *grammar {
	g := &grammar{names: map[string]int{}, indent: indent}
	current := -1
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n") // Git may have made lines end in two
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '\t':
			g.addAlternative(current, line[1:], hooks)
		default:
			current = g.addRule(line)
		}
	}
	for i := range g.rules {
		r := &g.rules[i]
		if len(r.alts) == 0 {
			panic("corpus: internal error: no rule " + r.name)
		}
		r.choice = newChooser(r.weight)
		if r.pool > 0 {
			r.used = newChooser(zipf(r.pool))
		}
	}
	return g
}

// addRule reads the first line of a rule.
func (g *grammar) addRule(line string) int {
	if name, words, ok := strings.Cut(line, ": "); ok {
		i := g.rule(name)
		r := &g.rules[i]
		for word := range strings.FieldsSeq(words) {
			r.alts = append(r.alts, []token{{op: opText, text: word}})
		}
		r.weight = zipf(len(r.alts))
		return i
	}
	name, ok := strings.CutSuffix(line, " =")
	if !ok {
		panic("corpus: internal error: grammar line " + line)
	}
	name, pool, ok := strings.Cut(name, " @")
	i := g.rule(name)
	if ok {
		g.rules[i].pool = number(pool)
	}
	return i
}

// rule returns the number of a rule, which may be defined later.
func (g *grammar) rule(name string) int {
	i, ok := g.names[name]
	if !ok {
		i = len(g.rules)
		g.names[name] = i
		g.rules = append(g.rules, rule{name: name})
	}
	return i
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("corpus: internal error: " + err.Error())
	}
	return n
}

func (g *grammar) addAlternative(current int, text string, hooks []string) {
	weight := uint64(1)
	if w, rest, ok := strings.Cut(text, "* "); ok && 0 < len(w) && len(w) < 4 && w[0] >= '1' && w[0] <= '9' {
		weight, text = uint64(number(w)), rest
	}
	var tokens []token
	for text != "" {
		var t token
		t, text = g.token(text, hooks)
		if n := len(tokens); t.op == opText && n > 0 && tokens[n-1].op == opText {
			tokens[n-1].text += t.text
			continue
		}
		tokens = append(tokens, t)
	}
	r := &g.rules[current]
	r.alts = append(r.alts, tokens)
	r.weight = append(r.weight, weight)
}

// token cuts the first token off text.
func (g *grammar) token(text string, hooks []string) (t token, rest string) {
	if i := strings.IndexAny(text, `$\`); i != 0 {
		if i < 0 {
			i = len(text)
		}
		return token{op: opText, text: text[:i]}, text[i:]
	}
	switch text[:2] {
	case `\n`:
		if strings.HasPrefix(text[2:], `\n`) {
			return token{op: opText, text: "\n"}, text[2:] // an empty line has no indentation
		}
		return token{op: opLine}, text[2:]
	case `\s`:
		return token{op: opText, text: " "}, text[2:]
	case `\e`:
		return token{op: opText}, text[2:]
	case `\\`, `$$`:
		return token{op: opText, text: text[:1]}, text[2:]
	case "$>":
		return token{op: opIndent}, text[2:]
	case "$<":
		return token{op: opDedent}, text[2:]
	}
	t.op, text = opRule, text[1:]
	for i, mark := range []string{"^", "!", "?"} {
		if after, ok := strings.CutPrefix(text, mark); ok {
			t.op, text = []op{opCapital, opUpper, opMaybe}[i], after
		}
	}
	name, rest := cutName(text)
	if after, ok := strings.CutPrefix(rest, " "); ok && t.op == opMaybe {
		t.text, rest = " ", after
	}
	for i, hook := range hooks {
		if name == hook {
			return token{op: opHook, arg: i}, rest
		}
	}
	if builtin, ok := parseBuiltin(name); ok {
		return builtin, rest
	}
	t.arg = g.rule(name)
	return t, rest
}

// cutName cuts a name, or one in braces, off text.
func cutName(text string) (name, rest string) {
	if after, ok := strings.CutPrefix(text, "{"); ok {
		name, rest, _ = strings.Cut(after, "}")
		return name, rest
	}
	i := 0
	for i < len(text) && (text[i] == '_' || text[i]-'0' < 10 || text[i]|0x20-'a' < 26) {
		i++
	}
	return text[:i], text[i:]
}

func parseBuiltin(name string) (t token, ok bool) {
	if name == "num" {
		return token{op: opNumber}, true
	}
	for i, prefix := range []string{"dec", "hex", "base64_"} {
		if digits, found := strings.CutPrefix(name, prefix); found {
			if n, err := strconv.Atoi(digits); err == nil {
				return token{op: []op{opDecimal, opHex, opBase64}[i], arg: n}, true
			}
		}
	}
	return token{}, false
}

// A speaker expands the rules of a grammar.
type speaker struct {
	*random
	g     *grammar
	hooks []func(dst []byte) []byte // by their index in parseGrammar's list
	pools [][]string                // by rule
	steps int                       // of indentation
	nest  int
}

// deepest is how far rules may nest; below, each takes its first alternative,
// which must not lead back to itself.
const deepest = 15

func newSpeaker(g *grammar, r *random, hooks ...func([]byte) []byte) *speaker {
	s := &speaker{random: r, g: g, hooks: hooks, pools: make([][]string, len(g.rules))}
	s.renew(1)
	return s
}

// renew draws one in n of the names in each pool anew: all of them make another
// project, some another file of the same one.
func (s *speaker) renew(n int) {
	var buf []byte
	for i := range s.g.rules {
		r := &s.g.rules[i]
		if r.pool == 0 {
			continue
		}
		pool := make([]string, r.pool)
		copy(pool, s.pools[i])
		for j, word := range pool {
			if word == "" || s.oneIn(n) {
				buf = s.alternative(buf[:0], r, r.choice.pick(s.random))
				pool[j] = string(buf)
			}
		}
		s.pools[i] = pool
	}
}

// say appends an expansion of the rule of that number.
func (s *speaker) say(dst []byte, number int) []byte {
	r := &s.g.rules[number]
	if r.pool > 0 {
		if pool := s.pools[number]; pool != nil { // nil while the first pools are drawn
			return append(dst, pool[r.used.pick(s.random)]...)
		}
	}
	i := 0
	if s.nest < deepest {
		i = r.choice.pick(s.random)
	}
	return s.alternative(dst, r, i)
}

// sayNamed is say by name.
func (s *speaker) sayNamed(dst []byte, name string) []byte {
	i, ok := s.g.names[name]
	if !ok {
		panic("corpus: internal error: no rule " + name)
	}
	return s.say(dst, i)
}

func (s *speaker) alternative(dst []byte, r *rule, i int) []byte {
	s.nest++
	for k := range r.alts[i] {
		t := &r.alts[i][k]
		switch t.op {
		case opText:
			dst = append(dst, t.text...)
		case opRule:
			dst = s.say(dst, t.arg)
		default:
			dst = s.special(dst, t)
		}
	}
	s.nest--
	return dst
}

const (
	decimalDigits = "0123456789"
	hexDigits     = "0123456789abcdef"
	base64Digits  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

func (s *speaker) special(dst []byte, t *token) []byte {
	switch t.op {
	case opMaybe:
		if s.bits(1) == 1 {
			dst = append(s.say(dst, t.arg), t.text...)
		}
	case opCapital:
		start := len(dst)
		dst = s.say(dst, t.arg)
		capital(dst[start:])
	case opUpper:
		start := len(dst)
		dst = s.say(dst, t.arg)
		for i := start; i < len(dst); i++ {
			if dst[i]-'a' < 26 {
				dst[i] -= 'a' - 'A'
			}
		}
	case opLine:
		dst = append(dst, '\n')
		for range s.steps {
			dst = append(dst, s.g.indent...)
		}
	case opIndent:
		s.steps++
	case opDedent:
		s.steps--
	case opDecimal:
		dst = append(dst, decimalDigits[s.between(1, 9)])
		for range t.arg - 1 {
			dst = append(dst, decimalDigits[s.below(10)])
		}
	case opHex:
		for range t.arg {
			dst = append(dst, hexDigits[s.bits(4)])
		}
	case opBase64:
		for range t.arg {
			dst = append(dst, base64Digits[s.bits(6)])
		}
	case opNumber:
		dst = strconv.AppendInt(dst, int64(s.number()), 10)
	case opHook:
		dst = s.hooks[t.arg](dst)
	default:
		panic(fmt.Sprintf("corpus: internal error: token %d", t.op))
	}
	return dst
}

func (s *speaker) number() int {
	switch s.bits(3) {
	case 0, 1, 2, 3:
		return s.below(4)
	case 4, 5:
		return s.below(17)
	case 6:
		return 1 << s.between(3, 12)
	default:
		return s.below(1000)
	}
}

// capital makes the first letter of b a capital, in Latin and Cyrillic, where that
// takes as many bytes.
func capital(b []byte) {
	c, n := utf8.DecodeRune(b)
	if up := unicode.ToUpper(c); n > 0 && utf8.RuneLen(up) == n {
		utf8.EncodeRune(b, up)
	}
}
