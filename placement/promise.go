package placement

import (
	"slices"
	"sort"
)

// Promise is what a node keeps for a loaded model, in bytes.
type Promise struct {
	Fixed int64 // weights, activations and the rest: of the mode that takes most
	KV    int64 // KV cache of all sequences: of the mode that takes most
}

// spareChunks is how many chunks of a pooled prefill an owner should have room to stage besides one for each
// node, which are being computed: those of which blocks are on their way, or wait for that.
const spareChunks = 4

// Promises is what every node keeps so that each sequence can be in any mode of Plans, whatever modes the
// others are in. A node with the weights for one mode may need the KV cache for another at the same time, so
// modes that fit only by themselves are given up: they move from Plans to Refused, the mode of loading last.
// staged is for how many blocks of each sequence the owner of a layer has room in pooled until they reach their
// holder: what a plan counts, or more where all nodes have it, so that a prefill does not wait.
//
// What is kept for the cache is what sequences may come to store (package residence counts it in the same way):
// pooled has the blocks of ring where that fits, and in ring only the node that owns the layers stages any.
func (r *Reservation) Promises(load Mode) (promises []Promise, staged int) {
	var kept []Mode
	for _, m := range []Mode{load, Pipeline, Pooled, Ring} {
		if r.Plans[m] == nil || slices.Contains(kept, m) {
			continue
		}
		if !r.f.fitTogether(r.Plans, append(kept, m)) {
			r.Refused[m] = r.f.refuseBeside(m, kept, r.Plans)
			delete(r.Plans, m)
			continue
		}
		kept = append(kept, m)
	}
	most := (len(r.f.Nodes)+spareChunks)*r.f.Chunk + r.f.BlockTokens
	wanted := int(min(int64((most+r.f.BlockTokens-1)/r.f.BlockTokens), r.f.blocks))
	least := int(r.f.least)
	more := sort.Search(max(wanted-least, 0), func(n int) bool {
		return !r.f.staging(int64(least+n+1)).fitTogether(r.Plans, kept)
	})
	f := r.f.staging(int64(least + more))
	for i := range f.Nodes {
		p, _ := f.together(r.Plans, kept, i)
		promises = append(promises, p)
	}
	return promises, least + more
}

// staging is f with room for so many staged blocks.
func (f *footprint) staging(blocks int64) *footprint {
	g := *f
	g.staged = blocks
	return &g
}

// together is what a node takes for several modes at once, and whether it has that much.
func (f *footprint) together(plans map[Mode]*Plan, modes []Mode, node int) (Promise, bool) {
	var p Promise
	for _, m := range modes {
		s := plans[m].Shares[node]
		blocks := int64(s.Blocks)
		if m == Pooled && slices.Contains(modes, Ring) {
			blocks = int64(plans[Ring].Shares[node].Blocks)
		}
		kv := int64(0)
		switch {
		case m == Pipeline:
			kv = f.kvOf(s.Layers, f.blocks) + f.windowsOf(s.Layers)
		case m == Pooled:
			kv = f.tokenKV(s.Layers, blocks) + f.windowsOf(s.Layers)
		case plans[Ring].Owner == node:
			kv = f.staging(f.least).tokenKV(s.Layers, blocks) + f.windowsOf(s.Layers)
		default:
			kv = f.kvOf(f.all(), blocks)
		}
		p.Fixed, p.KV = max(p.Fixed, s.Weights+s.Rest), max(p.KV, kv)
	}
	return p, p.Fixed+p.KV <= f.Nodes[node].free()
}

func (f *footprint) fitTogether(plans map[Mode]*Plan, modes []Mode) bool {
	for i := range f.Nodes {
		if _, ok := f.together(plans, modes, i); !ok {
			return false
		}
	}
	return true
}

// refuseBeside explains why a mode that would fit by itself does not fit beside others.
func (f *footprint) refuseBeside(mode Mode, others []Mode, plans map[Mode]*Plan) *Refusal {
	r := &Refusal{Model: f.Model.Name, Mode: mode, Beside: others, Context: f.Context, Sequences: f.Sequences}
	all := append(slices.Clone(others), mode)
	for i := range f.Nodes {
		p, _ := f.together(plans, all, i)
		s := plans[mode].Shares[i]
		s.Weights, s.KV = p.Fixed-s.Rest, p.KV
		r.add(s)
	}
	fits := func(g *footprint) bool {
		at := map[Mode]*Plan{}
		for _, m := range all {
			p, refusal := g.place(m)
			if refusal != nil {
				return false
			}
			at[m] = p
		}
		return g.fitTogether(at, all)
	}
	r.MaxContext = f.longest(fits)
	r.MaxSeqs = f.mostSequences(fits)
	return r
}
