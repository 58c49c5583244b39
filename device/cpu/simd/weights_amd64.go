//go:build amd64 && !noasm

package simd

import "math"

var (
	weighed8 = [...]func(o []float32, w []byte, from int, v, next []byte, n, dim int){values1Q8VNNI, values2Q8VNNI, values4Q8VNNI}
	weighed4 = [...]func(o []float32, w []byte, from int, v, next []byte, n, dim int){values1Q4VNNI, values2Q4VNNI, values4Q4VNNI}
)

// set prepares up to dealtKeys values for add, and returns their scales as that takes them, or nil where there is no routine for the shape.
func (w *Weights) set(bits int, v, scales []byte, n, dim int) []float32 {
	if !haveVNNI || !haveVBMI || dim > fixedDim || dim%QuantizedGroup != 0 {
		return nil
	}
	if w.weighed == nil {
		w.weighed = new(weighed)
	}
	if row := dim * bits / 8; n%4 != 0 {
		clear(w.weighed.rest[copy(w.weighed.rest[:], v[n&^3*row:]):])
	}
	return w.scaling.dealAll(scales, groups(dim), n)
}

// add is ValuesQuantized of what set took, for heads that share loads. It does nothing and returns false if a weight or a scale is not finite, or has
// a sign that none has.
func (w *Weights) add(bits int, o, p []float32, stride int, v []byte, scales []float32, next []byte, heads, n, dim int) bool {
	x, weigh, values := w.weighed, weighQ8VNNI, weighed8[heads/2]
	if bits == 4 {
		weigh, values = weighQ4VNNI, weighed4[heads/2]
	}
	if n < dealtKeys {
		for h := range heads {
			to := x.p[h*dealtKeys : (h+1)*dealtKeys]
			clear(to[copy(to, p[h*stride:h*stride+n]):])
		}
		p, stride = x.p[:], dealtKeys
	}
	during := min(len(next), weighedAhead*heads*groups(dim))
	most := weigh(x.numbers[:], p[:(heads-1)*stride+dealtKeys], stride, scales, next[:during], heads, groups(dim))
	if most >= math.Float32bits(float32(math.Inf(1))) {
		return false
	}
	whole, row := n&^3, dim*bits/8
	if whole > 0 {
		values(o, x.numbers[:], 0, v[:whole*row], next[during:], whole, dim)
	}
	if n > whole {
		if bits == 4 && whole > 0 {
			for g := range groups(dim) { // the sums have started already
				at := g * (weighedHeader + heads*weighedHead)
				clear(x.numbers[at+weighedStarts : at+weighedHeader])
			}
		}
		values(o, x.numbers[:], whole, x.rest[:4*row], nil, 4, dim)
	}
	return true
}
