package tokenizer

import "unicode/utf8"

// The split patterns that nearly every published byte-level vocabulary uses. They are matched by the
// hand-written scanners below; any other pattern goes through a regular-expression engine, some hundred
// times slower.
const (
	patternGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}` +
		`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

	patternQwen2 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}` +
		`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// scanner gives the end of the match that starts at s[i:], which is not empty. The known patterns match
// at every position, so the matches are the pieces.
type scanner func(s string, i int) int

func (next scanner) split(text string, _ *search, emit func(string)) {
	for i := 0; i < len(text); {
		end := next(text, i)
		emit(text[i:end])
		i = end
	}
}

// scanGPT2 matches patternGPT2.
func scanGPT2(s string, i int) int {
	if end := contraction(s, i, false); end > 0 {
		return end
	}
	c, w := classAt(s, i)
	if c != space {
		return spanClass(s, i+w, c)
	}
	if s[i] == ' ' && i+1 < len(s) {
		if c, w := classAt(s, i+1); c != space {
			return spanClass(s, i+1+w, c)
		}
	}
	return scanSpace(s, i, i+w)
}

// scanLlama3 matches patternLlama3, scanQwen2 patternQwen2.
func scanLlama3(s string, i int) int { return scanModern(s, i, 3) }
func scanQwen2(s string, i int) int  { return scanModern(s, i, 1) }

// scanModern takes up to digits numerals as one piece.
func scanModern(s string, i, digits int) int {
	if end := contraction(s, i, true); end > 0 {
		return end
	}
	c, w := classAt(s, i)
	switch c {
	case letter:
		return spanClass(s, i+w, letter)
	case number:
		for end := i + w; ; {
			digits--
			if digits == 0 || end == len(s) {
				return end
			}
			c, w := classAt(s, end)
			if c != number {
				return end
			}
			end += w
		}
	}
	// [^\r\n\p{L}\p{N}]?\p{L}+ : one character of punctuation or white space goes with the word behind it.
	if next := i + w; next < len(s) && !isBreak(s[i]) {
		d, dw := classAt(s, next)
		if d == letter {
			return spanClass(s, next+dw, letter)
		}
		if s[i] == ' ' && d == other {
			return spanBreaks(s, spanClass(s, next+dw, other))
		}
	}
	if c == other {
		return spanBreaks(s, spanClass(s, i+w, other))
	}
	// \s*[\r\n]+ : white space up to the last line break of the run.
	end := spanClass(s, i+w, space)
	for j := end; j > i; j-- {
		if isBreak(s[j-1]) {
			return j
		}
	}
	return trimForWord(s, i, end)
}

// scanSpace matches \s+(?!\S)|\s+ at i, where s[i:next] is known to be white space.
func scanSpace(s string, i, next int) int {
	return trimForWord(s, i, spanClass(s, next, space))
}

// trimForWord leaves the last character of the white space s[i:end] to the word behind it, if there is a
// word and other white space: that is what the look-ahead in \s+(?!\S) comes to.
func trimForWord(s string, i, end int) int {
	if end == len(s) {
		return end
	}
	_, w := utf8.DecodeLastRuneInString(s[i:end])
	if end-w > i {
		return end - w
	}
	return end
}

// spanBreaks is the end of the run of line breaks at s[i:].
func spanBreaks(s string, i int) int {
	for i < len(s) && isBreak(s[i]) {
		i++
	}
	return i
}

func isBreak(b byte) bool { return b == '\n' || b == '\r' }

// contraction is the end of 's, 't, 're, 've, 'm, 'll or 'd at s[i:], or 0.
func contraction(s string, i int, fold bool) int {
	if s[i] != '\'' || i+1 == len(s) {
		return 0
	}
	a := lower(s[i+1], fold)
	switch a {
	case 's', 't', 'm', 'd':
		return i + 2
	}
	if fold && len(s) > i+2 && s[i+1:i+3] == "ſ" { // the long s folds to s
		return i + 3
	}
	if i+2 == len(s) {
		return 0
	}
	b := lower(s[i+2], fold)
	if b == 'e' && (a == 'r' || a == 'v') || a == 'l' && b == 'l' {
		return i + 3
	}
	return 0
}

func lower(b byte, fold bool) byte {
	if fold && 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}
