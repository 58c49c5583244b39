//go:build amd64 && !noasm

package simd

// wideSoftmax is Softmax for n a multiple of 16.
func wideSoftmax(s []float32, stride int, m, l, f []float32, next []byte, heads, n int) {
	if direct {
		softmaxNearAVX512(s, stride, m, l, f, next, heads, n)
		return
	}
	softmaxAVX512(s, stride, m, l, f, next, heads, n)
}

// scoresAVX512 is scores for dim a multiple of 16.
func scoresAVX512(s []float32, stride int, q []float32, k, next []byte, heads, n, dim int) {
	for heads > 0 {
		share := 1
		switch {
		case heads >= 8:
			share = 8
			scores8F16AVX512(s, stride, q, k, next, n, dim)
		case heads >= 4:
			share = 4
			scores4F16AVX512(s, stride, q, k, next, n, dim)
		case heads >= 2:
			share = 2
			scores2F16AVX512(s, stride, q, k, next, n, dim)
		default:
			scores1F16AVX512(s, stride, q, k, next, n, dim)
			return
		}
		if heads -= share; heads > 0 {
			s, q = s[share*stride:], q[share*dim:]
		}
	}
}

// valuesAVX512 is values for dim a multiple of 16 and n at least 1.
func valuesAVX512(o, p []float32, stride int, v, next []byte, heads, n, dim int) {
	for heads > 0 {
		share := 1
		switch {
		case heads >= 8:
			share = 8
			values8F16AVX512(o, p, stride, v, next, n, dim)
		case heads >= 4:
			share = 4
			values4F16AVX512(o, p, stride, v, next, n, dim)
		case heads >= 2:
			share = 2
			values2F16AVX512(o, p, stride, v, next, n, dim)
		default:
			values1F16AVX512(o, p, stride, v, next, n, dim)
			return
		}
		if heads -= share; heads > 0 {
			o, p = o[share*dim:], p[share*stride:]
		}
	}
}
