package placement

import "fmt"

// RuntimeBytes is what a node's process is assumed to need besides weights, KV cache and activations, if Node.Runtime
// does not say: the program itself, its heap and its stacks.
const RuntimeBytes int64 = 40 << 20

// BlockOverhead is what keeping a block takes besides the keys and values in it, measured: its actor, its
// entries in tables, and what the garbage collector leaves of both. Whoever runs a model with package actors sets
// Model.BlockOverhead to it.
const BlockOverhead int64 = 12 << 10

// Model is what a model takes. Sizes are in bytes, as stored.
type Model struct {
	Name            string
	LayerBytes      []int64 // [layers] weights of each layer
	KVBytesPerToken []int64 // [layers] keys and values of one token in each layer, in their storage format
	Windows         []int   // [layers] tokens that each layer attends to; 0 is all of them. Nil is all zeros
	EmbedBytes      int64   // the embedding table
	HeadBytes       int64   // final norm and output matrix; with Tied that is the embedding table again
	Tied            bool    // embedding and head share their table where both are on one node
	BlockOverhead   int64   // of each KV block, besides its keys and values
	// ScratchBytes is what computing takes on a node: activations, and what lanes hold. Nil is nothing.
	// It may not be less for more Tokens.
	ScratchBytes func(Steps) int64
}

// Steps is what a node computes, as far as activations depend on it.
type Steps struct {
	Mode      Mode  // 0: any of them
	Layers    Range // that it has
	Fastest   bool  // in ring mode it computes by itself what is too little for a round
	Behind    bool  // it comes after the fastest in the ring
	Tokens    int   // of a sequence that it holds in pooled and ring mode; the last block counts as a whole one
	Chunk     int   // tokens of a prefill step, at most Context
	Context   int   // tokens of a sequence
	Sequences int   // that there may be at the same time
}

// window is how many tokens a layer attends to; 0 is all.
func (m *Model) window(layer int) int {
	if m.Windows == nil {
		return 0
	}
	return m.Windows[layer]
}

// Node is what a node has.
type Node struct {
	Name      string
	Memory    int64   // bytes offered
	Promised  int64   // of them, to others
	Runtime   int64   // bytes that its process takes by itself; 0: RuntimeBytes
	Bandwidth float64 // memory bandwidth, bytes/s: what shares of layers and tokens go by
	FLOPS     float64 // speed of matrix products, operations/s; only predictions need it, see NewCost
	Rates     Rates   // what was measured of the node, if anything: predictions then need nothing else
	Machine   string  // what it runs on, if that is known: nodes of one machine share its caches
	CPUs      string  // the processors of the machine that it may use: nodes of the same share them
}

// free is what the node has for a model, in bytes.
func (n *Node) free() int64 { return n.Memory - n.Promised }

// Range is the layers [First, End).
type Range struct{ First, End int }

// Len is the number of layers.
func (r Range) Len() int { return r.End - r.First }

// Request is what is to be placed.
type Request struct {
	Model       Model
	Nodes       []Node           // in the order in which layers go through them
	Mode        Mode             // that Place places in; with PlaceAll the one in which the model is loaded
	Context     int              // tokens that each sequence may reach
	Sequences   int              // that may run at the same time, each at the full context
	Chunk       int              // tokens of a prefill step
	BlockTokens int              // tokens of a KV block
	Overrides   map[string]Range // layers of some nodes by name, instead of the proportional share; ring ignores them
}

const (
	maxBytes     = 1 << 50 // bounds every sum, far from overflow
	maxOverhead  = 1 << 30 // of a block
	maxTokens    = 1 << 40 // of one sequence, staging included
	maxBandwidth = 1e18    // bytes/s
)

// check finds what is wrong with a request, and names it.
func (r *Request) check() error {
	m := &r.Model
	layers := len(m.LayerBytes)
	switch {
	case r.Mode < Pipeline || r.Mode > Ring:
		return fmt.Errorf("placement: %v is unknown", r.Mode)
	case layers == 0:
		return fmt.Errorf("placement: model %q has no layers", m.Name)
	case len(m.KVBytesPerToken) != layers:
		return fmt.Errorf("placement: model %q: KVBytesPerToken is of %d layers, LayerBytes of %d", m.Name, len(m.KVBytesPerToken), layers)
	case m.Windows != nil && len(m.Windows) != layers:
		return fmt.Errorf("placement: model %q: Windows is of %d layers, LayerBytes of %d", m.Name, len(m.Windows), layers)
	case m.BlockOverhead < 0 || m.BlockOverhead > maxOverhead:
		return fmt.Errorf("placement: model %q: BlockOverhead %d is not in 0..2^30", m.Name, m.BlockOverhead)
	case m.EmbedBytes < 0 || m.HeadBytes < 0:
		return fmt.Errorf("placement: model %q: EmbedBytes %d or HeadBytes %d is negative", m.Name, m.EmbedBytes, m.HeadBytes)
	case m.Tied && m.HeadBytes < m.EmbedBytes:
		return fmt.Errorf("placement: model %q: tied, but HeadBytes %d is less than EmbedBytes %d", m.Name, m.HeadBytes, m.EmbedBytes)
	case len(r.Nodes) == 0:
		return fmt.Errorf("placement: no nodes")
	case r.Context < 1 || r.Sequences < 1 || r.Chunk < 1 || r.BlockTokens < 1:
		return fmt.Errorf("placement: Context %d, Sequences %d, Chunk %d and BlockTokens %d must be positive", r.Context, r.Sequences, r.Chunk, r.BlockTokens)
	}
	weights := float64(m.EmbedBytes) + float64(m.HeadBytes)
	kv := 0.0
	for l := range layers {
		w, k := m.LayerBytes[l], m.KVBytesPerToken[l]
		if w < 0 || k < 0 {
			return fmt.Errorf("placement: model %q layer %d: LayerBytes %d or KVBytesPerToken %d is negative", m.Name, l, w, k)
		}
		if m.window(l) < 0 {
			return fmt.Errorf("placement: model %q layer %d: window %d is negative", m.Name, l, m.window(l))
		}
		weights += float64(w)
		kv += float64(k)
	}
	// Tokens that a node may have to count: context and staging, with their rounding.
	tokens := 2 * (float64(r.Context) + float64(r.Chunk) + 2*float64(r.BlockTokens))
	if tokens > maxTokens {
		return fmt.Errorf("placement: Context %d, Chunk %d or BlockTokens %d is over 2^40", r.Context, r.Chunk, r.BlockTokens)
	}
	blocks := tokens / float64(r.BlockTokens)
	if !(weights+(kv*tokens+float64(m.BlockOverhead)*blocks)*float64(r.Sequences) < maxBytes) {
		return fmt.Errorf("placement: model %q: the footprint of %d sequences of %d tokens is over 2^50 bytes", m.Name, r.Sequences, r.Context)
	}
	if m.ScratchBytes != nil {
		for mode := Mode(0); mode <= Ring; mode++ {
			for _, l := range []Range{{}, {0, 1}, {layers - 1, layers}, {0, layers}} {
				s := Steps{Mode: mode, Layers: l, Fastest: true, Tokens: r.Context, Chunk: min(r.Chunk, r.Context), Context: r.Context, Sequences: r.Sequences}
				if n := m.ScratchBytes(s); n < 0 || n > maxBytes {
					return fmt.Errorf("placement: model %q: ScratchBytes(%+v) is %d, not in 0..2^50", m.Name, s, n)
				}
			}
		}
	}
	names := map[string]bool{}
	for i, n := range r.Nodes {
		switch {
		case n.Name == "" || names[n.Name]:
			return fmt.Errorf("placement: node %d: name %q is empty or used twice", i, n.Name)
		case n.Memory < 0 || n.Memory > maxBytes:
			return fmt.Errorf("placement: node %s: memory %d is not in 0..2^50", n.Name, n.Memory)
		case n.Promised < 0 || n.Promised > n.Memory:
			return fmt.Errorf("placement: node %s: %d bytes are promised, of %d", n.Name, n.Promised, n.Memory)
		case n.Runtime < 0 || n.Runtime > maxBytes:
			return fmt.Errorf("placement: node %s: runtime %d is not in 0..2^50", n.Name, n.Runtime)
		case !(n.Bandwidth >= 1 && n.Bandwidth <= maxBandwidth):
			return fmt.Errorf("placement: node %s: bandwidth %v is not in 1..1e18 bytes/s", n.Name, n.Bandwidth)
		}
		names[n.Name] = true
	}
	for name, o := range r.Overrides {
		if !names[name] {
			return fmt.Errorf("placement: override of node %q, which is not there", name)
		}
		if o.First < 0 || o.First > o.End || o.End > layers {
			return fmt.Errorf("placement: override of node %s: layers [%d, %d) are not in [0, %d)", name, o.First, o.End, layers)
		}
	}
	return nil
}
