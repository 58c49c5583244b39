package tokenizer

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestTextNeverBecomesASpecialTokenUnlessAskedFor(t *testing.T) {
	for name, tok := range vocabularies(t) {
		var text strings.Builder
		for id := range int32(tok.VocabSize()) {
			if tok.IsSpecial(id) {
				text.WriteString(" " + tok.Token(id) + "x")
			}
		}
		ids := must(tok.Encode(text.String(), false))
		if slices.ContainsFunc(ids, tok.IsSpecial) {
			t.Errorf("%s: a special token in %v", name, ids)
		}
		if got := tok.Decode(ids); got != text.String() {
			t.Errorf("%s: %q came back as %q", name, text.String(), got)
		}
		if ids := must(tok.Encode(text.String(), true)); !slices.ContainsFunc(ids, tok.IsSpecial) {
			t.Errorf("%s: no special token in %v", name, ids)
		}
	}
}

func TestBytesThatAreNotTextKeepTheirTokens(t *testing.T) {
	tok := loadFile(t, "testdata/llama3.json")
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOf(rapid.Byte()).Draw(t, "raw")
		var back []byte
		for _, id := range must(tok.Encode(string(raw), false)) {
			back = append(back, tok.raw(id)...)
		}
		if string(back) != string(raw) {
			t.Fatalf("%q came back as %q", raw, back)
		}
	})
}

func TestGoroutinesShareATokenizer(t *testing.T) {
	tok := loadFile(t, "testdata/qwen2.json")
	cases := goldens(t, "qwen2")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				for _, c := range cases {
					if ids := must(tok.Encode(c.Text, true)); !slices.Equal(ids, c.IDs) {
						t.Errorf("Encode(%q) = %v, want %v", c.Text, ids, c.IDs)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestCallersOwnWhatEncodeReturns(t *testing.T) {
	tok := loadFile(t, "testdata/gpt2.json")
	want := must(tok.Encode("The orrery turns", false))
	got := must(tok.Encode("The orrery turns", false))
	clear(got[:cap(got)])
	if again := must(tok.Encode("The orrery turns", false)); !slices.Equal(again, want) {
		t.Fatalf("%v, want %v", again, want)
	}
}

func FuzzEncodeDecode(f *testing.F) {
	toks := vocabularies(f)
	for _, c := range goldens(f, "recall") {
		f.Add(c.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			t.Skip()
		}
		for name, tok := range toks {
			want := text
			if tok.compose {
				want = nfc(text)
			}
			if got := tok.Decode(must(tok.Encode(text, false))); got != want {
				t.Fatalf("%s: %q came back as %q", name, want, got)
			}
			if name == "gpt2" { // has added tokens that take white space with them
				continue
			}
			ids := must(tok.Encode(text, true))
			if got := tok.Decode(ids); tok.compose && nfc(got) != want || !tok.compose && got != want {
				t.Fatalf("%s: %q came back as %q", name, want, got)
			}
			if got := stream(tok.NewDecoder(false), ids); got != tok.Decode(ids) {
				t.Fatalf("%s: streamed %q, at once %q", name, got, tok.Decode(ids))
			}
		}
	})
}
