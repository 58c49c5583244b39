package tokenizer

import (
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestDecoderNeverEmitsHalfACharacter(t *testing.T) {
	tok := loadFile(t, recallFile)
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOf(rapid.Int32Range(0, int32(tok.VocabSize())-1)).Draw(t, "ids")
		d := tok.NewDecoder(false)
		var text string
		for _, id := range ids {
			s := d.Push(id)
			if !utf8.ValidString(s) {
				t.Fatalf("%q is not text", s)
			}
			text += s
		}
		text += d.Flush()
		if want := tok.Decode(ids); text != want {
			t.Fatalf("streamed %q, at once %q", text, want)
		}
		if s := d.Flush(); s != "" {
			t.Fatalf("a second Flush gave %q", s)
		}
	})
}

func TestDecoderHoldsACharacterUntilItIsWhole(t *testing.T) {
	tok := loadFile(t, "testdata/llama3.json")
	d := tok.NewDecoder(false)
	for i, want := range []string{"", "", "", "🌍", "a"} {
		if got := d.Push(tok.byteID["🌍a"[i]]); got != want {
			t.Errorf("byte %d gave %q, want %q", i, got, want)
		}
	}
}

func TestInvalidBytesGiveOneReplacementForEachMaximalSubpart(t *testing.T) {
	tok := loadFile(t, "testdata/llama3.json")
	for raw, want := range map[string]string{
		"\x80":                                 "\ufffd",
		"\xff\xfe":                             "\ufffd\ufffd",
		"a\xe2\x82b":                           "a\ufffdb",
		"\xe2\x82":                             "\ufffd",
		"\xf0\x9f\x98":                         "\ufffd",
		"\xf0\x9f\xe2\x82":                     "\ufffd\ufffd",
		"\xc0\xaf":                             "\ufffd\ufffd",
		"\xed\xa0\x80":                         "\ufffd\ufffd\ufffd",
		"\xf4\x90\x80\x80":                     "\ufffd\ufffd\ufffd\ufffd",
		"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41": "\ufffd\ufffd\ufffd\ufffdA",
	} {
		var ids []int32
		for i := range len(raw) {
			ids = append(ids, tok.byteID[raw[i]])
		}
		if got := tok.Decode(ids); got != want {
			t.Errorf("Decode of %q is %q, want %q", raw, got, want)
		}
		if got := stream(tok.NewDecoder(true), ids); got != want {
			t.Errorf("%q streams as %q, want %q", raw, got, want)
		}
	}
}

func TestSkippedTokensDoNotBreakACharacter(t *testing.T) {
	tok := loadFile(t, "testdata/llama3.json")
	special, ok := tok.ID("<|eot_id|>")
	if !ok {
		t.Fatal("no <|eot_id|>")
	}
	ids := []int32{tok.byteID["é"[0]], special, tok.byteID["é"[1]]}
	if got := stream(tok.NewDecoder(true), ids); got != "é" {
		t.Errorf("without special tokens: %q", got)
	}
	if got := stream(tok.NewDecoder(false), ids); got != "\ufffd<|eot_id|>\ufffd" {
		t.Errorf("with special tokens: %q", got)
	}
}
