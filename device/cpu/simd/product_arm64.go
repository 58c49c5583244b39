//go:build !noasm

package simd

// wideProductF32 is the products of 1, 2, 4 or 8 vectors.
func wideProductF32(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int) {
	switch vectors {
	case 1:
		product1F32NEON(s, stride, q, k, n, dim)
	case 2:
		product2F32NEON(s, stride, q, k, n, dim)
	case 4:
		product4F32NEON(s, stride, q, k, n, dim)
	case 8:
		product8F32NEON(s, stride, q, k, n, dim)
	}
}

// wideProductF16 is the products of 1, 2, 4 or 8 vectors.
func wideProductF16(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int) {
	switch vectors {
	case 1:
		product1F16NEON(s, stride, q, k, n, dim)
	case 2:
		product2F16NEON(s, stride, q, k, n, dim)
	case 4:
		product4F16NEON(s, stride, q, k, n, dim)
	case 8:
		product8F16NEON(s, stride, q, k, n, dim)
	}
}

// wideProductBF16 is the products of 1, 2, 4 or 8 vectors.
func wideProductBF16(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int) {
	switch vectors {
	case 1:
		product1BF16NEON(s, stride, q, k, n, dim)
	case 2:
		product2BF16NEON(s, stride, q, k, n, dim)
	case 4:
		product4BF16NEON(s, stride, q, k, n, dim)
	case 8:
		product8BF16NEON(s, stride, q, k, n, dim)
	}
}
