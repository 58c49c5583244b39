//go:build !noasm

package simd

func scoresQuantized(bits, heads int, s []float32, stride int, q []float32, k []byte, scales []float32, _ []byte, n, dim int) {
	switch {
	case bits == 8 && heads == 1:
		scores1Q8NEON(s, stride, q, k, scales, n, dim)
	case bits == 8 && heads == 2:
		scores2Q8NEON(s, stride, q, k, scales, n, dim)
	case bits == 8:
		scores4Q8NEON(s, stride, q, k, scales, n, dim)
	case heads == 1:
		scores1Q4NEON(s, stride, q, k, scales, n, dim)
	case heads == 2:
		scores2Q4NEON(s, stride, q, k, scales, n, dim)
	default:
		scores4Q4NEON(s, stride, q, k, scales, n, dim)
	}
}

func valuesQuantized(bits, heads int, o, p []float32, stride int, v []byte, scales []float32, _ []byte, n, dim int) {
	switch {
	case bits == 8 && heads == 1:
		values1Q8NEON(o, p, stride, v, scales, n, dim)
	case bits == 8 && heads == 2:
		values2Q8NEON(o, p, stride, v, scales, n, dim)
	case bits == 8:
		values4Q8NEON(o, p, stride, v, scales, n, dim)
	case heads == 1:
		values1Q4NEON(o, p, stride, v, scales, n, dim)
	case heads == 2:
		values2Q4NEON(o, p, stride, v, scales, n, dim)
	default:
		values4Q4NEON(o, p, stride, v, scales, n, dim)
	}
}

func fromQuantized(bits int, dst []float32, src []byte, scales []float32, n, dim int) {
	if bits == 8 {
		fromQ8NEON(dst, src, scales, n, dim)
		return
	}
	fromQ4NEON(dst, src, scales, n, dim)
}
