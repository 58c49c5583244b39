package attention

import "github.com/orrery-ai/orrery/device/cpu/simd"

// vector is Attend for a few queries.
func (f *Flash) vector(p Partial, q []float32, first int, s Shape, head int, kv []KV) {
	group, dim := s.Group(), s.HeadDim
	f.q = grow(f.q, p.Rows*group*dim)
	f.s = grow(f.s, group*vectorKeys)
	for r := range p.Rows {
		at := (r*s.Heads + head*group) * dim
		simd.Scale(f.q[r*group*dim:], q[at:at+group*dim], s.Scale)
	}
	last := first + p.Rows - 1
	for i := range kv {
		block := &kv[i]
		seen := block.Visible(last)
		for j := 0; j < seen; j += vectorKeys {
			n := min(vectorKeys, seen-j)
			k := block.rows(block.K, head, j, n, dim)
			v := block.rows(block.V, head, j, n, dim)
			next := k
			if j+n < seen {
				next = block.rows(block.K, head, j+n, min(vectorKeys, seen-j-n), dim)
			} else if i+1 < len(kv) && kv[i+1].Visible(last) > 0 {
				next = kv[i+1].rows(kv[i+1].K, head, 0, 1, dim)
			}
			for r := range p.Rows {
				n := min(n, block.Visible(first+r)-j)
				if n <= 0 {
					continue
				}
				if block.Format == F32 {
					scoresF32(f.s, vectorKeys, f.q[r*group*dim:], k, group, n, dim)
				} else {
					simd.Scores(f.s, vectorKeys, f.q[r*group*dim:], k, v, group, n, dim)
				}
				at := r*s.Heads + head*group
				for h := range group {
					f.softmax(p, at+h, f.s[h*vectorKeys:h*vectorKeys+n])
				}
				o := p.O[at*dim : (at+group)*dim]
				if block.Format == F32 {
					f.v = grow(f.v, dim)
					valuesF32(o, f.s, vectorKeys, v, f.v, group, n, dim)
				} else {
					simd.Values(o, f.s, vectorKeys, v, next, group, n, dim)
				}
			}
		}
	}
}

// softmax replaces scores by weights e^(score-m), having brought row i of p to the new maximum m.
func (f *Flash) softmax(p Partial, i int, scores []float32) {
	old := p.M[i]
	next := max(old, simd.Max(scores))
	if isEmpty(next) {
		clear(scores)
		return
	}
	if next != old && !isEmpty(old) {
		factor := exp(old - next)
		o := p.O[i*p.Dim : (i+1)*p.Dim]
		simd.Scale(o, o, factor)
		p.L[i] *= factor
	}
	p.M[i] = next
	p.L[i] += simd.ExpSum(scores, next)
}
