package attention

import "github.com/orrery-ai/orrery/device/cpu/simd"

// panels are the routines for panels of a width: (query, head) pairs side by side, in the order of queries.
type panels struct {
	lanes   int
	keys    int // that scores are computed for at a time
	scores  func(s, k, q []float32, n, dim int)
	softmax func(s, m, l, f []float32, n int)
	values  func(o, v, p, f []float32, n, dim int)
}

var (
	narrow = panels{simd.TileLanes, 4, simd.TileScores, simd.TileSoftmax, simd.TileValues}
	wide   = panels{simd.TileLanesWide, 8, simd.TileScoresWide, simd.TileSoftmaxWide, simd.TileValuesWide}
)

// panelsFor is the width for a number of pairs. A pair's result has the same bits in each.
func panelsFor(pairs int) *panels {
	if pairs > simd.TileLanes && simd.TileWide() {
		return &wide
	}
	return &narrow
}

// tiled is Attend for about a hundred (query, head) pairs. They lie in panels, transposed, with
// the accumulators too: [dim][lanes].
func (f *Flash) tiled(p Partial, q []float32, first int, s Shape, head, end int, kv []KV) {
	for ; head < end; head++ {
		f.tiledHead(p, q, first, s, head, kv)
	}
}

func (f *Flash) tiledHead(p Partial, q []float32, first int, s Shape, head int, kv []KV) {
	group, dim := s.Group(), s.HeadDim
	pairs := p.Rows * group
	by := panelsFor(pairs)
	n := (pairs + by.lanes - 1) / by.lanes
	f.q, f.o = grow(f.q, n*by.lanes*dim), grow(f.o, n*by.lanes*dim)
	f.m, f.l, f.f = grow(f.m, n*by.lanes), grow(f.l, n*by.lanes), grow(f.f, max(group, by.lanes))
	f.k, f.v = grow(f.k, tileKeys*dim), grow(f.v, tileKeys*dim)
	f.s = grow(f.s, tileKeys*by.lanes)
	f.load(p, q, s, head, by.lanes)
	last := first + p.Rows - 1
	for i := range kv {
		block := &kv[i]
		seen := block.Visible(last)
		for j := 0; j < seen; j += tileKeys {
			keys := min(tileKeys, seen-j)
			f.ks = block.decode(f.k[:keys*dim], f.ks, block.K, head, j, keys, dim)
			clear(f.k[keys*dim : by.roundUp(keys)*dim])
			f.vs = block.decode(f.v[:keys*dim], f.vs, block.V, head, j, keys, dim)
			for panel := range n {
				f.panel(by, panel, first, group, pairs, dim, block, j, keys)
			}
		}
	}
	f.store(p, s, head, by.lanes)
}

// panel accumulates one tile of n keys, from token j of the block on, into one panel.
func (f *Flash) panel(by *panels, panel, first, group, pairs, dim int, block *KV, j, n int) {
	lanes := by.lanes
	at := panel * lanes
	sees := func(lane int) int { // keys of the tile that a lane sees
		query := first + min(at+lane, pairs-1)/group
		return min(n, block.Visible(query)-j)
	}
	n = sees(lanes - 1)
	if n <= 0 {
		return
	}
	by.scores(f.s, f.k, f.q[at*dim:], by.roundUp(n), dim)
	for lane := 0; lane < lanes; lane++ {
		from := max(0, sees(lane))
		if from == n {
			break // and so do all lanes after it
		}
		for key := from; key < n; key++ {
			f.s[key*lanes+lane] = negInf
		}
	}
	by.softmax(f.s, f.m[at:], f.l[at:], f.f, n)
	by.values(f.o[at*dim:], f.v, f.s, f.f, n, dim)
}

// load transposes the queries, scaled, and the part so far into the panels. Lanes past the last pair
// hold zeros.
func (f *Flash) load(p Partial, q []float32, s Shape, head, lanes int) {
	group, dim := s.Group(), s.HeadDim
	clear(f.q)
	clear(f.o)
	clear(f.l)
	for i := range f.m {
		f.m[i] = negInf
	}
	for pair := range p.Rows * group {
		row := pair/group*s.Heads + head*group + pair%group
		at := pair/lanes*lanes*dim + pair%lanes
		for i, v := range q[row*dim : (row+1)*dim] {
			f.q[at+i*lanes] = v * s.Scale
		}
		if isEmpty(p.M[row]) {
			continue
		}
		f.m[pair], f.l[pair] = p.M[row], p.L[row]
		for i, v := range p.O[row*dim : (row+1)*dim] {
			f.o[at+i*lanes] = v
		}
	}
}

// store transposes the panels back into p.
func (f *Flash) store(p Partial, s Shape, head, lanes int) {
	group, dim := s.Group(), s.HeadDim
	for pair := range p.Rows * group {
		row := pair/group*s.Heads + head*group + pair%group
		at := pair/lanes*lanes*dim + pair%lanes
		p.M[row], p.L[row] = f.m[pair], f.l[pair]
		o := p.O[row*dim : (row+1)*dim]
		for i := range o {
			o[i] = f.o[at+i*lanes]
		}
	}
}

// decode turns rows [at, at+n) of one head in data, which is K or V, into singles; scales is scratch, and is returned.
func (kv *KV) decode(dst, scales []float32, data []byte, head, at, n, dim int) []float32 {
	rows := kv.rows(data, head, at, n, dim)
	switch kv.Format {
	case F32:
		simd.FromF32(dst, rows)
	case F16:
		simd.FromF16(dst, rows)
	default:
		scales = unscale(scales, kv.scales(data, head, at, n, dim))
		simd.FromQuantized(kv.Format.Bits(), dst, rows, scales, n, dim)
	}
	return scales
}

// roundUp is the next number of keys that scores can be computed for.
func (by *panels) roundUp(n int) int { return (n + by.keys - 1) / by.keys * by.keys }
