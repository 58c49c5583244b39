package tokenizer

import (
	"slices"
	"unicode/utf8"
)

// merge is one rule of the vocabulary: a pair of neighbours that may become one token.
type merge struct {
	rank int32 // order in which the rule was learned: the lowest applies first
	id   int32 // the token that the pair becomes
}

// pairKey packs a pair of token ids for the merge table.
func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// symbol is a token of the word being merged, linked to its neighbours by index; -1 ends the list.
// A symbol that has been absorbed by its left neighbour has id -1.
type symbol struct{ id, prev, next int32 }

// proposal is a merge that was possible when it was queued. order holds the rank in its upper half and
// the position in its lower, so that the lowest rank wins and among equals the leftmost.
type proposal struct {
	order uint64
	id    int32
}

// merger turns one word into tokens by applying merges, lowest rank first. A linked list of symbols and
// a heap of proposals keep a word of n bytes at O(n log n), whatever the word: prompts are not trusted.
type merger struct {
	symbols []symbol
	heap    []proposal
}

// retained is the largest word, in bytes, whose scratch a merger keeps for the next.
const retained = 1 << 16

// run appends the tokens of word to dst.
func (m *merger) run(dst []int32, t *Tokenizer, word string) []int32 {
	m.symbols = slices.Grow(m.symbols[:0], len(word))
	m.heap = m.heap[:0]
	for at := 0; at < len(word); {
		id, width := t.byteID[word[at]], 1
		if t.characters {
			id, width = t.character(word[at:])
		}
		i := int32(len(m.symbols))
		m.symbols = append(m.symbols, symbol{id, i - 1, i + 1})
		at += width
	}
	m.symbols[len(m.symbols)-1].next = -1
	for i := range len(m.symbols) - 1 {
		if r, ok := t.merges[pairKey(m.symbols[i].id, m.symbols[i+1].id)]; ok {
			m.heap = append(m.heap, proposal{uint64(r.rank)<<32 | uint64(i), r.id})
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}

	for len(m.heap) > 0 {
		top := m.pop()
		at := int32(uint32(top.order))
		left := &m.symbols[at]
		if left.id < 0 || left.next < 0 {
			continue
		}
		right := &m.symbols[left.next]
		// Symbols only grow, so a proposal whose pair has changed since no longer gives its token.
		if r, ok := t.merges[pairKey(left.id, right.id)]; !ok || r.id != top.id {
			continue
		}
		left.id, left.next = top.id, right.next
		right.id = -1
		if left.next >= 0 {
			m.symbols[left.next].prev = at
			m.propose(t, at)
		}
		if left.prev >= 0 {
			m.propose(t, left.prev)
		}
	}

	for i := int32(0); i >= 0; i = m.symbols[i].next {
		dst = append(dst, m.symbols[i].id)
	}
	if cap(m.symbols) > retained {
		*m = merger{}
	}
	return dst
}

// character is the token of the character that s begins with, or of its first byte, and the bytes that it takes.
func (t *Tokenizer) character(s string) (id int32, width int) {
	if _, w := utf8.DecodeRuneInString(s); w > 1 {
		if id, ok := t.ids[s[:w]]; ok {
			return id, w
		}
	}
	return t.byteID[s[0]], 1
}

// propose queues the merge of the symbol at i with its right neighbour, if there is such a rule.
func (m *merger) propose(t *Tokenizer, i int32) {
	s := m.symbols[i]
	r, ok := t.merges[pairKey(s.id, m.symbols[s.next].id)]
	if !ok {
		return
	}
	m.heap = append(m.heap, proposal{uint64(r.rank)<<32 | uint64(i), r.id})
	for c := len(m.heap) - 1; c > 0; {
		parent := (c - 1) / 2
		if m.heap[parent].order <= m.heap[c].order {
			break
		}
		m.heap[parent], m.heap[c] = m.heap[c], m.heap[parent]
		c = parent
	}
}

func (m *merger) pop() proposal {
	top := m.heap[0]
	last := len(m.heap) - 1
	m.heap[0] = m.heap[last]
	m.heap = m.heap[:last]
	m.down(0)
	return top
}

// down restores the heap below i.
func (m *merger) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(m.heap) {
			return
		}
		if c+1 < len(m.heap) && m.heap[c+1].order < m.heap[c].order {
			c++
		}
		if m.heap[i].order <= m.heap[c].order {
			return
		}
		m.heap[i], m.heap[c] = m.heap[c], m.heap[i]
		i = c
	}
}
