package kernels

import (
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/attention/plane"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// TileKeys is the number of keys of a tile, by which attention over blocks is divided.
const TileKeys = 64

// DecodeRows is up to how many queries Decode is the faster kernel, and DecodeGroup the most query heads to a key-value head that it takes.
const (
	DecodeRows  = 8
	DecodeGroup = 16
)

// Block is one block of a sequence's layer, as kernels read it.
type Block struct {
	K, V     uint64 // bytes from the begin of the buffer of keys and values, multiples of 16
	First    int32  // position of the first token
	Length   uint32 // tokens that hold data
	Capacity uint32 // tokens for which there is room
	Tile     uint32 // tiles in the blocks before it, in the same list
}

// Tiles is the number of tiles of a block of n tokens.
func Tiles(n int) int { return (n + TileKeys - 1) / TileKeys }

// Query is one query: its blocks are Begin, …, Begin+Count-1 of the list.
type Query struct {
	Begin, Count uint32
	Tiles        uint32 // of its blocks
	Position     int32
}

// Layer is what an attention kernel is told of a layer.
type Layer struct {
	Shape   attention.Shape
	Bits    int     // of the stored keys and values: 16, 8 or 4
	SoftCap float32 // scores become SoftCap·tanh(score/SoftCap), unless it is 0
	Window  int     // positions that a query sees, its own included; 0 is all
}

// Check returns an error that says why there is no kernel for the layer.
func (l Layer) Check() error {
	if err := (plane.Layout{Bits: l.Bits, Dim: l.Shape.HeadDim}).Check(); err != nil {
		return fmt.Errorf("kernels: %w", err)
	}
	if s := l.Shape; s.KVHeads <= 0 || s.Heads%s.KVHeads != 0 || s.HeadDim > 256 {
		return fmt.Errorf("kernels: attention of %d query heads over %d key-value heads of %d elements", s.Heads, s.KVHeads, s.HeadDim)
	}
	return nil
}

// Partial is where partial results are: parts times queries times heads of each.
type Partial struct{ O, M, L gpu.Range }

// Split is how the tiles of queries are divided among groups.
type Split struct {
	Parts int
	Tiles int // of a part
}

// Decode is attention of a few queries over lists of blocks; each key and value is read once for each query and group
// of heads.
type Decode struct {
	layer  Layer
	host   gpu.Info
	kernel gpu.Kernel
	form   decodeForm
	staged stagedForm // of staged.cu, or nothing
}

// decodeForm is how a decode kernel is built.
type decodeForm struct {
	keys       int // of a step
	simdgroups int
	groups     int // that a multiprocessor should hold
}

func (l Layer) decodeForm() decodeForm {
	switch {
	case l.Bits == 16:
		return decodeForm{keys: 16, simdgroups: 4, groups: 2}
	default:
		return decodeForm{keys: 32, simdgroups: 4, groups: 2}
	}
}

type decodeParams struct {
	heads, kvHeads, group int32
	splits                int32
	tiles                 uint32
	scale                 float32
	softCap, softCapRcp   float32
	window                int32
}

func (l Layer) decode(f decodeForm) instance {
	rows := 8
	if l.Shape.Group() > 8 {
		rows = 16
	}
	format := map[int]string{16: "F16", 8: "Q8", 4: "Q4"}[l.Bits]
	name := fmt.Sprintf("decode_%s_d%d_r%d_k%d_s%d_g%d", format, l.Shape.HeadDim, rows, f.keys, f.simdgroups, f.groups)
	if l.SoftCap > 0 {
		name += "_cap"
	}
	return instance{"decode.metal", name, fmt.Sprintf("DECODE(%s, %s, %d, %d, %d, %d, %d, %v)", name, format, l.Shape.HeadDim, rows, f.keys, f.simdgroups, f.groups, l.SoftCap > 0)}
}

// Decode compiles the kernel of a layer.
func (s *Set) Decode(l Layer) (*Decode, error) {
	if g, ok := s.stagedFor(l); ok {
		return s.staged(l, g)
	}
	return s.decode(l, l.decodeForm())
}

func (s *Set) decode(l Layer, f decodeForm) (*Decode, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	if l.Shape.Group() > DecodeGroup {
		return nil, fmt.Errorf("kernels: %d query heads to a key-value head: at most %d are supported", l.Shape.Group(), DecodeGroup)
	}
	k, err := s.get(l.decode(f))
	if err != nil {
		return nil, err
	}
	return &Decode{layer: l, host: s.info, kernel: k, form: f}, nil
}

// Split divides so many tiles of each of rows queries so that the device is full, and full to the end.
func (d *Decode) Split(tiles, rows int) Split {
	if d.staged.depth > 0 {
		return d.staged.split(d.host, d.layer, tiles, rows)
	}
	slots := d.host.Units * d.form.groups
	parts := max(1, min(slots/(d.layer.Shape.KVHeads*rows), (tiles+d.form.simdgroups-1)/d.form.simdgroups))
	each := (tiles + parts - 1) / parts
	return Split{Parts: (tiles + max(1, each) - 1) / max(1, each), Tiles: each}
}

// Launch computes the partials of q [rows][heads][headDim] for each part of the split: out is [Parts][rows][heads]. A part without
// keys has m = -Inf, l = 0, o = 0.
func (d *Decode) Launch(queue gpu.Queue, q, kv, blocks, queries gpu.Range, rows int, s Split, out Partial) {
	if d.staged.depth > 0 {
		d.launchStaged(queue, q, kv, blocks, queries, rows, s, out)
		return
	}
	shape := d.layer.Shape
	p := decodeParams{
		heads: int32(shape.Heads), kvHeads: int32(shape.KVHeads), group: int32(shape.Group()), splits: int32(s.Parts), tiles: uint32(s.Tiles),
		scale: shape.Scale * math.Log2E, window: int32(d.layer.Window),
	}
	if d.layer.SoftCap > 0 {
		p.softCap, p.softCapRcp = d.layer.SoftCap*math.Log2E, 1/(d.layer.SoftCap*math.Log2E)
	}
	gpu.Launch(queue, d.kernel, gpu.Grid{X: shape.KVHeads, Y: max(1, s.Parts), Z: rows, Threads: d.form.simdgroups * gpu.SimdWidth},
		gpu.Buffers(q, kv, blocks, queries, out.O, out.M, out.L), p)
}
