package tokenizer

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// mergeNaively applies, again and again, the leftmost of the lowest-ranked merges.
func mergeNaively(t *Tokenizer, word string) []int32 {
	var ids []int32
	for i := range len(word) {
		ids = append(ids, t.byteID[word[i]])
	}
	for {
		best, at := merge{}, -1
		for i := range len(ids) - 1 {
			if m, ok := t.merges[pairKey(ids[i], ids[i+1])]; ok && (at < 0 || m.rank < best.rank) {
				best, at = m, i
			}
		}
		if at < 0 {
			return ids
		}
		ids = slices.Replace(ids, at, at+2, best.id)
	}
}

func TestMergingWithAHeapEqualsMergingByTheBook(t *testing.T) {
	tok := loadFile(t, recallFile)
	var m merger
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{
			"a", "b", "e", "n", "in", "the", "ing", " ", "  ", "aa", "er", "re", "st", "ion", "\n", "é", "漢", "0",
		}), 1, 60).Draw(t, "parts")
		word := strings.Join(parts, "")
		if got, want := m.run(nil, tok, word), mergeNaively(tok, word); !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", word, got, want)
		}
	})
}

// Merging in quadratic time would take minutes over these.
func TestHostileWordsAreEncodedAndComeBack(t *testing.T) {
	tok := loadFile(t, recallFile)
	for _, unit := range []string{"a", "ab", "the", "!", " ", "\n", "\u0301", "漢", "'", "<", "<|im_end"} {
		text := strings.Repeat(unit, 1<<16/len(unit))
		if got := tok.Decode(must(tok.Encode(text, true))); got != text {
			t.Errorf("%q repeated does not come back", unit)
		}
	}
}

func TestScratchOfAHugeWordIsNotKept(t *testing.T) {
	tok := loadFile(t, "testdata/gpt2.json")
	var m merger
	m.run(nil, tok, strings.Repeat("a", retained+1))
	if n := cap(m.symbols) + cap(m.heap); n != 0 {
		t.Errorf("scratch of %d elements was kept", n)
	}
	m.run(nil, tok, "aaaa")
	if cap(m.symbols) == 0 {
		t.Error("scratch of a small word was not kept")
	}
}
