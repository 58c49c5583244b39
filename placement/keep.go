package placement

import "sort"

// Kept is what a node keeps for a model that moves between some modes, in bytes. What a mode has brought stays
// when another takes over: weights that were loaded, and buffers that were written to.
type Kept struct {
	Fixed int64 // weights, and the rest
	KV    int64
}

// Keep is what the nodes keep, in node order, for a model that is loaded in a mode, which must be one of
// Plans, and moves to the others. A mode for which they have no room beside what was promised already goes
// from Plans to Refused.
func (r *Reservation) Keep(load Mode) []Kept {
	modes := []Mode{load}
	for m := Pipeline; m <= Ring; m++ {
		if m == load || r.Plans[m] == nil {
			continue
		}
		with := append([]Mode{m}, modes...)
		if refusal, ok := r.together(r.f, with); !ok {
			refusal.Mode, refusal.From, refusal.Beside = m, load, true
			refusal.MaxContext = r.f.BlockTokens * sort.Search(int(r.f.blocks)-1, func(n int) bool {
				_, ok := r.together(r.f.at((n+1)*r.f.BlockTokens), with)
				return !ok
			})
			delete(r.Plans, m)
			r.Refused[m] = refusal
			continue
		}
		modes = with
	}
	sum, _ := r.together(r.f, modes)
	kept := make([]Kept, len(sum.Rows))
	for i, row := range sum.Rows {
		kept[i] = Kept{Fixed: row.Weights + row.Rest, KV: row.KV}
	}
	return kept
}

// together adds up what nodes keep for all of some modes, or reports false when one of them lacks room.
func (r *Reservation) together(f *footprint, modes []Mode) (sum *Refusal, ok bool) {
	sum = &Refusal{Model: f.Model.Name, Context: f.Context, Sequences: f.Sequences}
	rows := make([]Share, len(f.Nodes))
	for _, m := range modes {
		p, refusal := f.place(m)
		if refusal != nil {
			return refusal, false
		}
		for i, s := range p.Shares {
			row := &rows[i]
			row.Node, row.Has = s.Node, s.Has
			if row.Layers.Len() < s.Layers.Len() { // of two modes' layers, one's contain the other's
				row.Layers = s.Layers
			}
			row.Weights, row.KV, row.Rest = max(row.Weights, s.Weights), max(row.KV, s.KV), max(row.Rest, s.Rest)
			row.Blocks = max(row.Blocks, s.Blocks)
		}
	}
	ok = true
	for i, row := range rows {
		if len(modes) > 1 && row.Needs() > 0 {
			blocks := f.blocks // in pipeline, of its layers
			if row.Layers.Len() == 0 {
				blocks = min(int64(row.Blocks)+f.staged[Pooled], f.blocks)
			}
			row.Rest = max(row.Rest, f.rest(0, i, row.Layers, blocks))
		}
		ok = sum.add(row) && ok
	}
	return sum, ok
}
