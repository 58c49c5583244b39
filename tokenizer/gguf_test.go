package tokenizer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/internal/ggufwrite"
	"github.com/orrery-ai/orrery/model/gguf"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/tokenizer"
)

// pair is an entry of the metadata.
type pair struct {
	key   string
	value any
}

// must is v, of a call that cannot fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// metadata is what a file with these entries has.
func metadata(t testing.TB, pairs ...pair) map[string]gguf.Value {
	t.Helper()
	var entries []ggufwrite.Pair
	for _, p := range pairs {
		entries = append(entries, ggufwrite.Pair{Key: p.key, Value: p.value})
	}
	var b bytes.Buffer
	if err := ggufwrite.Write(&b, entries, nil); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f.Metadata
}

// converted is a tokenizer.json as converters write it into a GGUF file.
func converted(t testing.TB, name, pre string) map[string]gguf.Value {
	t.Helper()
	entries, err := modeltest.Vocabulary("testdata/"+name+".json", pre, "<|begin_of_text|>", "")
	if err != nil {
		t.Fatal(err)
	}
	var pairs []pair
	for _, e := range entries {
		pairs = append(pairs, pair{e.Key, e.Value})
	}
	return metadata(t, pairs...)
}

// TestIDsOfAGGUFFileAreThoseOfItsTokenizerJSON holds both to the texts of the reference's goldens.
func TestIDsOfAGGUFFileAreThoseOfItsTokenizerJSON(t *testing.T) {
	for name, pre := range map[string]string{"llama3": "llama-bpe", "qwen2": "qwen2", "gpt2": "gpt-2"} {
		got, err := tokenizer.LoadGGUF(converted(t, name, pre), name)
		if err != nil {
			t.Fatal(err)
		}
		var cases []struct {
			Text, Decoded string
			IDs, Prompt   []int32
		}
		data, err := os.ReadFile("testdata/" + name + ".golden.json")
		if err == nil {
			err = json.Unmarshal(data, &cases)
		}
		if err != nil || len(cases) < 50 {
			t.Fatalf("%s: %d cases, %v", name, len(cases), err)
		}
		for _, c := range cases {
			if strings.Contains(c.Text, "<mask>") || strings.Contains(c.Text, "<word>") {
				continue // they take white space with them, which a GGUF file cannot say
			}
			if ids := must(got.Encode(c.Text, true)); !slices.Equal(ids, c.IDs) {
				t.Errorf("%s: Encode(%q) = %v, want %v", name, c.Text, ids, c.IDs)
			}
			if ids := must(got.EncodePrompt(c.Text, true)); !slices.Equal(ids, c.Prompt) {
				t.Errorf("%s: EncodePrompt(%q) = %v, want %v", name, c.Text, ids, c.Prompt)
			}
			if s := got.Decode(c.IDs); s != c.Decoded {
				t.Errorf("%s: Decode(%v) = %q, want %q", name, c.IDs, s, c.Decoded)
			}
		}
	}
}

func TestAnUnnamedPreTokenizerIsTheDefault(t *testing.T) {
	named, err := tokenizer.LoadGGUF(converted(t, "gpt2", "default"), "named")
	if err != nil {
		t.Fatal(err)
	}
	m := converted(t, "gpt2", "gpt-2")
	delete(m, "tokenizer.ggml.pre")
	unnamed, err := tokenizer.LoadGGUF(m, "unnamed")
	if err != nil {
		t.Fatal(err)
	}
	for text, pieces := range map[string][]string{"a 1234 b": {"a", " ", "123", "4", " b"}, "x+=y!": {"x", "+=", "y", "!"}} {
		ids := must(named.Encode(text, false))
		if !slices.Equal(ids, must(unnamed.Encode(text, false))) {
			t.Errorf("%q: other ids without a name", text)
		}
		var want []int32
		for _, p := range pieces {
			want = append(want, must(named.Encode(p, false))...)
		}
		if !slices.Equal(ids, want) || named.Decode(ids) != text {
			t.Errorf("%q is %v, want the pieces %q: %v", text, ids, pieces, want)
		}
	}
}

// pieces is a small vocabulary of SentencePiece: words of it in order of their scores.
func pieces(words []string, further ...pair) []pair {
	tokens, kinds := []string{"<unk>", "<s>", "</s>"}, []int32{2, 3, 3}
	scores := []float32{0, 0, 0}
	for b := range 256 {
		tokens, kinds, scores = append(tokens, fmt.Sprintf("<0x%02X>", b)), append(kinds, 6), append(scores, 0)
	}
	for i, w := range words {
		tokens, kinds, scores = append(tokens, w), append(kinds, 1), append(scores, float32(-i))
	}
	return append([]pair{{"tokenizer.ggml.model", "llama"}, {"tokenizer.ggml.tokens", tokens}, {"tokenizer.ggml.token_type", kinds},
		{"tokenizer.ggml.scores", scores}, {"tokenizer.ggml.bos_token_id", uint32(1)}, {"tokenizer.ggml.eos_token_id", uint32(2)}}, further...)
}

var words = []string{"▁a", "b▁", "▁the", "he", "th", "the", "é", "▁▁", "▁▁▁▁", "aé", "ab", "abab", "ba", "bab", "▁", "a", "b", "t", "h", "e", "日"}

// merged is the definition: as long as two neighbours make a token, the pair with the best score, the leftmost
// of those, becomes it. What is no token then is written as bytes.
func merged(text string) (out []string) {
	rank := func(s string) int { return slices.Index(words, s) }
	for _, r := range text {
		out = append(out, string(r))
	}
	for {
		best, at := len(words), -1
		for i := range len(out) - 1 {
			if k := rank(out[i] + out[i+1]); k >= 0 && k < best && rank(out[i]) >= 0 && rank(out[i+1]) >= 0 {
				best, at = k, i
			}
		}
		if at < 0 {
			return out
		}
		out = slices.Replace(out, at, at+2, out[at]+out[at+1])
	}
}

func TestPiecesAreMergedByScore(t *testing.T) {
	tok, err := tokenizer.LoadGGUF(metadata(t, pieces(words)...), "pieces")
	if err != nil {
		t.Fatal(err)
	}
	ids := func(text string) (ids []int32) {
		for _, p := range merged(strings.ReplaceAll(" "+text, " ", "▁")) {
			if i := slices.Index(words, p); i >= 0 {
				ids = append(ids, int32(259+i))
				continue
			}
			for _, b := range []byte(p) {
				ids = append(ids, int32(3+int(b)))
			}
		}
		return ids
	}
	rng := rand.New(rand.NewPCG(1, 2))
	letters := []rune("aabbthe   é日x\n€")
	for n := range 300 {
		text := make([]rune, n%40+1)
		for i := range text {
			text[i] = letters[rng.IntN(len(letters))]
		}
		s := string(text)
		got := must(tok.Encode(s, false))
		if !slices.Equal(got, ids(s)) {
			t.Fatalf("Encode(%q) = %v, want %v", s, got, ids(s))
		}
		if back := tok.Decode(got); back != s {
			t.Fatalf("%q comes back as %q", s, back)
		}
	}
	if got, want := must(tok.EncodePrompt("the a</s>", true)), append(append([]int32{1}, ids("the a")...), 2); !slices.Equal(got, want) {
		t.Errorf("a prompt is %v, want %v", got, want)
	}
	if got := tok.Decode(must(tok.Encode("\xff\xfe", false))); got != "\ufffd\ufffd" {
		t.Errorf("bytes that are no characters come back as %q", got)
	}
	d, text := tok.NewDecoder(true), ""
	for _, id := range append(must(tok.Encode("é€ the", false)), 2) {
		text += d.Push(id)
	}
	if text += d.Flush(); text != " é€ the" {
		t.Errorf("token by token: %q", text)
	}
	bare, err := tokenizer.LoadGGUF(metadata(t, pieces(words, pair{"tokenizer.ggml.add_space_prefix", false}, pair{"tokenizer.ggml.add_bos_token", false})...), "bare")
	if err != nil {
		t.Fatal(err)
	}
	if got := must(bare.EncodePrompt("the", false)); !slices.Equal(got, []int32{259 + 5}) || bare.Decode(must(bare.Encode(" the", false))) != " the" {
		t.Errorf("without a space and a first token: %v", got)
	}
}

func TestBadVocabulariesAreRefusedByKey(t *testing.T) {
	set := func(base []pair, key string, value any) []pair {
		out := slices.DeleteFunc(slices.Clone(base), func(p pair) bool { return p.key == "tokenizer.ggml."+key })
		if value != nil {
			out = append(out, pair{"tokenizer.ggml." + key, value})
		}
		return out
	}
	spm := pieces(words)
	var alphabet []string
	bytewise := converted(t, "gpt2", "gpt-2")
	list, err := bytewise["tokenizer.ggml.tokens"].Strings()
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range list {
		alphabet = append(alphabet, token)
	}
	bpe := []pair{{"tokenizer.ggml.model", "gpt2"}, {"tokenizer.ggml.pre", "gpt-2"}, {"tokenizer.ggml.tokens", alphabet}, {"tokenizer.ggml.merges", []string{}}}
	if _, err := tokenizer.LoadGGUF(metadata(t, bpe...), "file"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		pairs []pair
		want  string
	}{
		"unknown model":      {set(spm, "model", "t5"), `"tokenizer.ggml.model": "t5" is unknown`},
		"a number":           {set(spm, "model", uint8(1)), `"tokenizer.ggml.model": is a uint8`},
		"no tokens":          {set(spm, "tokens", nil), `"tokenizer.ggml.tokens": is missing`},
		"empty":              {set(spm, "tokens", []string{}), "0 tokens"},
		"tokens of numbers":  {set(spm, "tokens", []int32{1}), `"tokenizer.ggml.tokens": is an array of 1 int32`},
		"too few kinds":      {set(spm, "token_type", []int32{1}), `"tokenizer.ggml.token_type": 1 of them`},
		"kinds as text":      {set(spm, "token_type", []string{"1"}), `"tokenizer.ggml.token_type"`},
		"no scores":          {set(spm, "scores", nil), `"tokenizer.ggml.scores"`},
		"too few scores":     {set(spm, "scores", []float32{1}), `"tokenizer.ggml.scores": 1 of them`},
		"no bytes":           {set(spm, "token_type", slices.Repeat([]int32{1}, 259+len(words))), "no token for byte 0x00"},
		"bad byte":           {set(spm, "token_type", slices.Repeat([]int32{6}, 259+len(words))), `"<unk>"`},
		"twice":              {pieces([]string{"a", "a"}), `"a" is both 259 and 260`},
		"nameless":           {pieces([]string{"a", ""}), "260 is empty"},
		"an endless piece":   {pieces([]string{"a", strings.Repeat("b", 1<<20)}), `"tokenizer.ggml.tokens": 260 has 1048576 bytes, the limit is 512`},
		"no such first":      {set(spm, "bos_token_id", uint32(9999)), `"tokenizer.ggml.bos_token_id": no token has id 9999`},
		"endless first":      {set(spm, "bos_token_id", uint64(1<<40)), `"tokenizer.ggml.bos_token_id": 1099511627776 is no token`},
		"flag as number":     {set(spm, "add_bos_token", uint32(1)), `"tokenizer.ggml.add_bos_token": is a uint32, not a bool`},
		"prefix as number":   {set(spm, "add_space_prefix", uint32(1)), `"tokenizer.ggml.add_space_prefix"`},
		"unknown pieces":     {set(bpe, "pre", "tekken"), `"tokenizer.ggml.pre": "tekken" is unknown; known are [deepseek-r1-qwen default`},
		"no merges":          {set(bpe, "merges", nil), `"tokenizer.ggml.merges"`},
		"bad merge":          {set(bpe, "merges", []string{"abc"}), `"tokenizer.ggml.merges": 0: "abc" is not two tokens`},
		"merge of strangers": {set(bpe, "merges", []string{"日 本"}), "is not in model.vocab"},
		"token twice":        {set(bpe, "tokens", append([]string{alphabet[0]}, alphabet...)), "is both"},
		"not all bytes":      {set(bpe, "tokens", alphabet[:100]), "no token"},
	} {
		_, err := tokenizer.LoadGGUF(metadata(t, c.pairs...), "some.gguf")
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "some.gguf") {
			t.Errorf("%s: got %v, want an error of some.gguf with %q", name, err, c.want)
		}
	}
	if _, err := tokenizer.LoadGGUF(nil, "bare.gguf"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file without a tokenizer gives %v", err)
	}
	if _, err := tokenizer.LoadGGUF(metadata(t, pair{"tokenizer.ggml.model", "none"}), "bare.gguf"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that says that it has no tokenizer gives %v", err)
	}
}

func TestTheChatTemplateOfAGGUFFileRuns(t *testing.T) {
	const template = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
	chat, err := tokenizer.LoadGGUFChat(metadata(t, pieces(words, pair{"tokenizer.chat_template", template})...), "file")
	if err != nil {
		t.Fatal(err)
	}
	got, err := chat.Render([]tokenizer.Message{{Role: "user", Content: "hi"}}, true, nil)
	if want := "<s>[user]hi</s>"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if _, err := tokenizer.LoadGGUFChat(metadata(t, pieces(words)...), "file"); !errors.Is(err, tokenizer.ErrNoChatTemplate) {
		t.Errorf("a file without a template gives %v", err)
	}
	for name, c := range map[string]struct {
		further pair
		want    string
	}{
		"a number":   {pair{"tokenizer.chat_template", uint8(1)}, `"tokenizer.chat_template"`},
		"no program": {pair{"tokenizer.chat_template", "{% for %}"}, "tokenizer.chat_template"},
	} {
		if _, err := tokenizer.LoadGGUFChat(metadata(t, pieces(words, c.further)...), "some.gguf"); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "some.gguf") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// FuzzLoadGGUF loads whatever parses, and encodes with what loads: SentencePiece gives any text back.
func FuzzLoadGGUF(f *testing.F) {
	small := func(pairs []pair) []byte {
		var entries []ggufwrite.Pair
		for _, p := range pairs {
			entries = append(entries, ggufwrite.Pair{Key: p.key, Value: p.value})
		}
		var b bytes.Buffer
		if err := ggufwrite.Write(&b, entries, nil); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	f.Add(small(pieces(words, pair{"tokenizer.chat_template", "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"})), "the é€\n  日 baba")
	f.Add(small([]pair{{"tokenizer.ggml.model", "gpt2"}, {"tokenizer.ggml.tokens", []string{"a", "b", "ab"}}, {"tokenizer.ggml.merges", []string{"a b"}}}), "ab")
	f.Fuzz(func(t *testing.T, file []byte, text string) {
		parsed, err := gguf.Parse(file)
		if err != nil {
			return
		}
		if chat, err := tokenizer.LoadGGUFChat(parsed.Metadata, "file"); err == nil {
			_, _ = chat.Render([]tokenizer.Message{{Role: "user", Content: text}}, true, nil) // may refuse, must not panic
		}
		tok, err := tokenizer.LoadGGUF(parsed.Metadata, "file")
		if err != nil {
			return
		}
		ids, err := tok.EncodePrompt(text, false)
		var slow *tokenizer.SlowPatternError
		if err != nil && !errors.As(err, &slow) {
			t.Fatal(err)
		}
		for _, id := range ids {
			if id < 0 || int(id) >= tok.VocabSize() {
				t.Fatalf("%q has token %d of %d", text, id, tok.VocabSize())
			}
		}
		_ = tok.Decode(ids)
	})
}
