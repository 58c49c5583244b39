package attention

import "github.com/orrery-ai/orrery/device/cpu/simd"

// lanes is the width of a panel: (query, head) pairs side by side, in the order of queries.
const lanes = simd.TileLanes

// tiled is Attend for about a hundred (query, head) pairs. They lie in panels of 24, transposed, with
// the accumulators too: [dim][24].
func (f *Flash) tiled(p Partial, q []float32, first int, s Shape, head int, kv []KV) {
	group, dim := s.Group(), s.HeadDim
	pairs := p.Rows * group
	panels := (pairs + lanes - 1) / lanes
	f.q, f.o = grow(f.q, panels*lanes*dim), grow(f.o, panels*lanes*dim)
	f.m, f.l, f.f = grow(f.m, panels*lanes), grow(f.l, panels*lanes), grow(f.f, max(group, lanes))
	f.k, f.v = grow(f.k, tileKeys*dim), grow(f.v, tileKeys*dim)
	f.s = grow(f.s, tileKeys*lanes)
	f.load(p, q, s, head)
	last := first + p.Rows - 1
	for i := range kv {
		block := &kv[i]
		seen := block.Visible(last)
		for j := 0; j < seen; j += tileKeys {
			n := min(tileKeys, seen-j)
			f.ks = block.decode(f.k[:n*dim], f.ks, block.K, head, j, n, dim)
			clear(f.k[n*dim : roundUp(n)*dim])
			f.vs = block.decode(f.v[:n*dim], f.vs, block.V, head, j, n, dim)
			for panel := range panels {
				f.panel(panel, first, group, pairs, dim, block, j, n)
			}
		}
	}
	f.store(p, s, head)
}

// panel accumulates one tile of n keys, from token j of the block on, into one panel.
func (f *Flash) panel(panel, first, group, pairs, dim int, block *KV, j, n int) {
	at := panel * lanes
	sees := func(lane int) int { // keys of the tile that a lane sees
		query := first + min(at+lane, pairs-1)/group
		return min(n, block.Visible(query)-j)
	}
	n = sees(lanes - 1)
	if n <= 0 {
		return
	}
	simd.TileScores(f.s, f.k, f.q[at*dim:], roundUp(n), dim)
	for lane := 0; lane < lanes; lane++ {
		from := max(0, sees(lane))
		if from == n {
			break // and so do all lanes after it
		}
		for key := from; key < n; key++ {
			f.s[key*lanes+lane] = negInf
		}
	}
	simd.TileSoftmax(f.s, f.m[at:], f.l[at:], f.f, n)
	simd.TileValues(f.o[at*dim:], f.v, f.s, f.f, n, dim)
}

// load transposes the queries, scaled, and the part so far into the panels. Lanes past the last pair
// hold zeros.
func (f *Flash) load(p Partial, q []float32, s Shape, head int) {
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
func (f *Flash) store(p Partial, s Shape, head int) {
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

// roundUp is the next multiple of four.
func roundUp(n int) int { return (n + 3) &^ 3 }
