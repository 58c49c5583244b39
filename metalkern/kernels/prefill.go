package kernels

import (
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// Prefill is attention of many queries over a list of blocks.
type Prefill struct {
	layer  Layer
	kernel gpu.Kernel
	rows   int // of queries times heads that a group takes
	group  gpu.Grid
}

// prefillForm is how the kernel is built: m times 16 rows of a simdgroup, keys of a step, and buffers for them.
type prefillForm struct{ m, simdgroups, keys, stages, groups int }

// pool is the threadgroup memory of a group, in bytes.
func (f prefillForm) pool(dim int) int {
	row := (dim + 8) * 2
	q, kv := f.m*16*f.simdgroups*row, f.stages*2*f.keys*row
	if f.m == 1 { // Q goes to registers, one term after the other, before the first keys come
		return max(q, kv)
	}
	return 2*q + kv
}

// prefillForm is the form for a layer on a device with so much threadgroup memory.
func (l Layer) prefillForm(pool int) prefillForm {
	// Two blocks of rows share what is read of keys and values, if registers suffice.
	forms := []prefillForm{{m: 2, simdgroups: 4, keys: 32, stages: 2, groups: 2}, {m: 1, simdgroups: 8, keys: 64, stages: 2, groups: 1}, {m: 1, simdgroups: 4, keys: 32, stages: 1, groups: 1}}
	if l.Bits < 16 {
		forms = forms[1:]
	}
	for _, f := range forms {
		if f.pool(l.Shape.HeadDim)*f.groups <= pool && (l.Shape.HeadDim <= 128 || f.keys < 64) {
			return f
		}
	}
	return prefillForm{m: 1, simdgroups: 2, keys: 16, stages: 1, groups: 1}
}

type prefillParams struct {
	tokens, heads, group int32
	position             int32
	blocks, tiles        uint32
	scale                float32
	softCap, softCapRcp  float32
	window               int32
	finish               int32
}

func (l Layer) prefill(f prefillForm) instance {
	format := map[int]string{16: "F16", 8: "Q8", 4: "Q4"}[l.Bits]
	name := fmt.Sprintf("prefill_%s_d%d_m%d_s%d_k%d_b%d_g%d", format, l.Shape.HeadDim, f.m, f.simdgroups, f.keys, f.stages, f.groups)
	if l.SoftCap > 0 {
		name += "_cap"
	}
	return instance{"prefill.metal", name, fmt.Sprintf("PREFILL(%s, %s, %d, %d, %d, %d, %d, %d, %v)", name, format, l.Shape.HeadDim, f.m, f.simdgroups, f.keys, f.stages, f.groups, l.SoftCap > 0)}
}

// Prefill compiles the kernel of a layer.
func (s *Set) Prefill(l Layer) (*Prefill, error) {
	if s.attendFor(l) {
		return s.attend(l)
	}
	return s.prefill(l, l.prefillForm(s.info.Pool))
}

func (s *Set) prefill(l Layer, f prefillForm) (*Prefill, error) {
	return s.prefillBy(l, l.prefill(f), f.m*16*f.simdgroups, gpu.Grid{Threads: f.simdgroups * gpu.SimdWidth, Pool: f.pool(l.Shape.HeadDim)})
}

func (s *Set) prefillBy(l Layer, i instance, rows int, group gpu.Grid) (*Prefill, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	k, err := s.get(i)
	if err != nil {
		return nil, err
	}
	return &Prefill{layer: l, kernel: k, rows: rows, group: group}, nil
}

// Launch computes attention of q [tokens][heads][headDim], the queries of positions first, first+1, …, over count blocks with so many
// tiles in all, from the begin of the list blocks on. With finish it writes attention itself to out.O; else out is a partial. Queries
// and weights of values are two halves each, so the result is as exact as with float32.
func (p *Prefill) Launch(queue gpu.Queue, q, kv, blocks gpu.Range, count, tiles, first, tokens int, out Partial, finish bool) {
	shape := p.layer.Shape
	params := prefillParams{
		tokens: int32(tokens), heads: int32(shape.Heads), group: int32(shape.Group()), position: int32(first), blocks: uint32(count), tiles: uint32(tiles),
		scale: shape.Scale * math.Log2E, window: int32(p.layer.Window), finish: flag(finish),
	}
	if c := p.layer.SoftCap; c > 0 {
		params.softCap, params.softCapRcp = c*math.Log2E, 1/(c*math.Log2E)
	}
	if finish {
		out.M, out.L = out.O, out.O
	}
	grid := p.group
	grid.X, grid.Y, grid.Z = (tokens*shape.Group()+p.rows-1)/p.rows, shape.KVHeads, 1
	gpu.Launch(queue, p.kernel, grid, gpu.Buffers(q, kv, blocks, out.O, out.M, out.L), params)
}
