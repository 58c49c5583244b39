package placement

import (
	"slices"
	"sort"
)

// Promise is what a node keeps for a loaded model, in bytes.
type Promise struct {
	Fixed int64 // weights, activations and the rest: what they come to in whatever modes sequences are
	KV    int64 // KV cache of all sequences: of the mode that takes most
}

// ahead is how many chunks of a pooled prefill the first owner should have room to stage, so that it seldom waits
// for blocks to reach their holder: each of the nodes is at a chunk of its own and one more waits, and what was
// spread meanwhile is kept until the steps that were under way are done.
func ahead(nodes int) int { return 2 * (nodes + 1) }

// Promises is what every node keeps so that each sequence can be in any mode of Plans, whatever modes the
// others are in. A node with the weights for one mode may need the KV cache for another at the same time, so
// modes that fit only by themselves are given up: they move from Plans to Refused, the mode of loading last. In
// pooled, blocks are then planned to be where they are in ring, which has the least room for them.
// staged is for how many blocks of each sequence the owner of a layer has room, in pooled, until they reach their
// holder: what a plan counts, or more where all nodes have it, so that prefill does not wait.
func (r *Reservation) Promises(load Mode) (promises []Promise, staged int) {
	kept := r.f.kept(r.Plans, load, func(m Mode, beside []Mode) {
		r.Refused[m] = r.f.refuseBeside(m, beside, r.Plans)
	})
	for m := range r.Refused {
		delete(r.Plans, m)
	}
	r.f.settle(r.Plans)
	most := ahead(len(r.f.Nodes))*r.f.Chunk + r.f.BlockTokens
	wanted := int(min(int64((most+r.f.BlockTokens-1)/r.f.BlockTokens), r.f.blocks))
	least := int(r.f.staged[Pooled])
	more := sort.Search(max(wanted-least, 0), func(n int) bool {
		return !r.f.staging(least+n+1).fitTogether(r.Plans, kept)
	})
	f := r.f.staging(least + more)
	for i := range f.Nodes {
		s := f.together(r.Plans, kept, i)
		promises = append(promises, Promise{Fixed: s.Weights + s.Rest, KV: s.KV})
	}
	return promises, least + more
}

// kept is the modes of plans that fit together, that of loading first. It tells of the others beside which they do not.
func (f *footprint) kept(plans map[Mode]*Plan, load Mode, refused func(m Mode, beside []Mode)) (kept []Mode) {
	for _, m := range []Mode{load, Pipeline, Pooled, Ring} {
		if plans[m] == nil || slices.Contains(kept, m) {
			continue
		}
		if !f.fitTogether(plans, append(kept, m)) {
			refused(m, kept)
			continue
		}
		kept = append(kept, m)
	}
	return kept
}

// settle has pooled hold the blocks that ring does, if that is among the modes that are kept.
func (f *footprint) settle(plans map[Mode]*Plan) {
	if plans[Pooled] == nil || plans[Ring] == nil {
		return
	}
	p := *plans[Pooled]
	p.Shares = slices.Clone(p.Shares)
	for i, s := range p.Shares {
		p.Shares[i] = f.share(Pooled, i, s.Layers, int64(plans[Ring].Shares[i].Blocks))
	}
	plans[Pooled] = &p
}

// staging is f with room for so many staged blocks in pooled.
func (f *footprint) staging(blocks int) *footprint {
	g := *f
	g.staged[Pooled] = int64(blocks)
	return &g
}

// together is what a node takes for several modes at once. What a mode has brought stays when another takes
// over: weights that were loaded, and buffers that were written to. In pooled, blocks are where they are in
// ring if that is among the modes.
func (f *footprint) together(plans map[Mode]*Plan, modes []Mode, node int) Share {
	var sum Share
	for _, m := range modes {
		of := plans[m].Shares[node]
		blocks := of.Blocks
		if m == Pooled && slices.Contains(modes, Ring) {
			blocks = plans[Ring].Shares[node].Blocks
		}
		s := f.share(m, node, of.Layers, int64(blocks))
		sum.Node, sum.Has, sum.Memory, sum.Blocks = s.Node, s.Has, s.Memory, max(sum.Blocks, s.Blocks)
		if sum.Layers.Len() < s.Layers.Len() { // of two modes' layers, one's contain the other's
			sum.Layers = s.Layers
		}
		sum.Weights, sum.KV, sum.Rest = max(sum.Weights, s.Weights), max(sum.KV, s.KV), max(sum.Rest, s.Rest)
	}
	if len(modes) > 1 && sum.Needs() > 0 {
		blocks := f.blocks // in pipeline, of its layers
		if sum.Layers.Len() == 0 {
			blocks = min(int64(sum.Blocks)+f.staged[Pooled], f.blocks)
		}
		sum.Rest = max(sum.Rest, f.rest(0, node, sum.Layers, int64(sum.Blocks), blocks))
	}
	return sum
}

func (f *footprint) fitTogether(plans map[Mode]*Plan, modes []Mode) bool {
	for i := range f.Nodes {
		if s := f.together(plans, modes, i); s.Needs() > s.Has {
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
		r.add(f.together(plans, all, i))
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
