//go:build !amd64 || noasm

package simd

import "github.com/orrery-ai/orrery/device/quant"

// detect says that there is no assembly for AVX: the routines below only stand for it, and are its twins.
func detect() (avx2, avxVNNI, avx512, vnni, gfni, amx bool) {
	return false, false, false, false, false, false
}

func detectDirect() bool { return false }

// Panels are for AVX-512.

func panelProductF32(int, []float32, int, []float32, []byte, []byte, int, int, int, int, *panelSums) {
}
func panelProductF16(int, []float32, int, []float32, []byte, []byte, int, int, int, int, *panelSums) {
}
func panelProductBF16(int, []float32, int, []float32, []byte, []byte, int, int, int, int, *panelSums) {
}

func dotsF32AVX2(dst, x []float32, w []byte, _ int) { dotsF32Go(dst, x, w, 0) }

func dotsPairF32AVX2(dst, dst2, x, x2 []float32, w []byte, _ int) {
	dotsF32Go(dst, x, w, 0)
	dotsF32Go(dst2, x2, w, 0)
}

func dotsF16AVX2(dst, x []float32, w []byte, _ int) { dotsF16Go(dst, x, w, 0) }

func dotsPairF16AVX2(dst, dst2, x, x2 []float32, w []byte, _ int) {
	dotsF16Go(dst, x, w, 0)
	dotsF16Go(dst2, x2, w, 0)
}

func dotsBF16AVX2(dst, x []float32, w []byte, _ int) { dotsBF16Go(dst, x, w, 0) }

func dotsPairBF16AVX2(dst, dst2, x, x2 []float32, w []byte, _ int) {
	dotsBF16Go(dst, x, w, 0)
	dotsBF16Go(dst2, x2, w, 0)
}

func fromF16AVX2(dst []float32, src []byte)                  { fromF16Go(dst, src) }
func fromBF16AVX2(dst []float32, src []byte)                 { fromBF16Go(dst, src) }
func toF16AVX2(dst []byte, src []float32)                    { toF16Go(dst, src) }
func swiGLUAVX2(dst, gate, up []float32)                     { swiGLUGo(dst, gate, up) }
func scaleAVX2(dst, x []float32, f float32)                  { scaleGo(dst, x, f) }
func scaleAddAVX2(dst, x []float32, f, g float32)            { scaleAddGo(dst, x, f, g) }
func pack6F32AVX2(dst, src []float32, stride, n int)         { pack6Go(dst, src, stride, 6, 0, n) }
func pack16F32AVX2(dst []float32, src []byte, stride, n int) { pack16F32Go(dst, src, stride, 16, 0, n) }
func pack16F16AVX2(dst []float32, src []byte, stride, n int) { pack16F16Go(dst, src, stride, 16, 0, n) }

func pack16BF16AVX2(dst []float32, src []byte, stride, n int) {
	pack16BF16Go(dst, src, stride, 16, 0, n)
}

func gemm6x16AVX2(c []float32, stride int, a, b []float32, k int, add bool) {
	gemm6x16Go(c, stride, a, b, k, add)
}

func gemm12x32AVX512(c []float32, stride int, a, b []float32, k int, add bool) {
	GEMMTwice(c, stride, a, b, k, add)
}

func tileScoresAVX2(s, k, q []float32, n, dim int)    { tileScoresGo(s, k, q, n, dim) }
func tileSoftmaxAVX2(s, m, l, f []float32, n int)     { tileSoftmaxGo(s, m, l, f, n) }
func tileValuesAVX2(o, v, p, f []float32, n, dim int) { tileValuesGo(o, v, p, f, n, dim) }

func scores1F16AVX2(s []float32, stride int, q []float32, k, _ []byte, n, dim int) {
	scoresGo(s, stride, q, k, 1, n, dim)
}

func scores2F16AVX2(s []float32, stride int, q []float32, k, _ []byte, n, dim int) {
	scoresGo(s, stride, q, k, 2, n, dim)
}

func scores4F16AVX2(s []float32, stride int, q []float32, k, _ []byte, n, dim int) {
	scoresGo(s, stride, q, k, 4, n, dim)
}

func values1F16AVX2(o, p []float32, stride int, v, _ []byte, n, dim int) {
	valuesGo(o, p, stride, v, 1, n, dim)
}

func values2F16AVX2(o, p []float32, stride int, v, _ []byte, n, dim int) {
	valuesGo(o, p, stride, v, 2, n, dim)
}

func values4F16AVX2(o, p []float32, stride int, v, _ []byte, n, dim int) {
	valuesGo(o, p, stride, v, 4, n, dim)
}

func scoresAVX512(s []float32, stride int, q []float32, k, _ []byte, heads, n, dim int) {
	scoresGo(s, stride, q, k, heads, n, dim)
}

func valuesAVX512(o, p []float32, stride int, v, _ []byte, heads, n, dim int) {
	valuesGo(o, p, stride, v, heads, n, dim)
}

func sumAVX2(b []byte) uint64 { return sumGo(b) }

func softmaxAVX2(s []float32, stride int, m, l, f []float32, _ []byte, heads, n int) {
	softmaxGo(s, stride, m, l, f, heads, n)
}

func wideSoftmax(s []float32, stride int, m, l, f []float32, _ []byte, heads, n int) {
	softmaxGo(s, stride, m, l, f, heads, n)
}

func fromQ8_0AVX512(dst []float32, src []byte, _ *[65536]float32) { quant.FromQ8_0(dst, src) }
func fromQ4_0AVX512(dst []float32, src []byte, _ *[65536]float32) { quant.FromQ4_0(dst, src) }
func fromQ4_KAVX512(dst []float32, src []byte, _ *[65536]float32) { quant.FromQ4_K(dst, src) }
func fromQ6_KAVX512(dst []float32, src []byte, _ *[65536]float32) { quant.FromQ6_K(dst, src) }

func fromAffine4AVX512(dst []float32, q []byte, scales, biases []float32, group int) {
	quant.FromAffine(dst, q, 4, group, scales, biases)
}

func fromAffine8AVX512(dst []float32, q []byte, scales, biases []float32, group int) {
	quant.FromAffine(dst, q, 8, group, scales, biases)
}

func fromQ8_0AVX2(dst []float32, src []byte, _ *[65536]float32) { quant.FromQ8_0(dst, src) }
func fromQ4_0AVX2(dst []float32, src []byte, _ *[65536]float32) { quant.FromQ4_0(dst, src) }
func fromQ4_KAVX2(dst []float32, src []byte, _ *[16]float32)    { quant.FromQ4_K(dst, src) }
func fromQ6_KAVX2(dst []float32, src []byte, _ *[16]float32)    { quant.FromQ6_K(dst, src) }

func fromAffine4AVX2(dst []float32, q []byte, scales, biases []float32, group int) {
	quant.FromAffine(dst, q, 4, group, scales, biases)
}

func fromAffine8AVX2(dst []float32, q []byte, scales, biases []float32, group int) {
	quant.FromAffine(dst, q, 8, group, scales, biases)
}

func narrowProductQ8_0(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32) {
	wideProductQ8_0(vectors, s, stride, q, k, next, n, dim, halves)
}

func narrowProductQ4_0(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32) {
	wideProductQ4_0(vectors, s, stride, q, k, next, n, dim, halves)
}
