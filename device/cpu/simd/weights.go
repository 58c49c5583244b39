package simd

// Weights are those of the softmax for one token's query heads that share values, with room for what sums of values of 8 or 4 bits take.
// The zero value is ready.
type Weights struct {
	weighed *weighed
	scaling scaling
}

// weighed is the weights of up to dealtKeys values for four heads, times the scales of each group, as whole numbers.
type weighed struct {
	turned     [dealtKeys * QuantizedGroup]byte // a group of the values
	numbers    [weighedBytes]byte
	p          [4 * dealtKeys]float32 // weights and zeros
	rest       [4 * fixedDim]byte     // the last one to three values, and zeros
	most       [4]float32             // the largest weight of each head
	mostScales [fixedDim / QuantizedGroup]float32
}

const (
	weighedStarts = 16  // bytes: what to multiply a group's sums with, for each head; then where they start
	weighedHeader = 48  // bytes of both; then the numbers
	weighedAhead  = 256 // bytes that are asked for with a head's numbers in a group
	weighedBytes  = (weighedHeader + 4*3*dealtKeys) * fixedDim / QuantizedGroup
	weighedFew    = 256 // how many times the largest weight what all weights sum up to is at least for 16 bits to do
)

// Values is [ValuesQuantized] with scales as halves. sums are what each head's weights sum up to, with those of values that were added to o before.
//
// Where there are VNNI and VBMI, weights times scales become whole numbers: of 24 bits, so that the error of each is 2⁻²⁴ of the largest weight times the
// largest scale among up to 256 values; or of 16 where that weight is at most 2⁻⁸ of what all sum up to, for every head of those that share loads, so that the error
// is 2⁻²⁴ of that sum times the largest scale. Where there is VNNI without AVX-512, and in 4 bits where there is AVX2, they become numbers of 16 bits likewise, and stay as they are where those would not do.
func (w *Weights) Values(bits int, o, p []float32, stride int, v, scales []byte, sums []float32, next []byte, heads, n, dim int) {
	row, perRow := dim*bits/8, 2*groups(dim)
	for at := 0; at < n; at += dealtKeys {
		some := min(dealtKeys, n-at)
		rows, by := v[at*row:(at+some)*row], scales[at*perRow:(at+some)*perRow]
		dealt := w.set(bits, rows, by, some, dim)
		for first, share := 0, 0; first < heads; first += share {
			share = sharedHeads(heads - first)
			to, weights := o[first*dim:(first+share)*dim], p[first*stride+at:]
			if dealt == nil || !w.add(bits, to, weights, stride, rows, dealt, sums[first:first+share], next, some, dim) {
				ValuesQuantized(bits, to, weights, stride, rows, w.scaling.plain(by), next, share, some, dim)
			}
			next = nil
		}
	}
}
