package recall

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Document is a text with codes hidden in it.
type Document struct {
	Text  string // lines; the last one ends in a newline too
	Codes []Code // in the order of the text
}

// DefaultCodes is how many codes a training document of so many tokens had.
func DefaultCodes(tokens int) int { return max(2, min(96, tokens/200)) }

// stream is the second half of the seed of every document.
const stream = 0x6f7272657279

// tries is how many glossary lines may be passed over, at the end, for one that still fits.
const tries = 64

// Compose writes a document of at most so many tokens, and short of it by a few at the most, with so
// many codes at evenly spread depths, give or take. The same arguments always give the same document.
// Text longer than the glossary repeats it. count is the number of tokens of a text; it is called with
// one line at a time, at whose ends no token of the embedded model's tokenizer crosses.
// The error is of count, or says that the codes do not fit.
func Compose(count func(string) (int, error), tokens, codes int, seed uint64) (Document, error) {
	g, err := loadGlossary()
	if err != nil {
		return Document{}, err
	}
	if limit := len(g.adjectives) * len(g.nouns) / 2; codes < 0 || codes > limit {
		return Document{}, fmt.Errorf("recall: %d codes are not between 0 and %d", codes, limit)
	}
	rng := rand.New(rand.NewPCG(seed, stream))
	c := composer{count: count, rng: rng, glossary: g}
	doc := Document{Codes: c.codes(codes)}
	var needles []line
	needed := 0
	for _, code := range doc.Codes {
		l, err := c.line(code.Answer() + "\n")
		if err != nil {
			return Document{}, err
		}
		needles = append(needles, l)
		needed += l.tokens
	}
	body := tokens - needed
	if body < needed { // a document is mostly text
		return Document{}, fmt.Errorf("recall: a document of %d tokens has no room for %d codes of %d tokens together", tokens, codes, needed)
	}
	lines, err := c.lines(body)
	if err != nil {
		return Document{}, err
	}
	doc.Text = c.join(lines, needles, doc.Codes)
	return doc, nil
}

// composer is what the parts of Compose share.
type composer struct {
	count    func(string) (int, error)
	rng      *rand.Rand
	glossary *glossary
}

// line is a line of text and its tokens.
type line struct {
	text   string
	tokens int
}

// line counts the tokens of a line.
func (c *composer) line(text string) (line, error) {
	n, err := c.count(text)
	if err != nil {
		return line{}, fmt.Errorf("recall: %w", err)
	}
	return line{text, n}, nil
}

// codes draws n codes with different names.
func (c *composer) codes(n int) []Code {
	out := make([]Code, 0, n)
	seen := map[string]bool{}
	for len(out) < n {
		g := c.glossary
		name := g.adjectives[c.rng.IntN(len(g.adjectives))] + " " + g.nouns[c.rng.IntN(len(g.nouns))]
		if seen[name] {
			continue
		}
		seen[name] = true
		digits := make([]byte, 4+c.rng.IntN(3))
		for i := range digits {
			digits[i] = byte('0' + c.rng.IntN(10))
		}
		out = append(out, Code{Name: name, Code: string(digits)})
	}
	return out
}

// lines takes glossary lines from a random one on, up to so many tokens.
func (c *composer) lines(tokens int) (out []line, err error) {
	all := c.glossary.lines
	at, passed := c.rng.IntN(len(all)), 0
	for tokens > 0 && passed < tries {
		l, err := c.line(all[at%len(all)])
		if err != nil {
			return nil, err
		}
		at++
		if l.tokens > tokens {
			passed++
			continue
		}
		tokens -= l.tokens
		out = append(out, l)
	}
	return out, nil
}

// join puts the needles, which the codes are written in, between the lines, code i where part (i+1/2)/n of the lines' tokens have gone by,
// moved by up to 0.4/n, and notes the depths.
func (c *composer) join(lines, needles []line, codes []Code) string {
	total := 0
	for _, l := range lines {
		total += l.tokens
	}
	place := make([]float64, len(codes)) // in tokens of lines
	for i := range place {
		place[i] = (float64(i) + 0.5 + 0.8*(c.rng.Float64()-0.5)) / float64(len(codes)) * float64(total)
	}
	var text strings.Builder
	done, next := 0, 0 // tokens of the text so far, codes placed
	gone := 0          // tokens of the lines so far
	put := func() {
		codes[next].Depth = float64(done)
		text.WriteString(needles[next].text)
		done += needles[next].tokens
		next++
	}
	for _, l := range lines {
		for next < len(codes) && place[next] <= float64(gone) {
			put()
		}
		text.WriteString(l.text)
		done += l.tokens
		gone += l.tokens
	}
	for next < len(codes) {
		put()
	}
	for i := range codes {
		codes[i].Depth /= float64(max(done, 1))
	}
	return text.String()
}
