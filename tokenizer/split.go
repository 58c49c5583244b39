package tokenizer

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// A stage cuts text into pieces, in order; merges never cross the edge of a piece.
type stage interface {
	// split cuts as far as s lets it.
	split(text string, s *search, emit func(piece string))
}

// known are the patterns that have a scanner.
var known = map[string]scanner{
	patternGPT2:   scanGPT2,
	patternLlama3: scanLlama3,
	patternQwen2:  scanQwen2,
}

// Patterns come with models, and a backtracking engine can be made to search for ever.
const (
	matchDeadline = time.Second            // of the search for one match
	textDeadline  = 2 * time.Second        // of all searches in a text,
	byteDeadline  = 100 * time.Microsecond // and for each of its bytes; GPT-4o's takes 0.3 µs
	maxPattern    = 4 << 10                // bytes; the longest published have some 400
)

// search is what all searches in a text share.
type search struct {
	left  time.Duration // that they may still take
	stuck *expression   // the pattern that took too long, from when on nothing is cut any more; nil if none did
}

// searchIn is the search in a text that begins.
func searchIn(text string) search {
	return search{left: textDeadline + time.Duration(len(text))*byteDeadline}
}

// SlowPatternError says that a text has no tokens, for a tokenizer's split pattern takes too long to cut it.
type SlowPatternError struct {
	File    string // the tokenizer's
	Field   string // of the file
	Pattern string
	Bytes   int // of the text
}

func (e *SlowPatternError) Error() string {
	return fmt.Sprintf("%s: %s: %.80q takes too long to cut a text of %d bytes: give shorter texts, or rewrite the pattern so that it backtracks less",
		e.File, e.Field, e.Pattern, e.Bytes)
}

// expression is a split pattern without a scanner.
type expression struct {
	field           string // that it is of
	re              *regexp2.Regexp
	matches, others bool // which become pieces: the matches, the text between them
}

// newSplit makes the stage of a Split pre-tokenizer, whose pattern is a field of its own. Text that is in no piece is dropped.
func newSplit(field, pattern string, matches, others bool) (stage, error) {
	if next, ok := known[pattern]; ok && matches {
		return next, nil
	}
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("%s: %d bytes, the limit is %d", field, len(pattern), maxPattern)
	}
	re, err := regexp2.Compile(pattern, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("%s: %.200v", field, err) // which quotes all of the pattern
	}
	re.MatchTimeout = matchDeadline
	return &expression{field, re, matches, others}, nil
}

func (e *expression) split(text string, s *search, emit func(string)) {
	if text == "" || s.stuck != nil {
		return
	}
	runes := []rune(text)
	at, end := 0, 0 // bytes of text that have been emitted, and passed
	seen := 0       // runes up to end
	advance := func(to int) {
		for ; seen < to; seen++ {
			_, w := utf8.DecodeRuneInString(text[end:])
			end += w
		}
	}
	m := s.find(e, func() (*regexp2.Match, error) { return e.re.FindRunesMatch(runes) })
	for ; m != nil; m = s.find(e, func() (*regexp2.Match, error) { return e.re.FindNextMatch(m) }) {
		if m.Length == 0 {
			continue
		}
		advance(m.Index)
		if at < end && e.others {
			emit(text[at:end])
		}
		at = end
		advance(m.Index + m.Length)
		if e.matches {
			emit(text[at:end])
		}
		at = end
	}
	if at < len(text) && e.others && s.stuck == nil {
		emit(text[at:])
	}
}

// find is the next match of e, or nil if there is none or the search is stuck, be it in what a match before was cut into.
func (s *search) find(e *expression, next func() (*regexp2.Match, error)) *regexp2.Match {
	if s.stuck == nil && s.left <= 0 {
		s.stuck = e
	}
	if s.stuck != nil {
		return nil
	}
	began := time.Now()
	m, err := next()
	s.left -= time.Since(began)
	if err != nil {
		s.stuck = e
		return nil
	}
	return m
}

// digits cuts out numerals, each by itself or in runs.
type digits struct{ individual bool }

func (d digits) split(text string, _ *search, emit func(string)) {
	for i := 0; i < len(text); {
		c, w := classAt(text, i)
		end := i + w
		for end < len(text) && !(d.individual && c == number) {
			k, w := classAt(text, end)
			if (k == number) != (c == number) {
				break
			}
			end += w
		}
		emit(text[i:end])
		i = end
	}
}

// prefixSpace puts a space before text that does not begin with one.
type prefixSpace struct{}

func (prefixSpace) split(text string, _ *search, emit func(string)) {
	if !strings.HasPrefix(text, " ") {
		text = " " + text
	}
	emit(text)
}

// endsInWord and startsWithWord say whether the character at that end of s belongs to a word.
func endsInWord(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(s)
	return isWord(r)
}

func startsWithWord(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return isWord(r)
}

// isWord is \w of Unicode Technical Standard 18, annex C.
func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) ||
		unicode.In(r, unicode.Nd, unicode.Nl, unicode.Other_Alphabetic, unicode.Pc, unicode.Join_Control)
}

// trimSpaceRight is the length of s without the white space at its end; spaceLeft the length of the white
// space at its start.
func trimSpaceRight(s string) int { return len(strings.TrimRightFunc(s, unicode.IsSpace)) }
func spaceLeft(s string) int      { return len(s) - len(strings.TrimLeftFunc(s, unicode.IsSpace)) }
