package fault

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

// Bounds of what a script may say.
const (
	maxScript   = 64 << 10 // bytes
	maxRules    = 100
	maxDuration = time.Hour
	maxCount    = 1 << 40
	maxBits     = 1000
)

// What stands between words, and all that ends one.
const (
	blanks = " \t\r"
	ends   = blanks + "\n:;#"
)

// SyntaxError says where a script is not understood.
type SyntaxError struct {
	Line, Column int    // from 1; columns are bytes
	Found        string // at that place; empty at the end of the rule
	Want         string
}

// Error names the place.
func (e *SyntaxError) Error() string {
	found := "the end of the rule"
	if e.Found != "" {
		found = strconv.Quote(e.Found)
	}
	return fmt.Sprintf("fault script, line %d, column %d: %s, want %s", e.Line, e.Column, found, e.Want)
}

// Parse reads a script. An error is a *SyntaxError. A script without rules is empty, and does nothing.
func Parse(text string) (Script, error) {
	if len(text) > maxScript {
		return nil, &SyntaxError{Line: 1, Column: 1, Found: "…", Want: fmt.Sprintf("at most %d bytes", maxScript)}
	}
	p := parser{text: text, line: 1, column: 1}
	p.next()
	var s Script
	for p.kind != atEnd {
		if p.kind == endOfRule {
			p.next()
			continue
		}
		if len(s) == maxRules {
			return nil, p.wants(fmt.Sprintf("at most %d rules", maxRules))
		}
		from := p.from
		r, err := p.rule()
		if err != nil {
			return nil, err
		}
		r.Text = strings.Join(strings.FieldsFunc(text[from:p.ended], func(c rune) bool { return strings.ContainsRune(blanks, c) }), " ")
		s = append(s, r)
	}
	return s, nil
}

type tokenKind uint8

const (
	word tokenKind = iota
	colon
	endOfRule // a semicolon or the end of a line
	atEnd     // of the script
)

// parser stands at a token of a script.
type parser struct {
	text         string
	at           int // where the next token is looked for
	line, column int // of at

	kind       tokenKind
	token      string
	from       int // where it begins
	tokenLine  int
	tokenStart int // its column
	ended      int // where the token before it ended
}

// next goes on to the next token.
func (p *parser) next() {
	p.ended = p.at
	comment := false
	for p.at < len(p.text) && (strings.IndexByte(blanks, p.text[p.at]) >= 0 || p.text[p.at] == '#' || comment && p.text[p.at] != '\n') {
		comment = comment || p.text[p.at] == '#'
		p.step()
	}
	p.from, p.tokenLine, p.tokenStart = p.at, p.line, p.column
	switch {
	case p.at == len(p.text):
		p.kind = atEnd
	case p.text[p.at] == ':':
		p.kind = colon
		p.step()
	case p.text[p.at] == ';' || p.text[p.at] == '\n':
		p.kind = endOfRule
		p.step()
	default:
		p.kind = word
		for p.at < len(p.text) && strings.IndexByte(ends, p.text[p.at]) < 0 {
			p.step()
		}
	}
	p.token = p.text[p.from:p.at]
}

func (p *parser) step() {
	p.column++
	if p.text[p.at] == '\n' {
		p.line, p.column = p.line+1, 1
	}
	p.at++
}

// wants is the error of the token that the parser stands at.
func (p *parser) wants(what string) error {
	e := &SyntaxError{Line: p.tokenLine, Column: p.tokenStart, Want: what}
	if p.kind == word || p.kind == colon {
		e.Found = p.token
	}
	return e
}

// take goes on if the parser stands at a word.
func (p *parser) take(w string) bool {
	if p.kind != word || p.token != w {
		return false
	}
	p.next()
	return true
}

// rule reads a rule up to its end.
func (p *parser) rule() (r Rule, err error) {
	r.OfAny = true
	r.Each = p.take("each")
	if err := p.trigger(&r); err != nil {
		return r, err
	}
	for p.kind != colon {
		if err := p.where(&r); err != nil {
			return r, err
		}
	}
	p.next()
	if err := p.fault(&r); err != nil {
		return r, err
	}
	if p.kind != endOfRule && p.kind != atEnd {
		return r, p.wants("; or the end of the line")
	}
	return r, nil
}

func (p *parser) trigger(r *Rule) (err error) {
	switch {
	case p.take("at"):
		r.Timed = true
		r.At, err = p.duration()
		return err
	case !p.take("after"):
		return p.wants("at or after")
	}
	if r.After, r.Bytes, err = p.amount(); err != nil || r.Bytes {
		return err
	}
	if !p.take("frames") && !p.take("frame") {
		return p.wants("frames")
	}
	return nil
}

// amount reads a whole number, and says whether a unit of bytes follows it.
func (p *parser) amount() (n int64, bytes bool, err error) {
	const want = "a number of frames, or bytes such as 300KiB"
	digits := strings.TrimRight(p.token, "BGKMi")
	n, failed := strconv.ParseInt(digits, 10, 64)
	unit := slices.Index([]string{"", "B", "KiB", "MiB", "GiB"}, p.token[len(digits):])
	if p.kind != word || failed != nil || n < 0 || n > maxCount || unit < 0 {
		return 0, false, p.wants(want)
	}
	shift := 10 * max(unit-1, 0)
	if n > maxCount>>shift {
		return 0, false, p.wants("at most 1024GiB")
	}
	p.next()
	return n << shift, unit > 0, nil
}

func (p *parser) duration() (time.Duration, error) {
	d, err := time.ParseDuration(p.token)
	if p.kind != word || err != nil || d < 0 || d > maxDuration {
		return 0, p.wants("a duration such as 20ms, up to an hour")
	}
	p.next()
	return d, nil
}

// count reads a whole number from 1.
func (p *parser) count(most int) (int, error) {
	n, err := strconv.Atoi(p.token)
	if p.kind != word || err != nil || n < 1 || n > most {
		return 0, p.wants(fmt.Sprintf("a number from 1 to %d", most))
	}
	p.next()
	return n, nil
}

func (p *parser) where(r *Rule) error {
	switch {
	case r.OfAny && p.take("of"):
		purpose, ok := purposes()[p.token]
		if p.kind != word || !ok {
			return p.wants("the purpose of a lane, such as partial, or control")
		}
		r.Of, r.OfAny = purpose, false
	case r.To == "" && p.take("to"):
		if p.kind != word {
			return p.wants("the name of a node")
		}
		r.To = p.token
	case r.On == "" && p.take("on"):
		if p.kind != word || !slices.Contains([]string{"control", "small", "bulk"}, p.token) {
			return p.wants("control, small or bulk")
		}
		r.On = p.token
	case !r.Back && p.take("back"):
		r.Back = true
		return nil
	default:
		return p.wants("of, to, on, back or a colon, each once")
	}
	p.next()
	return nil
}

// purposes is those of lanes, and of actor messages, by name.
func purposes() map[string]transport.Purpose {
	m := make(map[string]transport.Purpose)
	for p := transport.Control; p <= transport.HiddenAhead; p++ {
		m[p.String()] = p
	}
	return m
}

func (p *parser) fault(r *Rule) (err error) {
	kind := slices.Index(kindNames[:], p.token)
	if p.kind != word || kind < 0 {
		return p.wants("a fault: " + strings.Join(kindNames[:], ", "))
	}
	p.next()
	switch r.Kind = Kind(kind); r.Kind {
	case Delay, Stall:
		r.Length, err = p.duration()
	case Reorder:
		r.Count, err = p.count(maxBits)
	case Flip:
		if r.Count = 1; p.take("bit") {
			return nil
		}
		if r.Count, err = p.count(maxBits); err == nil && !p.take("bits") && !p.take("bit") {
			err = p.wants("bits")
		}
	}
	return err
}
