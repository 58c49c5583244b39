//go:build amd64 && !noasm

package simd

type (
	scoresOf func(s []float32, stride int, q []float32, k []byte, scales []float32, next []byte, n, dim int)
	valuesOf func(o, p []float32, stride int, v []byte, scales []float32, next []byte, n, dim int)
	fromOf   func(dst []float32, src []byte, scales []float32, n, dim int)
)

// quantizedKernels are the routines for rows of 8 or 4 bits. Heads that share loads are 1, 2 or 4, at the index half of that.
type quantizedKernels struct {
	scores [3]scoresOf
	values [3]valuesOf
	from   fromOf
}

var narrow8 = quantizedKernels{
	[...]scoresOf{scores1Q8AVX2, scores2Q8AVX2, scores4Q8AVX2},
	[...]valuesOf{values1Q8AVX2, values2Q8AVX2, values4Q8AVX2}, fromQ8AVX2}

var narrow4 = quantizedKernels{
	[...]scoresOf{scores1Q4AVX2, scores2Q4AVX2, scores4Q4AVX2},
	[...]valuesOf{values1Q4AVX2, values2Q4AVX2, values4Q4AVX2}, fromQ4AVX2}

var wide8 = quantizedKernels{
	[...]scoresOf{scores1Q8AVX512, scores2Q8AVX512, scores4Q8AVX512},
	[...]valuesOf{values1Q8AVX512, values2Q8AVX512, values4Q8AVX512}, fromQ8AVX512}

var wide4 = quantizedKernels{
	[...]scoresOf{scores1Q4AVX512, scores2Q4AVX512, scores4Q4AVX512},
	[...]valuesOf{values1Q4AVX512, values2Q4AVX512, values4Q4AVX512}, fromQ4AVX512}

func quantizedFor(bits int) *quantizedKernels {
	switch {
	case haveAVX512 && bits == 8:
		return &wide8
	case haveAVX512:
		return &wide4
	case bits == 8:
		return &narrow8
	}
	return &narrow4
}

func scoresQuantized(bits, heads int, s []float32, stride int, q []float32, k []byte, scales []float32, next []byte, n, dim int) {
	quantizedFor(bits).scores[heads/2](s, stride, q, k, scales, next, n, dim)
}

func valuesQuantized(bits, heads int, o, p []float32, stride int, v []byte, scales []float32, next []byte, n, dim int) {
	quantizedFor(bits).values[heads/2](o, p, stride, v, scales, next, n, dim)
}

func fromQuantized(bits int, dst []float32, src []byte, scales []float32, n, dim int) {
	quantizedFor(bits).from(dst, src, scales, n, dim)
}
