package jinja

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is what a token is.
type kind uint8

const (
	endOfTemplate kind = iota
	text               // outside all tags
	outputBegin        // {{
	outputEnd          // }}
	blockBegin         // {%
	blockEnd           // %}
	name
	stringLiteral
	intLiteral
	floatLiteral
	operator
)

func (k kind) String() string {
	return [...]string{"the end of the template", "text", "{{", "}}", "{%", "%}", "a name", "a string", "an integer", "a number", "an operator"}[k]
}

type token struct {
	kind kind
	text string // of a string literal, its value
	line int
}

// operators are tried in this order.
var operators = []string{
	"//", "**", "==", "!=", ">=", "<=",
	"+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",",
}

// lexer cuts a template into tokens, and takes away the white space around tags as trim_blocks and lstrip_blocks ask for.
type lexer struct {
	rest      string
	line      int
	lineStart bool // nothing has come on this line yet
	tokens    []token
}

// lex is the tokens of a template, the last of which is endOfTemplate.
func lex(source string) (tokens []token, err error) {
	defer catch(&err)
	source = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(source)
	l := &lexer{rest: strings.TrimSuffix(source, "\n"), line: 1, lineStart: true}
	for l.rest != "" {
		l.data()
	}
	l.add(endOfTemplate, "")
	return l.tokens, nil
}

func (l *lexer) add(k kind, s string) {
	l.tokens = append(l.tokens, token{k, s, l.line})
}

// skip passes over n bytes.
func (l *lexer) skip(n int) {
	l.line += strings.Count(l.rest[:n], "\n")
	l.lineStart = strings.HasSuffix(l.rest[:n], "\n")
	l.rest = l.rest[n:]
}

// data reads text and the tag behind it.
func (l *lexer) data() {
	at := tagBegin(l.rest)
	data, tag := l.rest[:at], l.rest[at:]
	if tag == "" {
		l.add(text, data)
		l.skip(at)
		return
	}
	sign := byte(0)
	if len(tag) > 2 && (tag[2] == '-' || tag[2] == '+') {
		sign = tag[2]
	}
	data = l.stripped(data, sign, tag[1] == '{')
	if data != "" {
		l.add(text, data)
	}
	l.skip(at)
	switch tag[1] {
	case '#':
		l.comment(sign)
	case '{':
		l.begin(outputBegin, sign)
		l.code("}}", outputEnd)
	default:
		if n, ok := l.rawTag("raw", sign); ok {
			l.raw(n)
			return
		}
		l.begin(blockBegin, sign)
		l.code("%}", blockEnd)
	}
}

// tagBegin is the offset of the first tag, or the length of s.
func tagBegin(s string) int {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '{' && (s[i+1] == '%' || s[i+1] == '{' || s[i+1] == '#') {
			return i
		}
	}
	return len(s)
}

// stripped is data without the white space that the tag behind it, which has a sign, takes away.
func (l *lexer) stripped(data string, sign byte, output bool) string {
	switch {
	case sign == '-':
		return strings.TrimRightFunc(data, unicode.IsSpace)
	case sign == '+' || output:
		return data
	}
	line := strings.LastIndexByte(data, '\n') + 1
	if (line > 0 || l.lineStart) && strings.TrimLeftFunc(data[line:], unicode.IsSpace) == "" {
		return data[:line]
	}
	return data
}

func (l *lexer) begin(k kind, sign byte) {
	l.add(k, "")
	l.skip(2)
	if sign != 0 {
		l.skip(1)
	}
}

// ending is the length of the end of a tag that s begins with, with the white space that it takes away; 0 if there is none.
// A line's end goes with a block or a comment, but not with an expression.
func ending(s, end string) int {
	sign := byte(0)
	if s != "" && (s[0] == '-' || s[0] == '+' && end != "}}") {
		sign, s = s[0], s[1:]
	}
	after, ok := strings.CutPrefix(s, end)
	n := len(end)
	switch {
	case !ok:
		return 0
	case sign == '-':
		return 1 + n + len(after) - len(strings.TrimLeftFunc(after, unicode.IsSpace))
	case sign == '+':
		return 1 + n
	case end != "}}" && strings.HasPrefix(after, "\n"):
		return n + 1
	}
	return n
}

func (l *lexer) comment(sign byte) {
	begin := 2
	if sign != 0 {
		begin = 3
	}
	for i := begin; i < len(l.rest); i++ {
		if n := ending(l.rest[i:], "#}"); n > 0 {
			l.skip(i + n)
			return
		}
	}
	l.fail("a comment has no end")
}

// rawTag is the length, without what its end takes away, of the tag {% word %} that follows, and whether it does.
func (l *lexer) rawTag(word string, sign byte) (int, bool) {
	s := l.rest[2:]
	if sign != 0 {
		s = s[1:]
	}
	s, ok := strings.CutPrefix(strings.TrimLeftFunc(s, unicode.IsSpace), word)
	s = strings.TrimLeftFunc(s, unicode.IsSpace)
	return len(l.rest) - len(s), ok && ending(s, "%}") > 0
}

// raw reads what lies between {% raw %}, of whose tag n bytes have been seen, and {% endraw %}.
func (l *lexer) raw(n int) {
	l.skip(n)
	n = ending(l.rest, "%}")
	if strings.HasPrefix(l.rest, "%}") {
		n = 2 // the line's end is part of what is raw
	}
	l.skip(n)
	inner := *l
	for i := 0; ; i++ {
		next := strings.Index(l.rest[i:], "{%")
		if next < 0 {
			l.fail("raw has no endraw")
		}
		i += next
		inner.rest = l.rest[i:]
		sign := byte(0)
		if len(inner.rest) > 2 && (inner.rest[2] == '-' || inner.rest[2] == '+') {
			sign = inner.rest[2]
		}
		if n, ok := inner.rawTag("endraw", sign); ok {
			l.add(text, l.stripped(l.rest[:i], sign, false))
			l.skip(i + n)
			l.skip(ending(l.rest, "%}"))
			return
		}
	}
}

// code reads the inside of a tag, up to its end.
func (l *lexer) code(end string, k kind) {
	var open []byte // brackets, in which the end cannot be
	for {
		l.skip(len(l.rest) - len(strings.TrimLeftFunc(l.rest, unicode.IsSpace)))
		if l.rest == "" {
			l.fail("a tag has no end")
		}
		if n := ending(l.rest, end); n > 0 && len(open) == 0 {
			l.add(k, "")
			l.skip(n)
			return
		}
		switch c := l.rest[0]; {
		case c == '\'' || c == '"':
			l.quoted(c)
		case c >= '0' && c <= '9':
			l.number()
		case c == '_' || c >= 0x80 || c|0x20 >= 'a' && c|0x20 <= 'z':
			l.word()
		default:
			l.operator(&open)
		}
	}
}

func (l *lexer) operator(open *[]byte) {
	for _, op := range operators {
		if !strings.HasPrefix(l.rest, op) {
			continue
		}
		switch op {
		case "(", "[", "{":
			*open = append(*open, op[0])
		case ")", "]", "}":
			n := len(*open)
			if n == 0 || (*open)[n-1] != map[string]byte{")": '(', "]": '[', "}": '{'}[op] {
				l.fail("%s closes nothing", op)
			}
			*open = (*open)[:n-1]
		}
		l.add(operator, op)
		l.skip(len(op))
		return
	}
	r, _ := utf8.DecodeRuneInString(l.rest)
	l.fail("%q has no meaning here", r)
}

func (l *lexer) word() {
	n := strings.IndexFunc(l.rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if n < 0 {
		n = len(l.rest)
	}
	if n == 0 {
		r, _ := utf8.DecodeRuneInString(l.rest)
		l.fail("%q has no meaning here", r)
	}
	l.add(name, l.rest[:n])
	l.skip(n)
}

// number reads an integer, or a number with a fraction or an exponent.
func (l *lexer) number() {
	digits := func(i int) int {
		for i < len(l.rest) && (l.rest[i] >= '0' && l.rest[i] <= '9' || l.rest[i] == '_') {
			i++
		}
		return i
	}
	k, n := intLiteral, digits(0)
	if len(l.rest) > 2 && l.rest[0] == '0' && strings.IndexByte("xXoObB", l.rest[1]) >= 0 {
		for n = 2; n < len(l.rest) && (l.rest[n] == '_' || strings.IndexByte("0123456789abcdefABCDEF", l.rest[n]) >= 0); n++ {
		}
	} else {
		if n+1 < len(l.rest) && l.rest[n] == '.' && l.rest[n+1] >= '0' && l.rest[n+1] <= '9' {
			k, n = floatLiteral, digits(n+1)
		}
		if n < len(l.rest) && l.rest[n]|0x20 == 'e' {
			i := n + 1
			if i < len(l.rest) && (l.rest[i] == '+' || l.rest[i] == '-') {
				i++
			}
			if end := digits(i); end > i {
				k, n = floatLiteral, end
			}
		}
	}
	l.add(k, l.rest[:n])
	l.skip(n)
}

// quoted reads a string, which ends with the quote that it begins with.
func (l *lexer) quoted(quote byte) {
	i := 1
	for ; i < len(l.rest) && l.rest[i] != quote; i++ {
		if l.rest[i] == '\\' {
			i++
		}
	}
	if i >= len(l.rest) {
		l.fail("a string has no end")
	}
	s, err := unescape(l.rest[1:i])
	if err != nil {
		l.fail("a string: %v", err)
	}
	l.add(stringLiteral, s)
	l.skip(i + 1)
}

// escapes are what a letter behind a backslash stands for.
var escapes = map[byte]string{
	'\\': "\\", '\'': "'", '"': "\"", '\n': "", 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
}

// unescape is what s, as it is written in Python, stands for. A backslash that means nothing stays.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var b strings.Builder
	for s != "" {
		before, after, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found || after == "" {
			break
		}
		if to, ok := escapes[after[0]]; ok {
			b.WriteString(to)
			s = after[1:]
			continue
		}
		least, most, base := 0, 0, 16 // digits
		digits := after
		switch after[0] {
		case 'x':
			least, most = 2, 2
		case 'u':
			least, most = 4, 4
		case 'U':
			least, most = 8, 8
		case '0', '1', '2', '3', '4', '5', '6', '7':
			least, most, base = 1, 3, 8
		default:
			b.WriteByte('\\')
			s = after
			continue
		}
		if base == 16 {
			digits = after[1:]
		}
		r, n := 0, 0
		for n < most && n < len(digits) {
			d := strings.IndexByte("0123456789abcdef", digits[n]|0x20)
			if digits[n] < 'A' {
				d = int(digits[n]) - '0'
			}
			if d < 0 || d >= base {
				break
			}
			r, n = r*base+d, n+1
		}
		if n < least || r > unicode.MaxRune {
			return "", fmt.Errorf(`\%c is not followed by the number of a character`, after[0])
		}
		b.WriteRune(rune(r))
		s = digits[n:]
	}
	return b.String(), nil
}

func (l *lexer) fail(format string, args ...any) {
	panic(failure{fmt.Errorf("line %d: "+format, append([]any{l.line}, args...)...)})
}
