package kernels

import (
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/attention/plane"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// stagedForm is how a kernel of staged.cu is built: simdgroups of a group, steps for which each has room, and groups that a multiprocessor should hold.
type stagedForm struct{ simdgroups, depth, groups int }

// What staged.cu has.
const (
	stagedGroup = 8
	stagedKeys  = 32
	// leastStaged is threadgroup memory, in bytes, that tells an emulator of what CUDA has from one of what Metal has.
	leastStaged = 64 << 10
)

// stagedForms are the forms by the elements of a head and the bits of keys and values.
var stagedForms = map[int]map[int]stagedForm{
	64:  {16: {2, 2, 3}, 8: {4, 3, 2}, 4: {8, 2, 2}},
	128: {16: {2, 2, 3}, 8: {4, 2, 2}, 4: {4, 2, 2}},
}

func (l Layer) staged(g stagedForm) instance {
	format := map[int]string{16: "F16", 8: "Q8", 4: "Q4"}[l.Bits]
	name := fmt.Sprintf("decode_staged_%s_d%d_s%d_d%d_g%d", format, l.Shape.HeadDim, g.simdgroups, g.depth, g.groups)
	return instance{"staged.cu", name, fmt.Sprintf("STAGED(%s, %s, %d, %d, %d, %d)", name, format, l.Shape.HeadDim, g.simdgroups, g.depth, g.groups)}
}

// pool is the threadgroup memory, in bytes, of a group: what is on its way, where its results go in the end.
func (g stagedForm) pool(l Layer) int {
	p := plane.Layout{Bits: l.Bits, Dim: l.Shape.HeadDim}
	return max(g.simdgroups*g.depth*2*stagedKeys*(p.RowBytes()+2*p.Scales()), g.simdgroups*stagedGroup*l.Shape.HeadDim*4)
}

// stagedFor is the form for a layer, if it and this host are for one.
func (s *Set) stagedFor(l Layer) (stagedForm, bool) {
	g, ok := stagedForms[l.Shape.HeadDim][l.Bits]
	info := &s.info
	return g, ok && (info.Kind == "cuda" || info.Kind == "emulator" && info.Pool >= leastStaged) && l.Shape.KVHeads > 0 && l.Shape.Heads%l.Shape.KVHeads == 0 &&
		l.Shape.Group() <= stagedGroup && l.SoftCap == 0 && g.pool(l) <= info.Pool
}

func (s *Set) staged(l Layer, g stagedForm) (*Decode, error) {
	k, err := s.get(l.staged(g))
	if err != nil {
		return nil, err
	}
	return &Decode{layer: l, host: s.info, kernel: k, staged: g}, nil
}

// split is [Decode.Split]: groups divide the steps of a query evenly, so the tiles of a part are as many at most.
func (g stagedForm) split(host gpu.Info, l Layer, tiles, rows int) Split {
	steps := tiles * (TileKeys / stagedKeys)
	parts := max(1, min(host.Units*g.groups/(l.Shape.KVHeads*rows), (steps+g.simdgroups-1)/g.simdgroups))
	return Split{Parts: parts, Tiles: (tiles + parts - 1) / parts}
}

type stagedParams struct {
	heads, group int32
	scale        float32
	window       int32
}

func (d *Decode) launchStaged(queue gpu.Queue, q, kv, blocks, queries gpu.Range, rows int, s Split, out Partial) {
	shape, g := d.layer.Shape, d.staged
	p := stagedParams{heads: int32(shape.Heads), group: int32(shape.Group()), scale: shape.Scale * math.Log2E, window: int32(d.layer.Window)}
	gpu.Launch(queue, d.kernel, gpu.Grid{X: shape.KVHeads, Y: max(1, s.Parts), Z: rows, Threads: g.simdgroups * gpu.SimdWidth, Pool: g.pool(d.layer)},
		gpu.Buffers(q, kv, blocks, queries, out.O, out.M, out.L), p)
}
