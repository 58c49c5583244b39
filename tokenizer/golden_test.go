package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// recallFile is the vocabulary of the model that Orrery carries with it.
const recallFile = "../recall/model/tokenizer.json"

func loadFile(t testing.TB, file string) *Tokenizer {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Load(data, file)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// must is v, of a call that cannot fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// vocabularies are the files that tests run over, by the name of their goldens.
func vocabularies(t testing.TB) map[string]*Tokenizer {
	return map[string]*Tokenizer{
		"llama3": loadFile(t, "testdata/llama3.json"),
		"qwen2":  loadFile(t, "testdata/qwen2.json"),
		"gpt2":   loadFile(t, "testdata/gpt2.json"),
		"recall": loadFile(t, recallFile),
	}
}

// goldenCase is what the reference implementation makes of a text.
type goldenCase struct {
	Text    string
	Pieces  []string // of the pre-tokenizer alone, added tokens not looked for; in the byte-level alphabet
	IDs     []int32
	Prompt  []int32 // with the template's tokens
	Decoded string
	Visible string // without special tokens
}

func goldens(t testing.TB, name string) []goldenCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []goldenCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 50 {
		t.Fatalf("%s: only %d cases", name, len(cases))
	}
	return cases
}

func TestIDsAreTheReferences(t *testing.T) {
	for name, tok := range vocabularies(t) {
		for _, c := range goldens(t, name) {
			for range 2 { // the second time from the cache
				if ids := must(tok.Encode(c.Text, true)); !slices.Equal(ids, c.IDs) {
					t.Errorf("%s: Encode(%q) = %v, want %v", name, c.Text, ids, c.IDs)
				}
			}
			if ids := must(tok.EncodePrompt(c.Text, true)); !slices.Equal(ids, c.Prompt) {
				t.Errorf("%s: EncodePrompt(%q) = %v, want %v", name, c.Text, ids, c.Prompt)
			}
			if s := tok.Decode(c.IDs); s != c.Decoded {
				t.Errorf("%s: Decode(%v) = %q, want %q", name, c.IDs, s, c.Decoded)
			}
			if s := stream(tok.NewDecoder(true), c.IDs); s != c.Visible {
				t.Errorf("%s: decoded without special tokens %q, want %q", name, s, c.Visible)
			}
		}
	}
}

func TestPiecesAreTheReferences(t *testing.T) {
	for name, tok := range vocabularies(t) {
		for _, c := range goldens(t, name) {
			text := c.Text
			if tok.compose {
				text = nfc(text)
			}
			var pieces []string
			for _, p := range piecesOf(tok.stages, text) {
				pieces = append(pieces, string(appendAlphabet(nil, p)))
			}
			if !slices.Equal(pieces, c.Pieces) {
				t.Errorf("%s: pieces of %q are %q, want %q", name, c.Text, pieces, c.Pieces)
			}
		}
	}
}

// piecesOf runs text through the stages.
func piecesOf(stages []stage, text string) []string {
	pieces, s := []string{text}, search{left: time.Minute}
	for _, stage := range stages {
		var next []string
		for _, p := range pieces {
			stage.split(p, &s, func(q string) { next = append(next, q) })
		}
		pieces = next
	}
	return pieces
}

// stream decodes ids one by one.
func stream(d *Decoder, ids []int32) string {
	var s string
	for _, id := range ids {
		s += d.Push(id)
	}
	return s + d.Flush()
}
