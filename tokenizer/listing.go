package tokenizer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// listing reads the long parts of a tokenizer.json, the vocabulary and the merges: hundreds of thousands of strings, on which
// reflection would spend most of the time that loading a small model takes. The text is JSON that encoding/json has found to be
// valid, so what is wrong here is only that it is something else than was expected.
type listing struct {
	text string // what strings are parts of
	at   int
}

// next skips white space, and is the first byte of what follows; 0 at the end.
func (l *listing) next() byte {
	for ; l.at < len(l.text); l.at++ {
		switch c := l.text[l.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// take is whether c follows, which is then behind.
func (l *listing) take(c byte) bool {
	if l.next() != c {
		return false
	}
	l.at++
	return true
}

// more is whether another element of an array or object, which ends with end, follows; first is whether none came before.
func (l *listing) more(first bool, end byte) bool {
	if l.take(end) {
		return false
	}
	return first || l.take(',')
}

// token reads a string.
func (l *listing) token() (string, error) {
	if l.next() != '"' {
		return "", l.wants("a string")
	}
	begin := l.at + 1
	for i, plain := begin, true; ; {
		n := strings.IndexAny(l.text[min(i, len(l.text)):], `"\`)
		if n < 0 {
			return "", l.wants("the end of a string")
		}
		i += n
		if l.text[i] == '\\' {
			i, plain = i+2, false
			continue
		}
		l.at = i + 1
		if s := l.text[begin:i]; plain && utf8.ValidString(s) {
			return s, nil
		}
		var s string
		err := json.Unmarshal([]byte(l.text[begin-1:i+1]), &s)
		return s, err
	}
}

// id reads a number.
func (l *listing) id() (int32, error) {
	l.next()
	n := strings.IndexAny(l.text[l.at:], ",}] \t\r\n")
	if n < 0 {
		return 0, l.wants("a number")
	}
	v, err := strconv.ParseInt(l.text[l.at:l.at+n], 10, 32)
	if err != nil {
		return 0, l.wants("an id")
	}
	l.at += n
	return int32(v), nil
}

// wants is the error that something else follows.
func (l *listing) wants(what string) error {
	return fmt.Errorf("%.20q where %s is expected", l.text[min(l.at, len(l.text)):], what)
}

// vocabulary is tokens with their ids.
type vocabulary map[string]int32

func (v *vocabulary) UnmarshalJSON(data []byte) error {
	l := listing{text: string(data)}
	if !l.take('{') {
		return fmt.Errorf("model.vocab: %w", l.wants("an object"))
	}
	*v = make(vocabulary, len(data)/20) // about what an entry takes
	for first := true; l.more(first, '}'); first = false {
		token, err := l.token()
		if err != nil {
			return fmt.Errorf("model.vocab: %w", err)
		}
		if !l.take(':') {
			return fmt.Errorf("model.vocab: %w", l.wants("a colon"))
		}
		id, err := l.id()
		if err != nil {
			return fmt.Errorf("model.vocab: of %.80q: %w", token, err)
		}
		(*v)[token] = id
	}
	return nil
}

// mergeList is merges written as "a b" or as ["a", "b"].
type mergeList [][2]string

func (m *mergeList) UnmarshalJSON(data []byte) error {
	l := listing{text: string(data)}
	if !l.take('[') {
		return fmt.Errorf("model.merges: %w", l.wants("an array"))
	}
	*m = make(mergeList, 0, len(data)/24) // about what a merge takes
	for first := true; l.more(first, ']'); first = false {
		read := l.pair
		if l.next() == '"' {
			read = l.line
		}
		pair, err := read()
		if err != nil {
			return fmt.Errorf("model.merges[%d]: %w", len(*m), err)
		}
		*m = append(*m, pair)
	}
	return nil
}

// line reads "a b".
func (l *listing) line() ([2]string, error) {
	line, err := l.token()
	if err != nil {
		return [2]string{}, err
	}
	return parseMerge(line)
}

// pair reads ["a", "b"].
func (l *listing) pair() (pair [2]string, err error) {
	if !l.take('[') {
		return pair, l.wants("a pair of tokens")
	}
	n := 0
	for ; l.more(n == 0, ']'); n++ {
		token, err := l.token()
		if err != nil {
			return pair, err
		}
		if n < len(pair) {
			pair[n] = token
		}
	}
	if n != len(pair) {
		return pair, fmt.Errorf("%d tokens, want 2", n)
	}
	return pair, nil
}

// parseMerge reads "a b".
func parseMerge(line string) ([2]string, error) {
	left, right, ok := strings.Cut(line, " ")
	if !ok || strings.Contains(right, " ") {
		return [2]string{}, fmt.Errorf("%.80q is not two tokens with a space between them", line)
	}
	return [2]string{left, right}, nil
}
