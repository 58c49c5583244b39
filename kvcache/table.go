package kvcache

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/residence"
)

// Table is what one node holds in one epoch. It is immutable. What it lists stays where it is until its
// last user has released it, whatever becomes of the sequence.
type Table struct {
	Epoch  *residence.Epoch
	held   [][]attention.KV // by layer, by first token: what is held before Covered
	peers  [][]int          // by layer: the other nodes that hold tokens of it, ascending
	node   int
	users  atomic.Int32 // the sequence, until the epoch is retired, and who has it by Use
	memory extents      // of what is held
}

func newTable(e *residence.Epoch, node, layers int, blocks []*Block) (*Table, error) {
	type at struct{ layer, first int }
	index := map[at]*Block{}
	for _, b := range blocks {
		for l := b.Layers.First; l < b.Layers.End; l++ {
			if b.has(l) {
				index[at{l, b.Tokens.First}] = b
			}
		}
	}
	t := &Table{Epoch: e, held: make([][]attention.KV, layers), peers: make([][]int, layers), node: node}
	t.users.Store(1)
	for _, r := range e.HeldBy(node) {
		for l := r.Layers.First; l < r.Layers.End; l++ {
			for next := r.Tokens.First; next < r.Tokens.End; {
				b := index[at{l, next}]
				if b == nil || b.Tokens.End > r.Tokens.End || b.Layer(l).End() != b.Tokens.End {
					t.Release()
					return nil, fmt.Errorf("epoch %d: layer %d token %d of %v is not here", e.Number, l, next, r)
				}
				t.held[l] = append(t.held[l], *b.Layer(l))
				t.memory.add(b.extent(l))
				next = b.Tokens.End
			}
		}
	}
	for l := range layers {
		slices.SortFunc(t.held[l], func(a, b attention.KV) int { return a.First - b.First })
		for _, n := range e.Holders(l) {
			if n != node {
				t.peers[l] = append(t.peers[l], n)
			}
		}
	}
	return t, nil
}

// use makes the caller a user, unless the table is gone.
func (t *Table) use() bool {
	for n := t.users.Load(); n > 0; n = t.users.Load() {
		if t.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// Release says that who has the table by Use reads nothing of it any more.
func (t *Table) Release() {
	if t.users.Add(-1) == 0 {
		t.memory.release()
	}
}

// Held is what this node holds of a layer before Covered, by first token.
func (t *Table) Held(layer int) []attention.KV { return t.held[layer] }

// Peers lists the other nodes that hold tokens of a layer before Covered, ascending.
func (t *Table) Peers(layer int) []int { return t.peers[layer] }

// uses reports whether the epoch needs a layer of a block on this node: it is held, or it is newer than
// the epoch: in the owner's tail, or made by a round of ring prefill that no epoch accounts for yet.
func (t *Table) uses(layer int, b *Block) bool {
	if b.Tokens.First >= t.Epoch.Covered {
		return true
	}
	i, found := slices.BinarySearchFunc(t.held[layer], b.Tokens.First, func(kv attention.KV, first int) int { return kv.First - first })
	return found && b.has(layer) && &t.held[layer][i].K[0] == &b.Layer(layer).K[0] // this copy of it, if there are two
}
