package placement

import "fmt"

// footprint answers what any range of layers takes on any node, for one request.
type footprint struct {
	Request
	layers   int
	weights  []int64  // [layers+1] prefix sums of LayerBytes
	kv       []int64  // [layers+1] prefix sums of KVBytesPerToken, of layers that attend to all tokens
	windows  []int64  // [layers+1] prefix sums of what the other layers keep of one sequence
	rest     int64    // of a node that takes part
	blocks   int64    // of one sequence at the full context
	staged   int64    // blocks of a sequence that the owner of a layer may have before they reach their holder
	least    int64    // and that it must have room for
	aim      []int64  // layers in proportion to bandwidth, [nodes]
	pinned   []*Range // layers that are not ours to choose, [nodes]
	pinnedBy string   // what pinned them, for refusals
}

func newFootprint(r Request) (*footprint, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	f := &footprint{Request: r, layers: len(r.Model.LayerBytes), rest: RuntimeBytes}
	if r.Model.ScratchBytes != nil {
		f.rest += r.Model.ScratchBytes(r.Chunk)
	}
	full := make([]int64, f.layers)
	for l, k := range r.Model.KVBytesPerToken {
		if r.Model.window(l) == 0 {
			full[l] = k
		}
	}
	f.weights, f.kv = prefix(r.Model.LayerBytes), prefix(full)
	f.setContext(r.Context)

	f.pinned = make([]*Range, len(r.Nodes))
	for i, n := range r.Nodes {
		if o, ok := r.Overrides[n.Name]; ok {
			f.pinned[i] = &o
			f.pinnedBy = "the overrides"
		}
	}
	f.aim = f.proportional()
	_, ok := split(len(r.Nodes), f.layers, func(i int, rg Range) (cost, bool) { return cost{}, f.allowed(i, rg) })
	if !ok {
		return nil, fmt.Errorf("placement: overrides %v leave no contiguous split of %d layers in node order", r.Overrides, f.layers)
	}
	return f, nil
}

func prefix(v []int64) []int64 {
	sum := make([]int64, len(v)+1)
	for i, x := range v {
		sum[i+1] = sum[i] + x
	}
	return sum
}

// setContext sets what depends on the context.
func (f *footprint) setContext(tokens int) {
	block, chunk := int64(f.BlockTokens), int64(f.Chunk)
	f.Context = tokens
	f.blocks = (int64(tokens) + block - 1) / block
	f.least = min((chunk+block-1)/block+1, f.blocks)
	f.staged = f.least
	f.windows = make([]int64, f.layers+1)
	for l, k := range f.Model.KVBytesPerToken {
		kept := int64(0)
		if w := int64(min(f.Model.window(l), tokens)); w > 0 {
			kept = k * block * min((w+block-1)/block+f.staged, f.blocks)
		}
		f.windows[l+1] = f.windows[l] + kept
	}
}

// at is f at another context.
func (f *footprint) at(tokens int) *footprint {
	g := *f
	g.setContext(tokens)
	return &g
}

// pin is f with its layers given.
func (f *footprint) pin(ranges []Range, by string) *footprint {
	g := *f
	g.pinnedBy = by
	g.pinned = make([]*Range, len(ranges))
	for i := range ranges {
		g.pinned[i] = &ranges[i]
	}
	return &g
}

// proportional is the number of layers that each node should have: what is pinned, and the others in
// proportion to bandwidth.
func (f *footprint) proportional() []int64 {
	aim := make([]int64, len(f.Nodes))
	left := int64(f.layers)
	var free []int
	var weights []float64
	var caps []int64
	for i, p := range f.pinned {
		if p != nil {
			aim[i] = int64(p.Len())
			left -= aim[i]
			continue
		}
		free = append(free, i)
		weights = append(weights, f.Nodes[i].Bandwidth)
		caps = append(caps, int64(f.layers))
	}
	for j, n := range apportion(max(left, 0), weights, caps) {
		aim[free[j]] = n
	}
	return aim
}

// allowed reports whether the node may have these layers, memory aside.
func (f *footprint) allowed(node int, r Range) bool {
	p := f.pinned[node]
	return p == nil || r == *p || r.Len() == 0 && p.Len() == 0
}

// weightsOf is the size of a range's weights, embedding and head included.
func (f *footprint) weightsOf(r Range) int64 {
	if r.Len() == 0 {
		return 0
	}
	n := f.weights[r.End] - f.weights[r.First]
	m := &f.Model
	switch first, last := r.First == 0, r.End == f.layers; {
	case first && last && m.Tied:
		n += m.HeadBytes
	case first && last:
		n += m.EmbedBytes + m.HeadBytes
	case first:
		n += m.EmbedBytes
	case last:
		n += m.HeadBytes
	}
	return n
}

// windowsOf is what the layers of a range with a window keep of every sequence, in any mode.
func (f *footprint) windowsOf(r Range) int64 {
	return (f.windows[r.End] - f.windows[r.First]) * int64(f.Sequences)
}

// kvOf is the size of some blocks of every sequence in a range of layers, those with a window aside.
func (f *footprint) kvOf(r Range, blocks int64) int64 {
	return (f.kv[r.End] - f.kv[r.First]) * blocks * int64(f.BlockTokens) * int64(f.Sequences)
}

// tokenKV is what a node holds in pooled and ring mode: its blocks of every layer and, of the layers
// that it computes, the staged ones too. Together they are no more than all blocks.
func (f *footprint) tokenKV(r Range, blocks int64) int64 {
	staged := min(f.staged, f.blocks-blocks)
	return f.kvOf(f.all(), blocks) + f.kvOf(r, staged)
}

// all is every layer.
func (f *footprint) all() Range { return Range{0, f.layers} }

// share is what a node takes for layers, and in pooled and ring mode for blocks of each sequence.
func (f *footprint) share(mode Mode, node int, r Range, blocks int64) Share {
	s := Share{Node: f.Nodes[node].Name, Layers: r, Has: f.Nodes[node].free(), Memory: f.Nodes[node].Memory}
	if r.Len() == 0 && blocks == 0 {
		return s
	}
	s.Weights, s.Rest = f.weightsOf(r), f.rest
	if mode == Pipeline {
		s.KV = f.kvOf(r, f.blocks) + f.windowsOf(r)
		return s
	}
	s.KV = f.tokenKV(r, blocks) + f.windowsOf(r)
	s.Blocks = int(blocks)
	s.TokenWeight = float64(blocks) / float64(f.blocks)
	return s
}

// room is how many blocks of each sequence fit beside the layers of a node, at most all.
func (f *footprint) room(node int, r Range) int64 {
	free := f.Nodes[node].free() - f.rest - f.weightsOf(r) - f.windowsOf(r)
	all := f.kvOf(f.all(), 1)
	if free < f.tokenKV(r, 0) {
		return 0
	}
	// Up to here each block takes room in every layer; after it, only in layers that are not its own.
	knee := f.blocks - f.staged
	if most := free - f.kvOf(r, f.staged); most < all*knee {
		return most / all
	}
	others := all - f.kvOf(r, 1)
	if others == 0 {
		return f.blocks
	}
	return min(knee+(free-f.tokenKV(r, knee))/others, f.blocks)
}
