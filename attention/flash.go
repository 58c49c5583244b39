package attention

import (
	"fmt"

	"github.com/orrery-ai/orrery/device/cpu/simd"
)

const (
	// vectorKeys is the number of keys of a tile in the vector form. Its scores, and the keys and
	// values of one head (128 KiB at 128 elements, in halves), stay in the nearest caches between passes.
	vectorKeys = 256
	// vectorRows is the number of queries that share a tile in the vector form.
	vectorRows = 8
	// tileKeys is the number of keys of a tile in the tiled form.
	tileKeys = 64
	// tileLanes is how many (query, head) pairs one tile holds, unless one group is larger.
	tileLanes = 4 * simd.TileLanes
	// minLanes is from how many (query, head) pairs on the tiled form is the faster one.
	minLanes = 16
)

// Flash computes attention on the CPU, keeping no more scores than one
// small tile. It holds the scratch for that, so that computing allocates nothing once it has grown
// to the shape in use. The zero value is ready; a Flash belongs to one goroutine at a time.
//
// Few queries take the vector form: each key and value is read once, as it is stored, for all query
// heads of its group. Many take the tiled form, which converts a tile of keys and values once and
// multiplies it with about a hundred queries (Dao, "FlashAttention-2", 2023, section 3.1).
type Flash struct {
	q, k, v, s, o []float32
	m, l, f       []float32
	ks, vs        []float32 // scales of a tile's keys and values, in the tiled form

	queries simd.Queries // of each key-value head and row, for quantized keys
	weights simd.Weights // for quantized values
	views   [2]view      // of a head in a block and of the next
}

// TileRows is how many queries of the shape one tile holds: work on many queries is best divided
// in multiples of it.
func TileRows(s Shape) int { return max(1, tileLanes/s.Group()) }

// Attend accumulates into p the attention of q over the keys and values of the key-value heads [head, end), for
// all query heads of their groups; it neither reads nor writes the other heads of p. q [rows][heads][dim]
// holds the queries of positions first, first+1, …; each sees the keys at its own position or before.
// Blocks may be empty, in any order, and may be given over several calls, each once.
func (f *Flash) Attend(p Partial, q []float32, first int, s Shape, head, end int, kv []KV) {
	if p.Heads != s.Heads || p.Dim != s.HeadDim || len(q) < p.Rows*s.Heads*s.HeadDim || head < 0 || end > s.KVHeads {
		panic(fmt.Sprintf("attention: %d queries of %d elements and a partial [%d][%d][%d] for key-value heads [%d, %d) of shape %+v",
			p.Rows, len(q), p.Rows, p.Heads, p.Dim, head, end, s))
	}
	for _, block := range kv {
		if !block.Format.Valid() {
			panic(fmt.Sprintf("attention: a block in format %v", block.Format))
		}
	}
	rows, width := TileRows(s), s.Heads*s.HeadDim
	form := f.tiled
	if p.Rows*s.Group() < minLanes || s.HeadDim%8 != 0 {
		rows, form = vectorRows, f.vector
	}
	for r := 0; r < p.Rows; r += rows {
		next := min(r+rows, p.Rows)
		form(p.Slice(r, next), q[r*width:next*width], first+r, s, head, end, kv)
	}
}

// grow makes x at least n long; what it held may be lost.
func grow(x []float32, n int) []float32 {
	if cap(x) < n {
		return make([]float32, n)
	}
	return x[:n]
}
