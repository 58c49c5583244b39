package tokenizer

import "unicode/utf8"

// appendText appends to dst the characters of raw. A byte sequence that cannot be UTF-8 becomes one
// U+FFFD for each maximal subpart (The Unicode Standard 15.0, section 3.9, table 3-8), as Python and Rust
// have it. rest is the character that raw ends within, at most three bytes; it is empty if last.
func appendText(dst, raw []byte, last bool) (text, rest []byte) {
	for i := 0; i < len(raw); {
		r, w := utf8.DecodeRune(raw[i:])
		if r != utf8.RuneError || w > 1 {
			dst = append(dst, raw[i:i+w]...)
			i += w
			continue
		}
		n := subpart(raw[i:])
		if i+n == len(raw) && !last && !utf8.FullRune(raw[i:]) {
			return dst, raw[i:]
		}
		dst = utf8.AppendRune(dst, utf8.RuneError)
		i += n
	}
	return dst, nil
}

// subpart is the length of the longest start of p, at least one byte, that some valid character has too.
// p itself does not start with one.
func subpart(p []byte) int {
	n := 1
	// FullRune is false exactly while more bytes could complete the character.
	for n < len(p) && !utf8.FullRune(p[:n]) {
		n++
	}
	if n > 1 && utf8.FullRune(p[:n]) {
		n--
	}
	return n
}
