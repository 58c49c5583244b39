package tokenizer

import "fmt"

// addedToken is a token that is found in the text itself, before any splitting: control tokens such as
// <|im_end|>, and words that were added to a vocabulary after it was made.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only where no word touches it
	LStrip     bool   `json:"lstrip"`      // takes the white space before it
	RStrip     bool   `json:"rstrip"`      // takes the white space behind it
	Normalized bool   `json:"normalized"`  // sought in the normalised text
	Special    bool   `json:"special"`     // controls the model; hidden from readers
}

// addedSet finds added tokens: leftmost, and of those that start together the longest. A trie keeps text
// that only looks like tokens cheap, however many tokens there are.
type addedSet struct {
	tokens []addedToken
	first  [256]bool         // bytes that begin a token
	next   map[uint64]uint32 // node<<8|byte → node; node 0 is the root
	ends   map[uint32]int    // node → the token that ends there
}

// What text is held to for each of its characters is at most as long as a token.
const (
	maxAdded    = 512     // bytes of an added token
	maxAddedAll = 1 << 20 // and of all of them, without those that they begin with together
)

func (a *addedSet) add(t addedToken, content string) error {
	switch {
	case len(content) > maxAdded:
		return fmt.Errorf("%d bytes, the limit is %d", len(content), maxAdded)
	case len(a.next)+len(content) > maxAddedAll:
		return fmt.Errorf("the tokens that are sought in the text have over %d bytes in all", maxAddedAll)
	}
	if a.next == nil {
		a.next, a.ends = map[uint64]uint32{}, map[uint32]int{}
	}
	a.first[content[0]] = true
	node := uint32(0)
	for i := range len(content) {
		edge := uint64(node)<<8 | uint64(content[i])
		child, ok := a.next[edge]
		if !ok {
			child = uint32(len(a.next) + 1)
			a.next[edge] = child
		}
		node = child
	}
	a.ends[node] = len(a.tokens)
	a.tokens = append(a.tokens, t)
	return nil
}

// longest is the longest token that s begins with, and its length in bytes: 0 if there is none.
func (a *addedSet) longest(s string) (t *addedToken, length int) {
	node := uint32(0)
	for i := range len(s) {
		child, ok := a.next[uint64(node)<<8|uint64(s[i])]
		if !ok {
			break
		}
		node = child
		if k, ok := a.ends[node]; ok {
			t, length = &a.tokens[k], i+1
		}
	}
	return t, length
}

// split calls token for each added token of text and between for each non-empty stretch of text between
// them, in order.
func (a *addedSet) split(text string, token func(id int32), between func(string)) {
	if text == "" {
		return
	}
	done := 0
	for i := 0; len(a.tokens) > 0 && i < len(text); {
		if !a.first[text[i]] {
			i++
			continue
		}
		t, length := a.longest(text[i:])
		if length == 0 {
			i++
			continue
		}
		start, end := i, i+length
		i = end
		if t.SingleWord && (endsInWord(text[:start]) || startsWithWord(text[end:])) {
			continue
		}
		if t.LStrip {
			start = done + trimSpaceRight(text[done:start])
		}
		if t.RStrip {
			end += spaceLeft(text[end:])
		}
		if done < start {
			between(text[done:start])
		}
		token(t.ID)
		done, i = end, end
	}
	if done < len(text) {
		between(text[done:])
	}
}
