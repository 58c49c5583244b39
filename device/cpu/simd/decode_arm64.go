//go:build !noasm

package simd

// scoresNEON is scores for dim a multiple of 8.
func scoresNEON(s []float32, stride int, q []float32, k []byte, heads, n, dim int) {
	for {
		share := 1
		for share < 8 && 2*share <= heads {
			share *= 2
		}
		wideProductF16(share, s, stride, q, k, nil, n, dim)
		if heads -= share; heads == 0 {
			return
		}
		s, q = s[share*stride:], q[share*dim:]
	}
}

// valuesNEON is values for dim a multiple of 8 and n at least 1.
func valuesNEON(o, p []float32, stride int, v []byte, heads, n, dim int) {
	for {
		share := sharedHeads(heads)
		switch share {
		case 1:
			values1F16NEON(o, p, stride, v, n, dim)
		case 2:
			values2F16NEON(o, p, stride, v, n, dim)
		case 4:
			values4F16NEON(o, p, stride, v, n, dim)
		}
		if heads -= share; heads == 0 {
			return
		}
		o, p = o[share*dim:], p[share*stride:]
	}
}
