package tokenizer

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// changed is testdata/gpt2.json with other fields.
func changed(t testing.TB, fields map[string]any) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/gpt2.json")
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]any
	if err := json.Unmarshal(b, &whole); err != nil {
		t.Fatal(err)
	}
	maps.Copy(whole, fields)
	if b, err = json.Marshal(whole); err != nil {
		t.Fatal(err)
	}
	return b
}

// nested is a component in so many sequences, the innermost of which has the parts.
func nested(key string, depth int, parts ...any) any {
	c := any(object{"type": "Sequence", key: parts})
	for range depth {
		c = object{"type": "Sequence", key: []any{c}}
	}
	return c
}

func splitBy(pattern string) object {
	return object{"type": "Split", "behavior": "Isolated", "pattern": object{"Regex": pattern}}
}

func TestHostileTokenizersAreRefusedByField(t *testing.T) {
	bytes := object{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}
	long := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct {
		fields object
		want   string
	}{
		"a long pattern":        {object{"pre_tokenizer": nested("pretokenizers", 0, splitBy(strings.Repeat("(", 1<<20)), bytes)}, "pre_tokenizer.pretokenizers[0].pattern: 1048576 bytes"},
		"a long text to cut at": {object{"pre_tokenizer": nested("pretokenizers", 0, object{"type": "Split", "behavior": "Isolated", "pattern": object{"String": long}}, bytes)}, "pre_tokenizer.pretokenizers[0].pattern: 1048576 bytes"},
		"an open bracket":       {object{"pre_tokenizer": nested("pretokenizers", 0, splitBy(strings.Repeat("(", maxPattern)), bytes)}, "pre_tokenizer.pretokenizers[0].pattern: "},
		"many patterns":         {object{"pre_tokenizer": nested("pretokenizers", 0, append(slices.Repeat([]any{splitBy("a")}, 1000), bytes)...)}, "pre_tokenizer: 1002 parts"},
		"deep normalizers":      {object{"normalizer": nested("normalizers", 3000, object{"type": "NFC"})}, "normalizer: 3002 parts"},
		"many processors":       {object{"post_processor": nested("processors", 50, slices.Repeat([]any{object{"type": "ByteLevel"}}, 1000)...)}, "post_processor: 1051 parts"},
		"many tokens around": {object{"post_processor": object{"type": "TemplateProcessing",
			"single":         slices.Repeat([]any{object{"SpecialToken": object{"id": "a"}}}, 10000),
			"special_tokens": object{"a": object{"ids": make([]int, 50)}}}}, "post_processor.single[1]: over 64"},
		"a token of many tokens": {object{"post_processor": object{"type": "TemplateProcessing",
			"single":         []any{object{"SpecialToken": object{"id": "a"}}},
			"special_tokens": object{"a": object{"ids": make([]int, 100000)}}}}, `post_processor.special_tokens["a"].ids: 100000`},
		"a long added token":  {object{"added_tokens": []any{object{"id": 5000, "content": long}}}, "added_tokens[0].content: 1048576 bytes"},
		"an id out of range":  {object{"added_tokens": []any{object{"id": 1 << 30, "content": "a"}}}, "added_tokens[0].id"},
		"a negative id":       {object{"added_tokens": []any{object{"id": -1, "content": "a"}}}, "added_tokens[0].id"},
		"a vocabulary of one": {object{"model": object{"type": "BPE", "vocab": object{long: 0}, "merges": []any{}}}, "model.vocab"},
		"a long merge":        {object{"model": object{"type": "BPE", "vocab": object{"a": 0}, "merges": []any{long}}}, "model.merges[0]"},
	} {
		_, err := Load(changed(t, c.fields), "m/tokenizer.json")
		if err == nil || !strings.HasPrefix(err.Error(), "m/tokenizer.json: "+c.want) {
			t.Errorf("%s: %.200v, want %s", name, err, c.want)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
}

// TestManyAddedTokensTakeBoundedMemory: what seeks them has an entry for each of their bytes.
func TestManyAddedTokensTakeBoundedMemory(t *testing.T) {
	var added []any
	for i := range 20000 {
		added = append(added, object{"id": 5000 + i, "content": strings.Repeat(string(rune(0x4e00+i)), 100)})
	}
	_, err := Load(changed(t, object{"added_tokens": added}), "m/tokenizer.json")
	if err == nil || !strings.Contains(err.Error(), "].content: the tokens that are sought in the text have over") {
		t.Errorf("%.200v", err)
	}
}

// TestAPatternThatSearchesForEverIsAnError: tokens of other pieces than the pattern's would be wrong ones.
func TestAPatternThatSearchesForEverIsAnError(t *testing.T) {
	tok, err := Load(changed(t, object{"pre_tokenizer": nested("pretokenizers", 0, splitBy(`\s`), splitBy(`(a+)+$`),
		object{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})}), "m/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	tok.stages[1].(*expression).re.MatchTimeout = 1 // so short that any real search outruns it
	text := strings.Repeat("a", 5000) + "b"
	for name, encode := range map[string]func(string, bool) ([]int32, error){"Encode": tok.Encode, "EncodePrompt": tok.EncodePrompt} {
		for _, special := range []bool{false, true} {
			began := time.Now()
			ids, err := encode(text, special)
			var slow *SlowPatternError
			if !errors.As(err, &slow) || ids != nil {
				t.Fatalf("%s: %d tokens, %v", name, len(ids), err)
			}
			if want := (SlowPatternError{"m/tokenizer.json", "pre_tokenizer.pretokenizers[1].pattern", `(a+)+$`, len(text)}); *slow != want {
				t.Errorf("%s: %+v, want %+v", name, *slow, want)
			}
			if took := time.Since(began); took > searchIn(text).left+patience {
				t.Errorf("%s: it took %v", name, took)
			}
		}
	}
	const other = "aaa b"
	if ids, err := tok.Encode(other, false); err != nil || tok.Decode(ids) != other {
		t.Errorf("of a text behind: %v, %v", ids, err)
	}
}

// patience is more than machines that do other work besides take for what takes no time.
const patience = 30 * time.Second

// TestSlowPatternsEndWithTheirTime: each piece has matches to find, none of which takes as long as one may.
func TestSlowPatternsEndWithTheirTime(t *testing.T) {
	slow := `(?:a|aa|ab)+[cd]|.`
	tok, err := Load(changed(t, object{"pre_tokenizer": nested("pretokenizers", 0, splitBy(`\w+`), splitBy(slow), splitBy(slow),
		object{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})}), "m")
	if err != nil {
		t.Fatal(err)
	}
	e := newEncoder(tok)
	text := strings.Repeat(strings.Repeat("a", 28)+" ", 100)
	e.search = search{left: 50 * time.Millisecond}
	e.text(text)
	if e.search.stuck == nil || e.search.left > 0 || e.search.left < -2*matchDeadline {
		t.Errorf("of the time to search %v are left", e.search.left)
	}
}

// TestTokensOfWhiteSpaceDoNotSearchItAgain: a token that takes the white space before it must not look at what others have taken. Of so many
// a search that did would not end before the tests' time is up.
func TestTokensOfWhiteSpaceDoNotSearchItAgain(t *testing.T) {
	var set addedSet
	if err := set.add(addedToken{ID: 7, LStrip: true}, " "); err != nil {
		t.Fatal(err)
	}
	const n = 1 << 22
	tokens := 0
	set.split(strings.Repeat(" ", n), func(int32) { tokens++ }, func(s string) { t.Errorf("%q is left", s) })
	if tokens != n {
		t.Errorf("%d tokens, want %d", tokens, n)
	}
}
