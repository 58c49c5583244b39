package tokenizer

import (
	"slices"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
	"pgregory.net/rapid"
)

// hardText draws text from the characters that the patterns treat differently, and from all of Unicode.
// It leaves out the long s, which folds to s in the reference but not in regexp2: goldens cover it.
func hardText() *rapid.Generator[string] {
	atoms := []string{
		" ", "  ", "\t", "\n", "\r", "\r\n", "\v", "\f", "\u0085", "\u00a0", "\u1680", "\u2003", "\u2028", "\u202f", "\u3000",
		"'", "'s", "'S", "'t", "'RE", "'vE", "'m", "'ll", "'lL", "'d", "'x", "''", "s", "l", "re",
		"a", "Z", "é", "e\u0301", "ß", "ǆ", "ʰ", "漢", "한", "ع", "ह", "ि", "1", "42", "007", "٣", "½", "Ⅷ", "²",
		"!", "...", "_", "-", "<|im_end|>", "$", "€", "😀", "\u200b", "\u200d", "\ufeff", "\u0301", "\x00", "\x7f", "\ufffd",
	}
	anyRune := rapid.Map(rapid.Rune(), func(r rune) string { return string(r) })
	piece := rapid.OneOf(rapid.SampledFrom(atoms), rapid.SampledFrom(atoms), anyRune)
	return rapid.Map(rapid.SliceOfN(piece, 0, 24), func(p []string) string {
		return strings.ReplaceAll(strings.Join(p, ""), "ſ", "")
	})
}

func TestScannersEqualTheirPatterns(t *testing.T) {
	for pattern, scan := range known {
		re := &expression{re: regexp2.MustCompile(pattern, regexp2.None), matches: true, others: true}
		rapid.Check(t, func(t *rapid.T) {
			text := hardText().Draw(t, "text")
			got, want := piecesOf([]stage{scan}, text), piecesOf([]stage{re}, text)
			if !slices.Equal(got, want) {
				t.Fatalf("pattern %s\ntext %q\n got %q\nwant %q", pattern, text, got, want)
			}
		})
	}
}

func TestPiecesJoinToTheTextWhateverItsBytes(t *testing.T) {
	other, err := newSplit("pattern", `\p{Lu}?\p{Ll}+|\d`, true, true)
	if err != nil {
		t.Fatal(err)
	}
	stages := []stage{scanner(scanGPT2), scanner(scanLlama3), scanner(scanQwen2), digits{true}, digits{false}, other}
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) + hardText().Draw(t, "text")
		for _, s := range stages {
			pieces := piecesOf([]stage{s}, text)
			if joined := strings.Join(pieces, ""); joined != text {
				t.Fatalf("%T: pieces %q join to %q, want %q", s, pieces, joined, text)
			}
			if slices.Contains(pieces, "") {
				t.Fatalf("%T: an empty piece of %q", s, text)
			}
		}
	})
}

func TestRemovedDropsEitherTheMatchesOrTheRest(t *testing.T) {
	for _, c := range []struct {
		matches, others bool
		want            []string
	}{
		{true, false, []string{"12", "3"}},
		{false, true, []string{"a", "b", "c"}},
		{true, true, []string{"a", "12", "b", "3", "c"}},
	} {
		s, err := newSplit("pattern", `\d+`, c.matches, c.others)
		if err != nil {
			t.Fatal(err)
		}
		if got := piecesOf([]stage{s}, "a12b3c"); !slices.Equal(got, c.want) {
			t.Errorf("matches %t, others %t: %q, want %q", c.matches, c.others, got, c.want)
		}
	}
}
