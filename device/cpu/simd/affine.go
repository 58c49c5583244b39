package simd

// AffineNumbers is the scales, and the biases, of the groups of some rows.
type AffineNumbers [2][4096]float32

// AffineRows is for how many rows of so many groups, a multiple of four, products take the numbers, those of [Activations] if whole, else [ProductAffine];
// 0 if there is none for such rows here. Three more numbers than those may be read.
func AffineRows(groups int, whole bool) int {
	if !(haveAVX512 || haveNEON || whole && haveAVX2) || groups == 0 {
		return 0
	}
	return (len(AffineNumbers{}[0]) - 3) / groups &^ 3
}

// ProductAffine is
//
//	for t := range tokens {
//		for r := range rows {
//			dst[t*stride+r] = 0
//			for i := range cols {
//				g := (r*cols + i) / group
//				dst[t*stride+r] += x[t*cols+i] * (numbers[0][g]*w[r*cols+i] + numbers[1][g])
//			}
//		}
//	}
//
// for weights of 4 or 8 bits and at most AffineRows(cols/group, false) rows. group is 32 or a multiple of it. A token's result does
// not depend on the others. What lies in w behind the rows is brought into the cache meanwhile.
func ProductAffine(dst []float32, stride int, x []float32, w []byte, bits, group int, numbers *AffineNumbers, tokens, rows, cols int) {
	if tokens == 0 || rows == 0 {
		return
	}
	row := cols * bits / 8
	dst, x = dst[:(tokens-1)*stride+rows], x[:tokens*cols]
	part, next := w[:rows*row], w[min(len(w), min(4, rows)*row):]
	for t := 0; t < tokens; {
		take := together(tokens-t, 8)
		if bits == 4 {
			wideProductAffine4(take, dst[t*stride:], stride, x[t*cols:], part, next, rows, cols, group, numbers)
		} else {
			wideProductAffine8(take, dst[t*stride:], stride, x[t*cols:], part, next, rows, cols, group, numbers)
		}
		next = part[:0] // it is on its way
		t += take
	}
}
