package attention

import "github.com/orrery-ai/orrery/device/cpu/simd"

// vector is Attend for a few queries. It takes a block's heads one after the other, as they lie in memory: in other orders the processor's own
// prefetching fetches what is not wanted.
func (f *Flash) vector(p Partial, q []float32, first int, s Shape, head, end int, kv []KV) {
	group, dim := s.Group(), s.HeadDim
	f.q = grow(f.q, (end-head)*p.Rows*group*dim) // [end-head][rows][group][dim]
	f.s, f.f = grow(f.s, group*vectorKeys), grow(f.f, group)
	for h := head; h < end; h++ {
		for r := range p.Rows {
			at := (r*s.Heads + h*group) * dim
			simd.Scale(f.q[((h-head)*p.Rows+r)*group*dim:], q[at:at+group*dim], s.Scale)
		}
	}
	last := first + p.Rows - 1
	bits := 0 // that the queries are ready for
	this, next := &f.views[0], &f.views[1]
	for i := range kv {
		block := &kv[i]
		if i == 0 {
			this.see(block, head, dim, last)
		}
		if block.Format.Quantized() && block.Format.Bits() != bits {
			bits = block.Format.Bits()
			f.queries.Set(bits, f.q, (end-head)*p.Rows, group, dim)
		}
		for h := head; h < end; h++ {
			switch {
			case h+1 < end:
				next.see(block, h+1, dim, last)
			case i+1 < len(kv):
				next.see(&kv[i+1], head, dim, last)
			default:
				next.n = 0
			}
			f.view(p, first, h, (h-head)*p.Rows, group, block, this, next)
			this, next = next, this
		}
	}
}

// view accumulates the keys and values of a head in a block, this, while memory brings in those of next. The head's queries are those of
// f from query on.
func (f *Flash) view(p Partial, first, head, query, group int, block *KV, this, next *view) {
	for j := 0; j < this.n; j += vectorKeys {
		n := min(vectorKeys, this.n-j)
		t := tile{block.Format, this.k[j*this.row:][:n*this.row], this.v[j*this.row:][:n*this.row], nil, nil}
		after, at := this, j+n // where the keys after these are
		if at == this.n {
			after, at = next, 0
		}
		coming := min(vectorKeys, after.n-at)
		keys := after.k[at*after.row:][:coming*after.row]
		if block.Format.Quantized() {
			t.ks, t.vs = this.ks[j*this.perRow:][:n*this.perRow], this.vs[j*this.perRow:][:n*this.perRow]
			simd.Prefetch(after.ks[at*after.perRow:][:coming*after.perRow])
			simd.Prefetch(after.vs[at*after.perRow:][:coming*after.perRow])
		}
		values := t.v
		for r := range p.Rows {
			n := min(n, block.Visible(first+r)-j)
			if n <= 0 {
				continue
			}
			f.tile(p, r, head*group, query+r, group, n, &t, values, keys)
			values, keys = nil, nil // they are on their way
		}
	}
}

// view is the keys and values of one head that a query sees in a block, as they are stored: rows and, if quantized, their scales.
type view struct {
	n, row, perRow int // tokens, and bytes of each in rows and in scales
	k, v, ks, vs   []byte
}

// see makes the view that of the query at the position.
func (w *view) see(kv *KV, head, dim, position int) {
	*w = view{n: kv.Visible(position)}
	if w.n == 0 {
		return
	}
	w.row = dim * kv.Format.Bits() / 8
	w.k, w.v = kv.rows(kv.K, head, 0, w.n, dim), kv.rows(kv.V, head, 0, w.n, dim)
	if kv.Format.Quantized() {
		w.perRow = 2 * kv.Format.layout(dim).Scales()
		w.ks, w.vs = kv.scales(kv.K, head, 0, w.n, dim), kv.scales(kv.V, head, 0, w.n, dim)
	}
}

// tile is up to vectorKeys keys and values of a view.
type tile struct {
	format       Format
	k, v, ks, vs []byte
}

// tile accumulates the first n keys and values of t into the query heads [head, head+group) of row r, whose queries are those of f at query. Memory is kept busy
// meanwhile with what is used after it: scores bring in the values, the rest the next keys.
func (f *Flash) tile(p Partial, r, head, query, group, n int, t *tile, values, next []byte) {
	dim, format := p.Dim, t.format
	q := f.q[query*group*dim:]
	at := r*p.Heads + head
	o, m, l := p.O[at*dim:(at+group)*dim], p.M[at:at+group], p.L[at:at+group]
	// What the softmax asks for, in proportion to its time.
	during := simd.SoftmaxAhead(group, n)
	if format.Quantized() {
		during /= 2
	}
	during = min(during, len(next))
	meanwhile, next := next[:during], next[during:]
	switch format {
	case F32:
		scoresF32(f.s, vectorKeys, q, t.k, group, n, dim)
	case F16:
		simd.Scores(f.s, vectorKeys, q, t.k, values, group, n, dim)
	default:
		f.queries.Scores(query, f.s, vectorKeys, t.k, t.ks, values, n)
	}
	simd.Softmax(f.s, vectorKeys, m, l, f.f, meanwhile, group, n)
	for h, factor := range f.f[:group] {
		if factor != 1 {
			simd.Scale(o[h*dim:], o[h*dim:(h+1)*dim], factor)
		}
	}
	switch format {
	case F32:
		f.v = grow(f.v, dim)
		valuesF32(o, f.s, vectorKeys, t.v, f.v, group, n, dim)
	case F16:
		simd.Values(o, f.s, vectorKeys, t.v, next, group, n, dim)
	default:
		f.weights.Values(format.Bits(), o, f.s, vectorKeys, t.v, t.vs, l, next, group, n, dim)
	}
}

// unscale is halves, scales, as singles, in dst if they fit there.
func unscale(dst []float32, scales []byte) []float32 {
	dst = grow(dst, len(scales)/2)
	simd.FromF16(dst, scales)
	return dst
}
