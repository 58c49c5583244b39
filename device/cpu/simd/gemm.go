package simd

// The kernel of the matrix product computes a tile of GEMMRows x GEMMCols.
const (
	GEMMRows = 6
	GEMMCols = 16
)

// GEMM is
//
//	for r := range 6 {
//		for j := range 16 {
//			sum := float32(0)
//			for i := range k {
//				sum += a[i*6+r] * b[i*16+j]
//			}
//			if add {
//				sum += c[r*stride+j]
//			}
//			c[r*stride+j] = sum
//		}
//	}
func GEMM(c []float32, stride int, a, b []float32, k int, add bool) {
	c, a, b = c[:5*stride+16], a[:6*k], b[:16*k]
	switch {
	case haveAVX2:
		gemm6x16AVX2(c, stride, a, b, k, add)
	case haveNEON:
		gemm6x16NEON(c, stride, a, b, k, add)
	default:
		gemm6x16Go(c, stride, a, b, k, add)
	}
}

// GEMMWide reports whether [GEMMTwice] is there, and worth its while.
func GEMMWide() bool { return haveAVX512 }

// GEMMTwice is [GEMM] for two packs of a, one after the other, with two packs of b: a tile of 12 x 32, the same
// bits.
func GEMMTwice(c []float32, stride int, a, b []float32, k int, add bool) {
	c, a, b = c[:11*stride+32], a[:12*k], b[:32*k]
	if haveAVX512 {
		gemm12x32AVX512(c, stride, a, b, k, add)
		return
	}
	for r := range 2 {
		for j := range 2 {
			GEMM(c[r*6*stride+j*16:], stride, a[r*6*k:], b[j*16*k:], k, add)
		}
	}
}

// gemm6x16Go works on two rows and four columns at a time, which fit in any machine's registers.
func gemm6x16Go(c []float32, stride int, a, b []float32, k int, add bool) {
	for r := 0; r < 6; r += 2 {
		for j := 0; j < 16; j += 4 {
			var p, q [4]float32
			for i := range k {
				x, y := a[i*6+r], a[i*6+r+1]
				w := b[i*16+j : i*16+j+4 : i*16+j+4]
				p[0] += x * w[0]
				p[1] += x * w[1]
				p[2] += x * w[2]
				p[3] += x * w[3]
				q[0] += y * w[0]
				q[1] += y * w[1]
				q[2] += y * w[2]
				q[3] += y * w[3]
			}
			up, down := c[r*stride+j:][:4], c[(r+1)*stride+j:][:4]
			if add {
				for i := range 4 {
					p[i] += up[i]
					q[i] += down[i]
				}
			}
			copy(up, p[:])
			copy(down, q[:])
		}
	}
}
