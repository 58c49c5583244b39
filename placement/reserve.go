package placement

import (
	"fmt"
	"sort"
)

// Reservation is where a model is in each of the modes that it may move between while it runs, each at the
// full context. [Reservation.Promises] is what nodes have to keep free for that.
type Reservation struct {
	Plans   map[Mode]*Plan    // the modes that fit
	Refused map[Mode]*Refusal // those that do not
	f       *footprint        // with the layers that were chosen
	free    *footprint        // with those only that were given
}

// PlaceAll places a model that is loaded in r.Mode and may switch to the other modes. Pipeline and
// pooled have the same layers, so that switching moves no weights: a split in which both fit if there
// is one, otherwise that of r.Mode (or, when that is ring, of the first of the two that fits). The
// error is that of Place for r.Mode; that another mode does not fit is told in Refused.
func PlaceAll(r Request, modes []Mode) (*Reservation, error) {
	f, err := newFootprint(r)
	if err != nil {
		return nil, err
	}
	wanted := map[Mode]bool{r.Mode: true}
	for _, m := range modes {
		if m < Pipeline || m > Ring {
			return nil, fmt.Errorf("placement: %v is unknown", m)
		}
		wanted[m] = true
	}
	if _, ok := f.ranges(r.Mode); !ok {
		return nil, f.refuse(r.Mode)
	}
	res := &Reservation{f: f, free: f}
	if ranges, by, ok := f.shared(r.Mode, wanted); ok {
		res.f = f.pin(ranges, by)
	}
	res.place(wanted)
	return res, nil
}

// place fills in the plans, and the refusals of modes that do not fit.
func (r *Reservation) place(wanted map[Mode]bool) {
	r.Plans, r.Refused = map[Mode]*Plan{}, map[Mode]*Refusal{}
	for m := range wanted {
		p, refusal := r.f.place(m)
		if refusal != nil {
			r.Refused[m] = refusal
			continue
		}
		r.Plans[m] = p
	}
}

// shared is the split that pipeline and pooled have in common, and what decided it.
func (f *footprint) shared(load Mode, wanted map[Mode]bool) (ranges []Range, by string, ok bool) {
	if wanted[Pipeline] && wanted[Pooled] {
		if ranges, ok = f.layout(Pipeline, Pooled); ok {
			return ranges, f.pinnedBy, true
		}
	}
	for _, m := range []Mode{load, Pipeline, Pooled} {
		if m == Ring || !wanted[m] {
			continue
		}
		if ranges, ok = f.layout(m); ok {
			return ranges, m.String() + " mode", true
		}
	}
	return nil, "", false
}

// Switch reports whether a switch fits in every node's memory when sequences have come to a context
// of that many tokens, and all blocks are copied before any is dropped. The error is a *Refusal, with
// the longest context at which it would fit; a switch made in several smaller steps may still fit.
func (r *Reservation) Switch(from, to Mode, context int) error {
	for _, m := range []Mode{from, to} {
		if err := r.Refused[m]; err != nil {
			return err
		}
		if r.Plans[m] == nil {
			return fmt.Errorf("placement: %s mode was not reserved", m)
		}
	}
	full := r.Plans[from].Context
	if context < 1 || context > full {
		return fmt.Errorf("placement: context %d is not in 1..%d, which was reserved", context, full)
	}
	if from == to {
		return nil
	}
	refusal, ok := r.during(from, to, context)
	if ok {
		return nil
	}
	block := r.f.BlockTokens
	blocks := sort.Search((context-1)/block, func(n int) bool {
		_, ok := r.during(from, to, (n+1)*block)
		return !ok
	})
	refusal.MaxContext = blocks * block
	return refusal
}

// during adds up what nodes hold while a switch copies.
func (r *Reservation) during(from, to Mode, context int) (peak *Refusal, ok bool) {
	now := r.f.at(context)
	peak = &Refusal{Model: r.f.Model.Name, Mode: to, From: from, Context: context, Sequences: r.f.Sequences}
	a, b := r.Plans[from].Shares, r.Plans[to].Shares
	ok = true
	for i := range a {
		s := b[i]
		if a[i].Layers.Len() > s.Layers.Len() { // of two modes' layers, one's contain the other's
			s.Layers = a[i].Layers
		}
		s.Weights, s.Rest = max(a[i].Weights, b[i].Weights), max(a[i].Rest, b[i].Rest)
		s.KV = r.union(now, &a[i], &b[i], from, to, s.Layers) + now.windowsOf(s.Layers)
		ok = peak.add(s) && ok
	}
	return peak, ok
}

// union is the size of the blocks that a node holds in one mode or the other, or stages for the
// layers it computes in either. Plans with the same blocks on every node are taken to put the same
// blocks there.
func (r *Reservation) union(now *footprint, a, b *Share, from, to Mode, layers Range) int64 {
	inA, inB := r.held(now, a), r.held(now, b)
	if from == Pipeline || to == Pipeline {
		p, n := a, inB
		if to == Pipeline {
			p, n = b, inA
		}
		// All blocks of its own layers, where the other mode has only n and the staged ones.
		other := max(from, to)
		return now.tokenKV(other, layers, n) + now.kvOf(p.Layers, max(now.blocks-n-now.staged[other], 0))
	}
	both := max(inA+inB-now.blocks, 0)
	if r.sameBlocks(from, to) {
		both = inA
	}
	return now.tokenKV(Pooled, layers, inA+inB-both)
}

// held is how many of a sequence's blocks a node has at a context, at most: its share, rounded up.
func (r *Reservation) held(now *footprint, s *Share) int64 {
	return (int64(s.Blocks)*now.blocks + r.f.blocks - 1) / r.f.blocks
}

func (r *Reservation) sameBlocks(a, b Mode) bool {
	for i, s := range r.Plans[a].Shares {
		if s.Blocks != r.Plans[b].Shares[i].Blocks {
			return false
		}
	}
	return true
}
