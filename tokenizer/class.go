package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// class is what the known split patterns distinguish: \p{L}, \p{N}, \s and the rest.
type class uint8

const (
	other class = iota
	letter
	number
	space
)

var asciiClass = func() (a [utf8.RuneSelf]class) {
	for r := range a {
		a[r] = classOf(rune(r))
	}
	return a
}()

func classOf(r rune) class {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r): // the White_Space property, as Oniguruma's \s
		return space
	}
	return other
}

// classAt is the class and the width in bytes of the character at s[i:], which must not be empty.
// A byte that is not UTF-8 is a character of class other.
func classAt(s string, i int) (class, int) {
	if b := s[i]; b < utf8.RuneSelf {
		return asciiClass[b], 1
	}
	r, w := utf8.DecodeRuneInString(s[i:])
	return classOf(r), w
}

// spanClass is the end of the run of characters of class c that starts at s[i:].
func spanClass(s string, i int, c class) int {
	for i < len(s) {
		k, w := classAt(s, i)
		if k != c {
			break
		}
		i += w
	}
	return i
}
