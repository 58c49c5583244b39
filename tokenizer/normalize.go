package tokenizer

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// joiner is what the norm package puts behind every 30 combining marks in a row, to keep its buffers
// bounded (Unicode Standard Annex 15, section 13).
const joiner = "\u034F"

// nfc is the canonical composition of text. Unlike the norm package alone it adds no joiners, so that
// text with any number of marks gets the ids that other implementations give it.
func nfc(text string) string {
	if norm.NFC.IsNormalString(text) {
		return text
	}
	composed := norm.NFC.String(text)
	if strings.Count(composed, joiner) == strings.Count(text, joiner) || !utf8.ValidString(text) {
		return composed
	}
	return nfcUnbounded(text)
}

// mark is a character with its canonical combining class.
type mark struct {
	r   rune
	ccc uint8
}

// nfcUnbounded is the algorithm of Annex 15 as it is written: decompose, order the marks, compose.
func nfcUnbounded(text string) string {
	var marks []mark
	for i := 0; i < len(text); {
		p := norm.NFD.PropertiesString(text[i:])
		d := string(p.Decomposition())
		if d == "" {
			d = text[i : i+p.Size()]
		}
		for _, r := range d {
			marks = append(marks, mark{r, norm.NFD.PropertiesString(string(r)).CCC()})
		}
		i += p.Size()
	}
	for i := 0; i < len(marks); {
		end := i + 1
		if marks[i].ccc > 0 {
			for end < len(marks) && marks[end].ccc > 0 {
				end++
			}
			slices.SortStableFunc(marks[i:end], func(a, b mark) int { return cmp.Compare(a.ccc, b.ccc) })
		}
		i = end
	}

	composed := marks[:0] // never longer than what has been read
	starter := -1         // index in composed
	for _, m := range marks {
		if starter >= 0 {
			if last := composed[len(composed)-1].ccc; last == 0 || last < m.ccc {
				if r, ok := compose(composed[starter].r, m.r); ok {
					composed[starter].r = r
					continue
				}
			}
		}
		if m.ccc == 0 {
			starter = len(composed)
		}
		composed = append(composed, m)
	}
	var b strings.Builder
	for _, m := range composed {
		b.WriteRune(m.r)
	}
	return b.String()
}

// compose is the primary composite of a and b, if they have one.
func compose(a, b rune) (rune, bool) {
	s := norm.NFC.String(string(a) + string(b))
	r, w := utf8.DecodeRuneInString(s)
	return r, w == len(s)
}
