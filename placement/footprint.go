package placement

import (
	"fmt"
	"sort"
)

// footprint answers what any range of layers takes on any node, for one request.
type footprint struct {
	Request
	layers   int
	weights  []int64         // [layers+1] prefix sums of LayerBytes
	kv       []int64         // [layers+1] prefix sums of KVBytesPerToken, of layers that attend to all tokens
	windows  []int64         // [layers+1] prefix sums of what the other layers keep of one sequence
	first    int             // the fastest node
	blocks   int64           // of one sequence at the full context
	staged   [Ring + 1]int64 // by mode: blocks of a sequence that the owner of a layer may have before they reach their holder
	aim      []int64         // layers in proportion to bandwidth, [nodes]
	pinned   []*Range        // layers that are not ours to choose, [nodes]
	pinnedBy string          // what pinned them, for refusals
}

func newFootprint(r Request) (*footprint, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	f := &footprint{Request: r, layers: len(r.Model.LayerBytes), first: fastest(r.Nodes)}
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
	block := int64(f.BlockTokens)
	f.Context = tokens
	f.blocks = (int64(tokens) + block - 1) / block
	for m := range f.staged {
		f.staged[m] = min((int64(f.Chunk)+block-1)/block+1, f.blocks)
	}
	f.windows = make([]int64, f.layers+1)
	for l, k := range f.Model.KVBytesPerToken {
		kept := int64(0)
		if w := int64(min(f.Model.window(l), tokens)); w > 0 {
			kept = k * block * min((w+block-1)/block+f.staged[Ring], f.blocks)
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

// tokenKV is what a node holds in pooled and ring mode: its blocks of every layer and, of the layers r
// that it computes, the staged ones too. Together they are no more than all blocks.
func (f *footprint) tokenKV(mode Mode, r Range, blocks int64) int64 {
	staged := min(f.staged[mode], f.blocks-blocks)
	return f.kvOf(f.all(), blocks) + f.kvOf(r, staged)
}

// stages is the layers of which a node has tokens before they reach their holder: those that it computes, but
// in ring mode, where blocks are computed by who holds them, what is left is computed by one node.
func (f *footprint) stages(mode Mode, node int, r Range) Range {
	if mode == Ring && node != f.first {
		return Range{}
	}
	return r
}

// all is every layer.
func (f *footprint) all() Range { return Range{0, f.layers} }

// rest is what a node that takes part needs besides weights and KV cache, in a mode or, for 0, in any: it holds
// so many blocks of every sequence as pooled and ring spread them, and keeps so many in all.
func (f *footprint) rest(mode Mode, node int, r Range, holds, keeps int64) int64 {
	n := f.Nodes[node].Runtime
	if n == 0 {
		n = RuntimeBytes
	}
	return n + f.scratch(mode, node, r, holds) + f.overhead(keeps)
}

// scratch is what computing takes on a node.
func (f *footprint) scratch(mode Mode, node int, r Range, holds int64) int64 {
	if f.Model.ScratchBytes == nil {
		return 0
	}
	return f.Model.ScratchBytes(Steps{Mode: mode, Layers: r, Fastest: node == f.first, Behind: node == (f.first+1)%len(f.Nodes), Tokens: int(holds) * f.BlockTokens,
		Chunk: min(f.Chunk, f.Context), Context: f.Context, Sequences: f.Sequences})
}

// overhead is what keeping so many blocks of every sequence takes besides what is in them.
func (f *footprint) overhead(blocks int64) int64 {
	return f.Model.BlockOverhead * blocks * int64(f.Sequences)
}

// share is what a node takes for layers, and in pooled and ring mode for blocks of each sequence.
func (f *footprint) share(mode Mode, node int, r Range, blocks int64) Share {
	s := Share{Node: f.Nodes[node].Name, Layers: r, Has: f.Nodes[node].free(), Memory: f.Nodes[node].Memory}
	if r.Len() == 0 && blocks == 0 {
		return s
	}
	s.Weights = f.weightsOf(r)
	if mode == Pipeline {
		s.KV, s.Rest = f.kvOf(r, f.blocks)+f.windowsOf(r), f.rest(mode, node, r, 0, f.blocks)
		return s
	}
	s.KV, s.Rest = f.tokenKV(mode, f.stages(mode, node, r), blocks)+f.windowsOf(r), f.rest(mode, node, r, blocks, min(blocks+f.staged[mode], f.blocks))
	s.Blocks = int(blocks)
	s.TokenWeight = float64(blocks) / float64(f.blocks)
	return s
}

// room is how many blocks of each sequence fit beside the layers of a node in pooled or ring mode, at most
// all.
func (f *footprint) room(mode Mode, node int, r Range) int64 {
	blocks := f.roomBeside(mode, node, r, f.scratch(mode, node, r, f.blocks))
	if f.scratch(mode, node, r, blocks) == f.scratch(mode, node, r, f.blocks) {
		return blocks
	}
	// Who holds little needs less to compute with, so that there may be room for more.
	more := sort.Search(int(f.blocks-blocks), func(n int) bool {
		next := blocks + int64(n) + 1
		return f.roomBeside(mode, node, r, f.scratch(mode, node, r, next)) < next
	})
	return blocks + int64(more)
}

// roomBeside is room if computing takes so many bytes.
func (f *footprint) roomBeside(mode Mode, node int, r Range, scratch int64) int64 {
	free := f.Nodes[node].free() - f.rest(mode, node, r, 0, f.staged[mode]) + f.scratch(mode, node, r, 0) - scratch - f.weightsOf(r) - f.windowsOf(r)
	r = f.stages(mode, node, r)
	if free < f.tokenKV(mode, r, 0) {
		return 0
	}
	// Up to here each block takes room in every layer, and is kept; after it, it only takes room in layers
	// that the node does not stage, for there it is already.
	knee := f.blocks - f.staged[mode]
	all := f.kvOf(f.all(), 1)
	if most := free - f.kvOf(r, f.staged[mode]); most < (all+f.overhead(1))*knee {
		return most / (all + f.overhead(1))
	}
	others := all - f.kvOf(r, 1)
	if others == 0 {
		return f.blocks
	}
	return min(knee+(free-f.overhead(knee)-f.tokenKV(mode, r, knee))/others, f.blocks)
}
