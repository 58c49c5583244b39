package attention

import "github.com/orrery-ai/orrery/device/cpu/simd"

// vector is Attend for a few queries.
func (f *Flash) vector(p Partial, q []float32, first int, s Shape, head int, kv []KV) {
	group, dim := s.Group(), s.HeadDim
	f.q = grow(f.q, p.Rows*group*dim)
	f.s, f.f = grow(f.s, group*vectorKeys), grow(f.f, group)
	for r := range p.Rows {
		at := (r*s.Heads + head*group) * dim
		simd.Scale(f.q[r*group*dim:], q[at:at+group*dim], s.Scale)
	}
	last := first + p.Rows - 1
	bits := 0 // that the queries are ready for
	for i := range kv {
		block := &kv[i]
		if block.Format.Quantized() && block.Format.Bits() != bits {
			bits = block.Format.Bits()
			f.ready(bits, p.Rows, group, dim)
		}
		seen := block.Visible(last)
		for j := 0; j < seen; j += vectorKeys {
			n := min(vectorKeys, seen-j)
			k := block.rows(block.K, head, j, n, dim)
			v := block.rows(block.V, head, j, n, dim)
			if block.Format.Quantized() {
				f.ks = unscale(f.ks, block.scales(block.K, head, j, n, dim))
				f.vs = unscale(f.vs, block.scales(block.V, head, j, n, dim))
				if after := min(vectorKeys, seen-j-n); after > 0 {
					simd.Prefetch(block.scales(block.K, head, j+n, after, dim))
					simd.Prefetch(block.scales(block.V, head, j+n, after, dim))
				} else if i+1 < len(kv) && kv[i+1].Format == block.Format {
					after := min(vectorKeys, kv[i+1].Visible(last))
					simd.Prefetch(kv[i+1].scales(kv[i+1].K, head, 0, after, dim))
					simd.Prefetch(kv[i+1].scales(kv[i+1].V, head, 0, after, dim))
				}
			}
			next := k[:0] // the keys after these
			if j+n < seen {
				next = block.rows(block.K, head, j+n, min(vectorKeys, seen-j-n), dim)
			} else if i+1 < len(kv) {
				next = kv[i+1].rows(kv[i+1].K, head, 0, min(vectorKeys, kv[i+1].Visible(last)), dim)
			}
			for r, values := 0, v; r < p.Rows; r++ {
				n := min(n, block.Visible(first+r)-j)
				if n <= 0 {
					continue
				}
				f.tile(p, r, head*group, group, n, block.Format, k, v, values, next)
				values, next = v[:0], k[:0] // they are on their way
			}
		}
	}
}

// tile accumulates n keys and values into the query heads [head, head+group) of row r. Memory is kept busy
// meanwhile with what is used after it: scores bring in the values, the rest the next keys.
func (f *Flash) tile(p Partial, r, head, group, n int, format Format, k, v, values, next []byte) {
	dim := p.Dim
	q := f.q[r*group*dim:]
	at := r*p.Heads + head
	o, m, l := p.O[at*dim:(at+group)*dim], p.M[at:at+group], p.L[at:at+group]
	// What the softmax asks for: the first of the keys; or, where scores take no longer than values do, the last of the values.
	during := simd.SoftmaxAhead(group, n)
	var meanwhile []byte
	if format.Quantized() {
		during = len(values) - min(during, len(values)/4)
		values, meanwhile = values[:during], values[during:]
	} else {
		during = min(during, len(next))
		meanwhile, next = next[:during], next[during:]
	}
	switch format {
	case F32:
		scoresF32(f.s, vectorKeys, q, k, group, n, dim)
	case F16:
		simd.Scores(f.s, vectorKeys, q, k, values, group, n, dim)
	default:
		f.queries[r].Scores(f.s, vectorKeys, k, f.ks, values, n)
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
		valuesF32(o, f.s, vectorKeys, v, f.v, group, n, dim)
	case F16:
		simd.Values(o, f.s, vectorKeys, v, next, group, n, dim)
	default:
		simd.ValuesQuantized(format.Bits(), o, f.s, vectorKeys, v, f.vs, next, group, n, dim)
	}
}

// ready prepares the queries of so many rows for keys of the bits.
func (f *Flash) ready(bits, rows, group, dim int) {
	for len(f.queries) < rows {
		f.queries = append(f.queries, simd.Queries{})
	}
	for r := range rows {
		f.queries[r].Set(bits, f.q[r*group*dim:], group, dim)
	}
}

// unscale is halves, scales, as singles, in dst if they fit there.
func unscale(dst []float32, scales []byte) []float32 {
	dst = grow(dst, len(scales)/2)
	simd.FromF16(dst, scales)
	return dst
}
