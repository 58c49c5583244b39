package tokenizer

import "unicode/utf8"

// The byte-level alphabet writes each byte as one printable character, so that a vocabulary is plain
// text: printable Latin-1 stands for itself, the other 68 bytes are U+0100 and up in byte order
// (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.2).

// alphabet[b] is the character that stands for byte b.
var alphabet = func() (a [256]rune) {
	next := rune(256)
	for b := range a {
		if b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
			a[b] = rune(b)
			continue
		}
		a[b] = next
		next++
	}
	return a
}()

// alphabetByte[r] is the byte that r stands for, or -1.
var alphabetByte = func() (a [256 + 68]int16) {
	for r := range a {
		a[r] = -1
	}
	for b, r := range alphabet {
		a[r] = int16(b)
	}
	return a
}()

// appendAlphabet appends raw bytes as characters of the alphabet.
func appendAlphabet(dst []byte, raw string) []byte {
	for i := range len(raw) {
		dst = utf8.AppendRune(dst, alphabet[raw[i]])
	}
	return dst
}

// fromAlphabet gives the bytes that a vocabulary entry stands for. ok is false when a character lies
// outside the alphabet, as in added tokens: such a token stands for its own text.
func fromAlphabet(token string) (raw string, ok bool) {
	buf := make([]byte, 0, len(token))
	for _, r := range token {
		if int(r) >= len(alphabetByte) || alphabetByte[r] < 0 {
			return "", false
		}
		buf = append(buf, byte(alphabetByte[r]))
	}
	return string(buf), true
}
