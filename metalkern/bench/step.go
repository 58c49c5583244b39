package bench

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/attention/plane"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// geometry is the size of a decoder's layers.
type geometry struct {
	layers, hidden, intermediate, vocabulary int
	shape                                    attention.Shape
}

// layer is a layer's weights and its part of the cache.
type layer struct {
	q, k, v, o, gate, up, down kernels.Weights
	list                       gpu.Range
	open                       kernels.Block // that takes the token's keys and values
}

// step is what one token of one sequence needs.
type step struct {
	geometry
	b                                                      *bench
	bits                                                   int // of keys and values
	layers                                                 []layer
	head                                                   kernels.Weights
	decode                                                 *kernels.Decode
	merge                                                  *kernels.Merge
	split                                                  kernels.Split
	x, normed, q, k, v, attn, gate, up, out, index, places gpu.Range
	norm, cos, sin, kv, queries                            gpu.Range
	parts                                                  kernels.Partial
}

// stepCase is a whole step of decoding: all layers of a model of that size, with random weights, at a context. One kernel after the other, as a
// device records them.
func stepCase(name string, g geometry, f kernels.WeightFormat, bits, context int) maker {
	return maker{"decode step " + name, fmt.Sprintf("%v, KV %s, context %d", f, kvName(bits), context), func(b *bench) (measured, error) {
		s := &step{geometry: g, b: b, bits: bits}
		if err := s.prepare(f, context); err != nil {
			return measured{}, err
		}
		row := int64(2*g.shape.KVHeads) * int64(g.shape.HeadDim*bits/8+2*(plane.Layout{Bits: bits, Dim: g.shape.HeadDim}).Scales())
		bytes, operations := s.head.Bytes(), 2*float64(g.vocabulary)*float64(g.hidden)
		for i := range s.layers {
			l := &s.layers[i]
			bytes += row * int64(context)
			operations += 4 * float64(context) * float64(g.shape.Heads*g.shape.HeadDim)
			for _, w := range []kernels.Weights{l.q, l.k, l.v, l.o, l.gate, l.up, l.down} {
				bytes += w.Bytes()
				operations += 2 * float64(w.Rows) * float64(w.Cols)
			}
		}
		return measured{bytes: bytes, operations: operations, launch: func(int) error { return s.run() }}, nil
	}}
}

func (s *step) prepare(f kernels.WeightFormat, context int) error {
	b, g := s.b, s.geometry
	heads, kvHeads := g.shape.Heads*g.shape.HeadDim, g.shape.KVHeads*g.shape.HeadDim
	weights := func(rows, cols int) (kernels.Weights, error) {
		w := kernels.Weights{Format: f, Rows: rows, Cols: cols}
		var err error
		n := int64(rows) * int64(cols)
		if w.Data, err = b.filled(f.DataBytes(n), pattern()); err == nil && f.ScaleBytes(n) > 0 {
			w.Scales, err = b.filled(f.ScaleBytes(n), pattern())
		}
		return w, err
	}
	var err error
	if s.head, err = weights(g.vocabulary, g.hidden); err != nil {
		return err
	}
	l := plane.Layout{Bits: s.bits, Dim: g.shape.HeadDim}
	each := int64(2 * l.Bytes(blockTokens) * g.shape.KVHeads)
	blocks := int64((context + blockTokens - 1) / blockTokens)
	if s.kv, err = b.filled(int64(g.layers)*(blocks+1)*each, pattern()); err != nil { // one takes what is appended
		return err
	}
	tiles := 0
	for i := range g.layers {
		var y layer
		for _, m := range []struct {
			w          *kernels.Weights
			rows, cols int
		}{{&y.q, heads, g.hidden}, {&y.k, kvHeads, g.hidden}, {&y.v, kvHeads, g.hidden}, {&y.o, g.hidden, heads},
			{&y.gate, g.intermediate, g.hidden}, {&y.up, g.intermediate, g.hidden}, {&y.down, g.hidden, g.intermediate}} {
			if *m.w, err = weights(m.rows, m.cols); err != nil {
				return err
			}
		}
		base := uint64(int64(i) * (blocks + 1) * each)
		var list []kernels.Block
		tiles = 0
		for at := 0; at < context; at += blockTokens {
			n := min(blockTokens, context-at)
			from := base + uint64(int64(at/blockTokens)*each)
			list = append(list, kernels.Block{K: from, V: from + uint64(each)/2, First: int32(at), Length: uint32(n), Capacity: blockTokens, Tile: uint32(tiles)})
			tiles += kernels.Tiles(n)
		}
		from := base + uint64(blocks*each)
		y.open = kernels.Block{K: from, V: from + uint64(each)/2, Capacity: blockTokens}
		if y.list, err = b.filled(int64(len(list))*int64(unsafe.Sizeof(list[0])), bytesOf(list)); err != nil {
			return err
		}
		s.layers = append(s.layers, y)
	}
	if s.decode, err = b.set.Decode(kernels.Layer{Shape: g.shape, Bits: s.bits}); err != nil {
		return err
	}
	if s.merge, err = b.set.Merge(); err != nil {
		return err
	}
	s.split = s.decode.Split(tiles, 1)
	query := []kernels.Query{{Count: uint32(blocks), Tiles: uint32(tiles), Position: int32(context)}}
	if s.queries, err = b.filled(int64(unsafe.Sizeof(query[0])), bytesOf(query)); err != nil {
		return err
	}
	for _, t := range []struct {
		r *gpu.Range
		n int
	}{{&s.x, g.hidden}, {&s.normed, g.hidden}, {&s.q, heads}, {&s.k, kvHeads}, {&s.v, kvHeads}, {&s.attn, heads}, {&s.gate, g.intermediate}, {&s.up, g.intermediate},
		{&s.out, g.vocabulary}, {&s.index, 4}, {&s.places, int(kernels.ArgmaxBytes(1, g.vocabulary)) / 4}, {&s.norm, g.hidden}, {&s.cos, g.shape.HeadDim / 2}, {&s.sin, g.shape.HeadDim / 2},
		{&s.parts.O, s.split.Parts * heads}, {&s.parts.M, s.split.Parts * g.shape.Heads}, {&s.parts.L, s.split.Parts * g.shape.Heads},
	} {
		if *t.r, err = b.filled(int64(4*t.n), singles(7, min(t.n, patternBytes/4))); err != nil {
			return err
		}
	}
	return nil
}

// run records the step.
func (s *step) run() error {
	set, q, g := s.b.set, s.b.queue, s.geometry
	normed := kernels.Normed{Out: s.normed, X: s.x, Weight: s.norm, Eps: 1e-5}
	dim, half := g.shape.HeadDim, g.shape.HeadDim/2
	for i := range s.layers {
		l := &s.layers[i]
		for _, record := range []func() error{
			func() error {
				return set.MatvecsNormed(q, normed, []kernels.Into{{W: l.q, Out: s.q}, {W: l.k, Out: s.k}, {W: l.v, Out: s.v}})
			},
			func() error {
				return set.Ropes(q, s.q, s.k, s.cos, s.sin, 1, g.shape.Heads, g.shape.KVHeads, dim, half, false)
			},
			func() error { return set.Append(q, s.kv, l.open, s.bits, 0, s.k, s.v, 1, g.shape) },
			func() error {
				s.decode.Launch(q, s.q, s.kv, l.list, s.queries, 1, s.split, s.parts)
				return s.merge.Finish(q, s.attn, gpu.Range{}, s.parts, s.split.Parts, 1, g.shape)
			},
			func() error { return set.Matvec(q, s.x, s.attn, l.o, 1, true) },
			func() error {
				return set.GatedNormed(q, normed, kernels.Into{W: l.gate, Out: s.gate}, kernels.Into{W: l.up, Out: s.up})
			},
			func() error { return set.Matvec(q, s.x, s.gate, l.down, 1, true) },
		} {
			if err := record(); err != nil {
				return err
			}
		}
	}
	if err := set.MatvecsNormed(q, normed, []kernels.Into{{W: s.head, Out: s.out}}); err != nil {
		return err
	}
	return set.Argmax(q, s.index, s.out, s.places, 1, g.vocabulary)
}

// stepCases are steps of a model of 8 billion parameters.
func (b *bench) stepCases() []maker {
	g := geometry{layers: 32, hidden: 4096, intermediate: 14336, vocabulary: 128256, shape: attention.Shape{Heads: 32, KVHeads: 8, HeadDim: 128, Scale: float32(1 / math.Sqrt(128))}}
	short, long := 1024, 200<<10
	if b.opts.Tiny {
		g = geometry{layers: 2, hidden: 64, intermediate: 96, vocabulary: 128, shape: attention.Shape{Heads: 4, KVHeads: 2, HeadDim: 64, Scale: 0.125}}
		short, long = 40, 150
	}
	return []maker{
		stepCase("8B", g, kernels.BF16, 16, short), stepCase("8B", g, kernels.BF16, 16, long), stepCase("8B", g, kernels.BF16, 8, long),
		stepCase("8B", g, kernels.Q8, 8, short), stepCase("8B", g, kernels.Q4, 4, short), stepCase("8B", g, kernels.Q4, 4, long),
	}
}
