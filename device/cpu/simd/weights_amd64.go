//go:build amd64 && !noasm

package simd

import "math"

// weighing is the routines for numbers of so many bytes.
type weighing struct {
	bytes  int
	weigh  func(w []byte, p []float32, stride int, scales, most, mostScales []float32, next []byte)
	values [3]func(o []float32, w []byte, from int, v, next []byte, n, dim int) // for 1, 2 and 4 heads
}

var (
	weighing8 = [...]weighing{
		{3, weigh24Q8VNNI, [...]func(o []float32, w []byte, from int, v, next []byte, n, dim int){values1Q8By24VNNI, values2Q8By24VNNI, values4Q8By24VNNI}},
		{2, weigh16Q8VNNI, [...]func(o []float32, w []byte, from int, v, next []byte, n, dim int){values1Q8By16VNNI, values2Q8By16VNNI, values4Q8By16VNNI}},
	}
	weighing4 = [...]weighing{
		{3, weigh24Q4VNNI, [...]func(o []float32, w []byte, from int, v, next []byte, n, dim int){values1Q4By24VNNI, values2Q4By24VNNI, values4Q4By24VNNI}},
		{2, weigh16Q4VNNI, [...]func(o []float32, w []byte, from int, v, next []byte, n, dim int){values1Q4By16VNNI, values2Q4By16VNNI, values4Q4By16VNNI}},
	}
)

// set prepares up to dealtKeys values for add, and returns their scales as that takes them, or nil where there is no routine for the shape, if a scale is not
// finite, or has a sign that none has.
func (w *Weights) set(bits int, v, scales []byte, n, dim int) []float32 {
	if !(haveVNNI && haveVBMI || narrowWhole(bits)) || dim > fixedDim || dim%QuantizedGroup != 0 {
		return nil
	}
	if w.weighed == nil {
		w.weighed = new(weighed)
	}
	x, magnitude := w.weighed, uint32(math.MaxUint32)
	if bits == 4 {
		magnitude >>= 1
	}
	dealt := w.scaling.dealAll(scales, groups(dim), n)
	most := x.mostScales[:groups(dim)]
	if haveVNNI {
		normalizeAVX512(most, dealt, magnitude)
	} else {
		normalizeAVX2(most, dealt, magnitude)
	}
	if !areFinite(most) {
		return nil
	}
	if row := dim * bits / 8; n%4 != 0 {
		clear(x.rest[copy(x.rest[:], v[n&^3*row:]):])
	}
	return dealt
}

// add is ValuesQuantized of what set took, for heads that share loads, as many as there are sums. It does nothing and returns false if a weight is not finite, or negative.
func (w *Weights) add(bits int, o, p []float32, stride int, v []byte, scales, sums []float32, next []byte, n, dim int) bool {
	x, heads := w.weighed, len(sums)
	if n < dealtKeys {
		for h := range heads {
			to := x.p[h*dealtKeys : (h+1)*dealtKeys]
			clear(to[copy(to, p[h*stride:h*stride+n]):])
		}
		p, stride = x.p[:], dealtKeys
	}
	p = p[:(heads-1)*stride+dealtKeys]
	most, mostScales := x.most[:heads], x.mostScales[:groups(dim)]
	if haveVNNI {
		largestAVX512(most, p, stride)
	} else {
		largestAVX2(most, p, stride)
	}
	if !areFinite(most) {
		return false
	}
	if !haveVNNI {
		few := fewBitsDo(most, sums)
		if few {
			w.addNarrow(bits, o, p, stride, v, scales, next, n, dim)
		}
		return few
	}
	by := &weighing8
	if bits == 4 {
		by = &weighing4
	}
	numbers := &by[0]
	if fewBitsDo(most, sums) {
		numbers = &by[1]
	}
	during := min(len(next), weighedAhead*heads*len(mostScales))
	numbers.weigh(x.numbers[:], p, stride, scales, most, mostScales, next[:during])
	values, whole, row := numbers.values[heads/2], n&^3, dim*bits/8
	if whole > 0 {
		values(o, x.numbers[:], 0, v[:whole*row], next[during:], whole, dim)
	}
	if n > whole {
		if bits == 4 && whole > 0 {
			for g := range mostScales { // the sums have started already
				at := g * (weighedHeader + heads*numbers.bytes*dealtKeys)
				clear(x.numbers[at+weighedStarts : at+weighedHeader])
			}
		}
		values(o, x.numbers[:], whole, x.rest[:4*row], nil, 4, dim)
	}
	return true
}

// areFinite reports whether all are finite and not negative.
func areFinite(x []float32) bool {
	for _, v := range x {
		if math.Float32bits(v) >= math.Float32bits(float32(math.Inf(1))) {
			return false
		}
	}
	return true
}

// fewBitsDo reports whether every head's largest weight is small beside what all sum up to.
func fewBitsDo(most, sums []float32) bool {
	for h, m := range most {
		if !(m*weighedFew <= sums[h]) {
			return false
		}
	}
	return true
}
