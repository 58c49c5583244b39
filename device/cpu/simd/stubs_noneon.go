//go:build !arm64 || noasm

package simd

import "github.com/orrery-ai/orrery/device/quant"

// detectNEON says that there is no assembly for ARM: the routines below only stand for it, and are its twins.
func detectNEON() bool { return false }

func product1F32NEON(s []float32, _ int, q []float32, k []byte, n, dim int) {
	dotsF32Go(s[:n], q[:dim], k, 0)
}

func product1F16NEON(s []float32, _ int, q []float32, k []byte, n, dim int) {
	dotsF16Go(s[:n], q[:dim], k, 0)
}

func product1BF16NEON(s []float32, _ int, q []float32, k []byte, n, dim int) {
	dotsBF16Go(s[:n], q[:dim], k, 0)
}

func fromF16NEON(dst []float32, src []byte)  { fromF16Go(dst, src) }
func fromBF16NEON(dst []float32, src []byte) { fromBF16Go(dst, src) }
func toF16NEON(dst []byte, src []float32)    { toF16Go(dst, src) }

func swiGLUNEON(dst, gate, up []float32)             { swiGLUGo(dst, gate, up) }
func scaleNEON(dst, x []float32, f float32)          { scaleGo(dst, x, f) }
func scaleAddNEON(dst, x []float32, fd, fx float32)  { scaleAddGo(dst, x, fd, fx) }
func sumNEON(b []byte) uint64                        { return sumGo(b) }
func pack6F32NEON(dst, src []float32, stride, n int) { pack6Go(dst, src, stride, 6, 0, n) }

func pack16F32NEON(dst []float32, src []byte, stride, n int) { pack16F32Go(dst, src, stride, 16, 0, n) }
func pack16F16NEON(dst []float32, src []byte, stride, n int) { pack16F16Go(dst, src, stride, 16, 0, n) }
func pack16BF16NEON(dst []float32, src []byte, stride, n int) {
	pack16BF16Go(dst, src, stride, 16, 0, n)
}

func gemm6x16NEON(c []float32, stride int, a, b []float32, k int, add bool) {
	gemm6x16Go(c, stride, a, b, k, add)
}

func tileScoresNEON(s, k, q []float32, n, dim int)    { tileScoresGo(s, k, q, n, dim) }
func tileSoftmaxNEON(s, m, l, f []float32, n int)     { tileSoftmaxGo(s, m, l, f, n) }
func tileValuesNEON(o, v, p, f []float32, n, dim int) { tileValuesGo(o, v, p, f, n, dim) }

func softmaxNEON(s []float32, stride int, m, l, f []float32, heads, n int) {
	softmaxGo(s, stride, m, l, f, heads, n)
}

func scoresNEON(s []float32, stride int, q []float32, k []byte, heads, n, dim int) {
	scoresGo(s, stride, q, k, heads, n, dim)
}

func valuesNEON(o, p []float32, stride int, v []byte, heads, n, dim int) {
	valuesGo(o, p, stride, v, heads, n, dim)
}

func fromQ8_0NEON(dst []float32, src []byte) { quant.FromQ8_0(dst, src) }
func fromQ4_0NEON(dst []float32, src []byte) { quant.FromQ4_0(dst, src) }
func fromQ4_KNEON(dst []float32, src []byte) { quant.FromQ4_K(dst, src) }
func fromQ6_KNEON(dst []float32, src []byte) { quant.FromQ6_K(dst, src) }

func fromAffine4NEON(dst []float32, q []byte, scales, biases []float32, group int) {
	quant.FromAffine(dst, q, 4, group, scales, biases)
}

func fromAffine8NEON(dst []float32, q []byte, scales, biases []float32, group int) {
	quant.FromAffine(dst, q, 8, group, scales, biases)
}
