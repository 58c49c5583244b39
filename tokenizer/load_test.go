package tokenizer

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// edited is testdata/llama3.json after edit.
func edited(t testing.TB, edit func(file, model map[string]any)) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/llama3.json")
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	edit(file, file["model"].(map[string]any))
	if data, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	return data
}

type object = map[string]any

func TestBadFilesAreRefusedByFileAndField(t *testing.T) {
	vocab := func(m object) object { return m["vocab"].(object) }
	for name, c := range map[string]struct {
		edit func(file, model object)
		want string
	}{
		"no model":        {func(f, m object) { delete(f, "model") }, "model: missing"},
		"WordPiece":       {func(f, m object) { m["type"] = "WordPiece" }, `model.type: "WordPiece"`},
		"no type":         {func(f, m object) { delete(m, "type") }, "model.type"},
		"no vocab":        {func(f, m object) { delete(m, "vocab") }, "model.vocab: missing"},
		"no merges":       {func(f, m object) { delete(m, "merges") }, "model.merges: missing"},
		"merges: object":  {func(f, m object) { m["merges"] = object{} }, "model.merges"},
		"merges: numbers": {func(f, m object) { m["merges"] = []any{1} }, "model.merges"},
		"merges: mixed":   {func(f, m object) { m["merges"] = []any{"a b", 1} }, "model.merges"},
		"merge of one":    {func(f, m object) { m["merges"] = []any{[]any{"a"}} }, "model.merges[0]: 1 tokens"},
		"merge line of 3": {func(f, m object) { m["merges"] = []any{"a b c"} }, "model.merges[0]"},
		"unknown left":    {func(f, m object) { m["merges"] = []any{"漢 b"} }, `model.merges[0]: "漢" is not in model.vocab`},
		"unknown product": {func(f, m object) { m["merges"] = []any{"q z"} }, `model.merges[0]: "qz" is not in model.vocab`},
		"negative id":     {func(f, m object) { vocab(m)["a"] = -1 }, `model.vocab: id -1 of "a" out of range`},
		"huge id":         {func(f, m object) { vocab(m)["a"] = 2000000000 }, `id 2000000000 of "a" out of range`},
		"id beyond int32": {func(f, m object) { vocab(m)["a"] = 1e12 }, "vocab"},
		"fractional id":   {func(f, m object) { vocab(m)["a"] = 1.5 }, "vocab"},
		"duplicate id":    {func(f, m object) { vocab(m)["a"] = vocab(m)["b"] }, `is both "a" and "b"`},
		"empty token":     {func(f, m object) { vocab(m)[""] = 9 }, "model.vocab: empty token"},
		"missing byte":    {func(f, m object) { delete(vocab(m), "Ġ"); m["merges"] = []any{} }, "for byte 0x20"},
		"dropout":         {func(f, m object) { m["dropout"] = 0.1 }, "model.dropout"},
		"prefix":          {func(f, m object) { m["continuing_subword_prefix"] = "##" }, "model.continuing_subword_prefix"},
		"suffix":          {func(f, m object) { m["end_of_word_suffix"] = "</w>" }, "model.end_of_word_suffix"},
		"byte fallback":   {func(f, m object) { m["byte_fallback"] = true }, "model.byte_fallback"},
		"added id in use": {func(f, m object) { f["added_tokens"] = []any{object{"id": 5, "content": "<x>"}} }, "added_tokens[0].id: id 5"},
		"added twice":     {func(f, m object) { f["added_tokens"] = []any{object{"id": 900, "content": "a"}} }, `added_tokens[0].id: "a" is already id`},
		"added far":       {func(f, m object) { f["added_tokens"] = []any{object{"id": 1 << 30, "content": "<x>"}} }, "added_tokens[0].id"},
		"added empty":     {func(f, m object) { f["added_tokens"] = []any{object{"id": 900}} }, "added_tokens[0].content"},
		"normalizer":      {func(f, m object) { f["normalizer"] = object{"type": "Lowercase"} }, `normalizer.type: "Lowercase"`},
		"nested normalizer": {func(f, m object) {
			f["normalizer"] = object{"type": "Sequence", "normalizers": []any{object{"type": "NFC"}, object{"type": "NFKC"}}}
		}, `normalizer.normalizers[1].type: "NFKC"`},
		"no pre-tokenizer": {func(f, m object) { f["pre_tokenizer"] = nil }, "pre_tokenizer: no ByteLevel"},
		"Metaspace":        {func(f, m object) { f["pre_tokenizer"] = object{"type": "Metaspace"} }, `pre_tokenizer.type: "Metaspace"`},
		"behind ByteLevel": {func(f, m object) {
			f["pre_tokenizer"] = object{"type": "Sequence", "pretokenizers": []any{object{"type": "ByteLevel"}, object{"type": "Digits"}}}
		}, "pre_tokenizer.pretokenizers[1]: Digits behind ByteLevel"},
		"bad pattern": {func(f, m object) {
			f["pre_tokenizer"] = object{"type": "Split", "behavior": "Isolated", "pattern": object{"Regex": "("}}
		}, "pre_tokenizer.pattern"},
		"no pattern": {func(f, m object) { f["pre_tokenizer"] = object{"type": "Split", "behavior": "Isolated"} }, "pre_tokenizer.pattern"},
		"bad behaviour": {func(f, m object) {
			f["pre_tokenizer"] = object{"type": "Split", "behavior": "MergedWithNext", "pattern": object{"String": "a"}}
		}, `pre_tokenizer.behavior: "MergedWithNext"`},
		"post-processor":        {func(f, m object) { f["post_processor"] = object{"type": "BertProcessing"} }, `post_processor.type: "BertProcessing"`},
		"template without text": {func(f, m object) { f["post_processor"] = object{"type": "TemplateProcessing"} }, "post_processor.single: no Sequence"},
		"template of unknown": {func(f, m object) {
			f["post_processor"] = object{"type": "TemplateProcessing", "single": []any{object{"SpecialToken": object{"id": "<b>"}}}}
		}, `post_processor.single[0]: "<b>"`},
		"template of no token": {func(f, m object) {
			f["post_processor"] = object{"type": "TemplateProcessing", "single": []any{object{"SpecialToken": object{"id": "<b>"}}}, "special_tokens": object{"<b>": object{"ids": []any{99999}}}}
		}, "no token has id 99999"},
		"decoder": {func(f, m object) { f["decoder"] = object{"type": "WordPiece"} }, `decoder.type: "WordPiece"`},
	} {
		_, err := Load(edited(t, c.edit), "some/tokenizer.json")
		if err == nil {
			t.Errorf("%s: loaded", name)
			continue
		}
		if s := err.Error(); !strings.HasPrefix(s, "some/tokenizer.json: ") || !strings.Contains(s, c.want) {
			t.Errorf("%s: %q does not name the file and %q", name, s, c.want)
		}
	}
}

func TestSplitKeepsWhatItsBehaviourSays(t *testing.T) {
	for _, c := range []struct {
		behavior string
		invert   bool
		want     string
	}{
		{"Isolated", false, "ab12cd3"},
		{"Isolated", true, "ab12cd3"},
		{"Removed", false, "abcd"},
		{"Removed", true, "123"},
	} {
		data := edited(t, func(f, m object) {
			f["pre_tokenizer"] = object{"type": "Sequence", "pretokenizers": []any{
				object{"type": "Split", "behavior": c.behavior, "invert": c.invert, "pattern": object{"Regex": `\d+`}},
				object{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
			}}
		})
		tok, err := Load(data, "f.json")
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.Decode(must(tok.Encode("ab12cd3", false))); got != c.want {
			t.Errorf("%s, invert %t: %q, want %q", c.behavior, c.invert, got, c.want)
		}
	}
}

func TestPrefixSpaceAndDigitsAreApplied(t *testing.T) {
	for individual, want := range map[bool]string{true: " ab 1 2 c\td", false: " ab 12 c\td"} {
		data := edited(t, func(f, m object) {
			f["pre_tokenizer"] = object{"type": "Sequence", "pretokenizers": []any{
				object{"type": "Digits", "individual_digits": individual}, object{"type": "ByteLevel"},
			}}
		})
		tok, err := Load(data, "f.json")
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.Decode(must(tok.Encode("ab12 c\td", false))); got != want {
			t.Errorf("individual %t: %q, want %q", individual, got, want)
		}
	}
}

func TestTruncatedFilesAreRefused(t *testing.T) {
	data := edited(t, func(file, model object) {})
	for n := 0; n < len(data); n += 97 {
		if _, err := Load(data[:n], "f.json"); err == nil || !strings.HasPrefix(err.Error(), "f.json: ") {
			t.Fatalf("%d bytes of %d: %v", n, len(data), err)
		}
	}
}

func TestTokensAndIDsAreInverse(t *testing.T) {
	for name, tok := range vocabularies(t) {
		used := 0
		for id := range int32(tok.VocabSize()) {
			token := tok.Token(id)
			if token == "" {
				continue
			}
			used++
			if back, ok := tok.ID(token); !ok || back != id {
				t.Errorf("%s: ID(Token(%d)) = %d, %t", name, id, back, ok)
			}
		}
		if used != len(tok.ids) {
			t.Errorf("%s: %d ids for %d tokens", name, used, len(tok.ids))
		}
		if _, ok := tok.ID("no such token"); ok {
			t.Errorf("%s: an id for what is no token", name)
		}
		for _, id := range []int32{-1, int32(tok.VocabSize()), 1 << 30} {
			if tok.Token(id) != "" || tok.IsSpecial(id) || tok.Decode([]int32{id}) != "" {
				t.Errorf("%s: id %d means something", name, id)
			}
		}
	}
}

func TestSpecialTokensAreThoseTheFileMarks(t *testing.T) {
	tok := loadFile(t, "testdata/qwen2.json")
	for token, want := range map[string]bool{"<|im_end|>": true, "<|endoftext|>": true, "<think>": false, "a": false} {
		id, ok := tok.ID(token)
		if !ok || tok.IsSpecial(id) != want {
			t.Errorf("%s: id %d, known %t, special %t", token, id, ok, tok.IsSpecial(id))
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`{`))
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}`))
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":0},"merges":[["a","b"]]},"pre_tokenizer":{"type":"Sequence","pretokenizers":[null]}}`))
	for _, file := range []string{"testdata/llama3.json", "testdata/gpt2.json"} {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := Load(data, "fuzz.json")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "fuzz.json: ") {
				t.Fatalf("%q does not name the file", err)
			}
			return
		}
		ids, err := tok.EncodePrompt("it's 1 test\n", true)
		var slow *SlowPatternError
		if err != nil && !errors.As(err, &slow) {
			t.Fatal(err)
		}
		for _, id := range ids {
			if tok.Token(id) == "" {
				t.Fatalf("id %d is no token", id)
			}
		}
	})
}
