package recall_test

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/recall"
	"github.com/orrery-ai/orrery/tokenizer"
)

// loadTokenizer is the embedded model's tokenizer.
func loadTokenizer(t *testing.T) *tokenizer.Tokenizer {
	t.Helper()
	m, err := recall.Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.File("tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	tk, err := tokenizer.Load(b, recall.Name)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

// must is v, of a call that cannot fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// counter counts the tokens of a text.
func counter(t *testing.T) func(string) (int, error) {
	tk := loadTokenizer(t)
	return func(s string) (int, error) { ids, err := tk.Encode(s, false); return len(ids), err }
}

func TestEmbeddedModelOpens(t *testing.T) {
	m, err := recall.Open()
	if err != nil {
		t.Fatal(err)
	}
	if c := m.Config; c.Layers != 6 || c.Hidden != 256 || !c.Tied || c.MaxPositions < recall.MaxTokens || len(c.EOS) != 1 {
		t.Errorf("config is %+v", c)
	}
	tk := loadTokenizer(t)
	if tk.VocabSize() != m.Config.Vocab || tk.Token(m.Config.EOS[0]) != "<|im_end|>" {
		t.Errorf("%d tokens for a vocabulary of %d, stop is %q", tk.VocabSize(), m.Config.Vocab, tk.Token(m.Config.EOS[0]))
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestDocumentsHaveTheTokensThatWereAskedFor(t *testing.T) {
	count := counter(t)
	for _, c := range []struct{ tokens, codes int }{
		{200, 2}, {1000, 0}, {1000, 5}, {8192, 40}, {60_000, 96}, {recall.MaxTokens, 96}, {400_000, 96},
	} {
		d, err := recall.Compose(count, c.tokens, c.codes, 7)
		if err != nil {
			t.Fatal(err)
		}
		got := must(count(d.Text))
		if got > c.tokens || got < c.tokens-12 {
			t.Errorf("asked for %d tokens, got %d", c.tokens, got)
		}
		if len(d.Codes) != c.codes || strings.Count(d.Text, "The secret code of the ") != c.codes {
			t.Errorf("asked for %d codes, got %d, in the text %d", c.codes, len(d.Codes), strings.Count(d.Text, "The secret code of the "))
		}
	}
}

func TestCodesLieAtEvenDepthsOnLinesOfTheirOwn(t *testing.T) {
	count := counter(t)
	const n = 20
	d, err := recall.Compose(count, 20_000, n, 3)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^[a-z]{4,9} [a-z]{4,9}$`)
	digits := regexp.MustCompile(`^[0-9]{4,6}$`)
	total, seen := must(count(d.Text)), map[string]bool{}
	for i, c := range d.Codes {
		before, _, ok := strings.Cut(d.Text, "\n"+c.Answer()+"\n")
		if !ok || !form.MatchString(c.Name) || !digits.MatchString(c.Code) || seen[c.Name] {
			t.Fatalf("code %+v is not on a line of its own, or not new", c)
		}
		seen[c.Name] = true
		if depth := float64(must(count(before+"\n"))) / float64(total); math.Abs(depth-c.Depth) > 1e-9 {
			t.Errorf("code %d is at depth %g, by its own account at %g", i, depth, c.Depth)
		}
		if even := (float64(i) + 0.5) / n; math.Abs(c.Depth-even) > 0.4/n+0.01 {
			t.Errorf("code %d is at depth %.3f, far from %.3f", i, c.Depth, even)
		}
	}
}

func TestDocumentsAreTheSameForOneSeedAndDifferForAnother(t *testing.T) {
	count := func(s string) (int, error) { return len(s) / 4, nil }
	compose := func(seed uint64) string {
		d, err := recall.Compose(count, 3000, 10, seed)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%+v", d)
	}
	if compose(1) != compose(1) {
		t.Error("one seed gave two documents")
	}
	if compose(1) == compose(2) {
		t.Error("two seeds gave one document")
	}
}

func TestCodesThatDoNotFitAreRefused(t *testing.T) {
	count := func(s string) (int, error) { return len(s) / 4, nil }
	for _, c := range []struct{ tokens, codes int }{{10, 2}, {0, 1}, {-5, 0}, {1000, 60}, {1000, -1}, {1 << 40, 1 << 40}} {
		if _, err := recall.Compose(count, c.tokens, c.codes, 1); err == nil {
			t.Errorf("%d codes in %d tokens were not refused", c.codes, c.tokens)
		}
	}
}

func TestDefaultCodesAreThoseOfTraining(t *testing.T) {
	for tokens, want := range map[int]int{0: 2, 1000: 5, 10_000: 50, 200_000: 96} {
		if got := recall.DefaultCodes(tokens); got != want {
			t.Errorf("%d tokens have %d codes, want %d", tokens, got, want)
		}
	}
}

func TestTurnsAreWordedAsInTraining(t *testing.T) {
	c := recall.Code{Name: "amber falcon", Code: "48213"}
	if got, want := c.FirstTurn(), "<|im_start|>user\nWhat is the secret code of the amber falcon?<|im_end|>\n<|im_start|>assistant\n"; got != want {
		t.Errorf("first turn %q", got)
	}
	if c.NextTurn() != "\n"+c.FirstTurn() || c.Answer() != "The secret code of the amber falcon is 48213." {
		t.Errorf("next turn %q, answer %q", c.NextTurn(), c.Answer())
	}
}
