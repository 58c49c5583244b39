//go:build amd64 && !noasm

package simd

// wideProductF32 is the product of one vector.
func wideProductF32(_ int, s []float32, stride int, q []float32, k, next []byte, n, dim int) {
	if direct {
		product1F32Direct(s, stride, q, k, next, n, dim)
		return
	}
	product1F32AVX512(s, stride, q, k, next, n, dim)
}

// panelProductF32 is a panel's products of 2 to 8 vectors.
func panelProductF32(vectors int, s []float32, stride int, q []float32, k, next []byte, n, from, to, dim int, sums *panelSums) {
	switch vectors {
	case 2:
		product2F32AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 3:
		product3F32AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 4:
		product4F32AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 5:
		product5F32AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 6:
		product6F32AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 7:
		product7F32AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 8:
		product8F32AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	}
}

// wideProductF16 is the product of one vector.
func wideProductF16(_ int, s []float32, stride int, q []float32, k, next []byte, n, dim int) {
	if direct {
		product1F16Direct(s, stride, q, k, next, n, dim)
		return
	}
	product1F16AVX512(s, stride, q, k, next, n, dim)
}

// panelProductF16 is a panel's products of 2 to 8 vectors.
func panelProductF16(vectors int, s []float32, stride int, q []float32, k, next []byte, n, from, to, dim int, sums *panelSums) {
	switch vectors {
	case 2:
		product2F16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 3:
		product3F16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 4:
		product4F16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 5:
		product5F16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 6:
		product6F16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 7:
		product7F16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 8:
		product8F16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	}
}

// wideProductBF16 is the product of one vector.
func wideProductBF16(_ int, s []float32, stride int, q []float32, k, next []byte, n, dim int) {
	if direct {
		product1BF16Direct(s, stride, q, k, next, n, dim)
		return
	}
	product1BF16AVX512(s, stride, q, k, next, n, dim)
}

// panelProductBF16 is a panel's products of 2 to 8 vectors.
func panelProductBF16(vectors int, s []float32, stride int, q []float32, k, next []byte, n, from, to, dim int, sums *panelSums) {
	switch vectors {
	case 2:
		product2BF16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 3:
		product3BF16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 4:
		product4BF16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 5:
		product5BF16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 6:
		product6BF16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 7:
		product7BF16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	case 8:
		product8BF16AVX512(s, stride, q, k, next, n, from, to, dim, (*[4096]float32)(sums))
	}
}

// wideProductQ8_0 is the products of 1, 2, 4 or 8 vectors.
func wideProductQ8_0(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32) {
	switch vectors {
	case 1:
		product1Q8_0AVX512(s, stride, q, k, next, n, dim, halves)
	case 2:
		product2Q8_0AVX512(s, stride, q, k, next, n, dim, halves)
	case 4:
		product4Q8_0AVX512(s, stride, q, k, next, n, dim, halves)
	case 8:
		product8Q8_0AVX512(s, stride, q, k, next, n, dim, halves)
	}
}

// wideProductQ4_0 is the products of 1, 2, 4 or 8 vectors.
func wideProductQ4_0(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32) {
	switch vectors {
	case 1:
		product1Q4_0AVX512(s, stride, q, k, next, n, dim, halves)
	case 2:
		product2Q4_0AVX512(s, stride, q, k, next, n, dim, halves)
	case 4:
		product4Q4_0AVX512(s, stride, q, k, next, n, dim, halves)
	case 8:
		product8Q4_0AVX512(s, stride, q, k, next, n, dim, halves)
	}
}

// wideProductQ4_K is the products of 1, 2, 4 or 8 vectors.
func wideProductQ4_K(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32) {
	switch vectors {
	case 1:
		product1Q4_KAVX512(s, stride, q, k, next, n, dim, halves)
	case 2:
		product2Q4_KAVX512(s, stride, q, k, next, n, dim, halves)
	case 4:
		product4Q4_KAVX512(s, stride, q, k, next, n, dim, halves)
	case 8:
		product8Q4_KAVX512(s, stride, q, k, next, n, dim, halves)
	}
}

// wideProductQ6_K is the products of 1, 2, 4 or 8 vectors.
func wideProductQ6_K(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32) {
	switch vectors {
	case 1:
		product1Q6_KAVX512(s, stride, q, k, next, n, dim, halves)
	case 2:
		product2Q6_KAVX512(s, stride, q, k, next, n, dim, halves)
	case 4:
		product4Q6_KAVX512(s, stride, q, k, next, n, dim, halves)
	case 8:
		product8Q6_KAVX512(s, stride, q, k, next, n, dim, halves)
	}
}

// wideProductAffine4 is the products of 1, 2, 4 or 8 vectors.
func wideProductAffine4(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim, group int, numbers *AffineNumbers) {
	switch vectors {
	case 1:
		product1Affine4AVX512(s, stride, q, k, next, n, dim, group, (*[2][4096]float32)(numbers))
	case 2:
		product2Affine4AVX512(s, stride, q, k, next, n, dim, group, (*[2][4096]float32)(numbers))
	case 4:
		product4Affine4AVX512(s, stride, q, k, next, n, dim, group, (*[2][4096]float32)(numbers))
	case 8:
		product8Affine4AVX512(s, stride, q, k, next, n, dim, group, (*[2][4096]float32)(numbers))
	}
}

// wideProductAffine8 is the products of 1, 2, 4 or 8 vectors.
func wideProductAffine8(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim, group int, numbers *AffineNumbers) {
	switch vectors {
	case 1:
		product1Affine8AVX512(s, stride, q, k, next, n, dim, group, (*[2][4096]float32)(numbers))
	case 2:
		product2Affine8AVX512(s, stride, q, k, next, n, dim, group, (*[2][4096]float32)(numbers))
	case 4:
		product4Affine8AVX512(s, stride, q, k, next, n, dim, group, (*[2][4096]float32)(numbers))
	case 8:
		product8Affine8AVX512(s, stride, q, k, next, n, dim, group, (*[2][4096]float32)(numbers))
	}
}

// narrowProductQ8_0 is the products of 1, 2 or 4 vectors.
func narrowProductQ8_0(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32) {
	switch vectors {
	case 1:
		product1Q8_0AVX2(s, stride, q, k, next, n, dim, halves)
	case 2:
		product2Q8_0AVX2(s, stride, q, k, next, n, dim, halves)
	case 4:
		product4Q8_0AVX2(s, stride, q, k, next, n, dim, halves)
	}
}

// narrowProductQ4_0 is the products of 1, 2 or 4 vectors.
func narrowProductQ4_0(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32) {
	switch vectors {
	case 1:
		product1Q4_0AVX2(s, stride, q, k, next, n, dim, halves)
	case 2:
		product2Q4_0AVX2(s, stride, q, k, next, n, dim, halves)
	case 4:
		product4Q4_0AVX2(s, stride, q, k, next, n, dim, halves)
	}
}
