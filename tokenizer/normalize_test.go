package tokenizer

import (
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

func TestComposingByTheBookEqualsTheLibrary(t *testing.T) {
	atoms := rapid.SampledFrom([]string{
		"a", "e", "q", "\u0301", "\u0323", "\u0307", "\u0308", "\u0345", "\u1112", "\u1161", "\u11ab", "한", "가", "é", "ệ", "\u212b",
		"\u0344", "\u0958", "\u2adc", "\u0f73", "\U0001d15e", "\u09c7", "\u09be", " ", "漢",
	})
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.OneOf(atoms, atoms, rapid.Map(rapid.Rune(), func(r rune) string { return string(r) })), 0, 7).Draw(t, "parts")
		text := strings.Join(parts, "")
		if got, want := nfcUnbounded(text), norm.NFC.String(text); got != want {
			t.Fatalf("%+q: %+q, want %+q", text, got, want)
		}
	})
}

func TestAMarkIsBlockedByOneOfItsOwnClass(t *testing.T) {
	for text, want := range map[string]string{
		"a\u0305\u0301": "a\u0305\u0301", // overline and acute both stand above
		"a\u0332\u0301": "\u00e1\u0332",  // the low line stands below
	} {
		if got := nfcUnbounded(text); got != want {
			t.Errorf("%+q: %+q, want %+q", text, got, want)
		}
	}
}

func TestManyMarksGetNoJoiners(t *testing.T) {
	text := "a" + strings.Repeat("\u0301", 100) + "\u0323"
	want := "\u1ea1" + strings.Repeat("\u0301", 100) // the dot below sorts before the acutes, and composes
	if got := nfc(text); got != want {
		t.Errorf("%+q, want %+q", got, want)
	}
	if got := nfc("x" + joiner + "e\u0301"); got != "x"+joiner+"é" {
		t.Errorf("a joiner of the text's own: %+q", got)
	}
}
