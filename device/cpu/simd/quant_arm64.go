//go:build !noasm

package simd

// wideProductQ8_0 is the products of 1, 2, 4 or 8 vectors.
func wideProductQ8_0(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int, _ *[65536]float32) {
	switch vectors {
	case 1:
		product1Q8_0NEON(s, stride, q, k, n, dim)
	case 2:
		product2Q8_0NEON(s, stride, q, k, n, dim)
	case 4:
		product4Q8_0NEON(s, stride, q, k, n, dim)
	case 8:
		product4Q8_0NEON(s, stride, q, k, n, dim)
		product4Q8_0NEON(s[4*stride:], stride, q[4*dim:], k, n, dim)
	}
}

// wideProductQ4_0 is the products of 1, 2, 4 or 8 vectors.
func wideProductQ4_0(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int, _ *[65536]float32) {
	switch vectors {
	case 1:
		product1Q4_0NEON(s, stride, q, k, n, dim)
	case 2:
		product2Q4_0NEON(s, stride, q, k, n, dim)
	case 4:
		product4Q4_0NEON(s, stride, q, k, n, dim)
	case 8:
		product4Q4_0NEON(s, stride, q, k, n, dim)
		product4Q4_0NEON(s[4*stride:], stride, q[4*dim:], k, n, dim)
	}
}

// wideProductQ4_K is the products of 1, 2, 4 or 8 vectors.
func wideProductQ4_K(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int, _ *[65536]float32) {
	switch vectors {
	case 1:
		product1Q4_KNEON(s, stride, q, k, n, dim)
	case 2:
		product2Q4_KNEON(s, stride, q, k, n, dim)
	case 4:
		product4Q4_KNEON(s, stride, q, k, n, dim)
	case 8:
		product4Q4_KNEON(s, stride, q, k, n, dim)
		product4Q4_KNEON(s[4*stride:], stride, q[4*dim:], k, n, dim)
	}
}

// wideProductQ6_K is the products of 1, 2, 4 or 8 vectors.
func wideProductQ6_K(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int, _ *[65536]float32) {
	switch vectors {
	case 1:
		product1Q6_KNEON(s, stride, q, k, n, dim)
	case 2:
		product2Q6_KNEON(s, stride, q, k, n, dim)
	case 4:
		product4Q6_KNEON(s, stride, q, k, n, dim)
	case 8:
		product4Q6_KNEON(s, stride, q, k, n, dim)
		product4Q6_KNEON(s[4*stride:], stride, q[4*dim:], k, n, dim)
	}
}

// wideProductAffine4 is the products of 1, 2, 4 or 8 vectors.
func wideProductAffine4(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim, group int, numbers *AffineNumbers) {
	of := (*[2][4096]float32)(numbers)
	switch vectors {
	case 1:
		product1Affine4NEON(s, stride, q, k, n, dim, group, of)
	case 2:
		product2Affine4NEON(s, stride, q, k, n, dim, group, of)
	case 4:
		product4Affine4NEON(s, stride, q, k, n, dim, group, of)
	case 8:
		product4Affine4NEON(s, stride, q, k, n, dim, group, of)
		product4Affine4NEON(s[4*stride:], stride, q[4*dim:], k, n, dim, group, of)
	}
}

// wideProductAffine8 is the products of 1, 2, 4 or 8 vectors.
func wideProductAffine8(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim, group int, numbers *AffineNumbers) {
	of := (*[2][4096]float32)(numbers)
	switch vectors {
	case 1:
		product1Affine8NEON(s, stride, q, k, n, dim, group, of)
	case 2:
		product2Affine8NEON(s, stride, q, k, n, dim, group, of)
	case 4:
		product4Affine8NEON(s, stride, q, k, n, dim, group, of)
	case 8:
		product4Affine8NEON(s, stride, q, k, n, dim, group, of)
		product4Affine8NEON(s[4*stride:], stride, q[4*dim:], k, n, dim, group, of)
	}
}
