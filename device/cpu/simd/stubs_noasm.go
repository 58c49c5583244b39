//go:build (!amd64 && !arm64) || noasm

package simd

import "github.com/orrery-ai/orrery/device/quant"

// The routines below only stand for the assembly, and are its twins.

func wideProductF32(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int) {
	for v := range vectors {
		dotsF32Go(s[v*stride:][:n], q[v*dim:][:dim], k, 0)
	}
}

func wideProductF16(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int) {
	for v := range vectors {
		dotsF16Go(s[v*stride:][:n], q[v*dim:][:dim], k, 0)
	}
}

func wideProductBF16(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int) {
	for v := range vectors {
		dotsBF16Go(s[v*stride:][:n], q[v*dim:][:dim], k, 0)
	}
}

func scoresQuantized(bits, heads int, s []float32, stride int, q []float32, k []byte, scales []float32, _ []byte, n, dim int) {
	scoresQuantizedGo(bits, s, stride, q, k, scales, heads, n, dim)
}

func valuesQuantized(bits, heads int, o, p []float32, stride int, v []byte, scales []float32, _ []byte, n, dim int) {
	valuesQuantizedGo(bits, o, p, stride, v, scales, heads, n, dim)
}

func fromQuantized(bits int, dst []float32, src []byte, scales []float32, n, dim int) {
	fromQuantizedGo(bits, dst, src, scales, n, dim)
}

func wideProductQ8_0(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int, _ *[65536]float32) {
	productExpanded(s, stride, q, k, vectors, n, dim, quant.Q8_0)
}

func wideProductQ4_0(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int, _ *[65536]float32) {
	productExpanded(s, stride, q, k, vectors, n, dim, quant.Q4_0)
}

func wideProductQ4_K(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int, _ *[65536]float32) {
	productExpanded(s, stride, q, k, vectors, n, dim, quant.Q4_K)
}

func wideProductQ6_K(vectors int, s []float32, stride int, q []float32, k, _ []byte, n, dim int, _ *[65536]float32) {
	productExpanded(s, stride, q, k, vectors, n, dim, quant.Q6_K)
}

// wideProductAffine4 is never called: AffineRows is 0.
func wideProductAffine4(_ int, _ []float32, _ int, _ []float32, _, _ []byte, _, _, _ int, _ *AffineNumbers) {
}

// wideProductAffine8 is never called: AffineRows is 0.
func wideProductAffine8(_ int, _ []float32, _ int, _ []float32, _, _ []byte, _, _, _ int, _ *AffineNumbers) {
}

func prefetchAsm([]byte) {}
