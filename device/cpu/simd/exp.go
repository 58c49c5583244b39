package simd

import "math"

// expLow is where the exponential becomes 0: below it the result would be next to the smallest
// normal number.
const expLow = -86.6

// Max is
//
//	m = -Inf
//	for _, v := range x {
//		m = max(m, v)
//	}
//
// x must hold no NaN.
func Max(x []float32) float32 {
	if !haveAVX2 || len(x) < 8 {
		return maxGo(x)
	}
	n := len(x) &^ 7
	return max(maxAVX2(x[:n]), maxGo(x[n:]))
}

// ExpSum is
//
//	for i, v := range x {
//		x[i] = exp(v - m)
//		sum += x[i]
//	}
//
// where v - m is at most 88, and 0 or less in a softmax. The exponential is within 3e-7 of the true
// one, relatively, and 0 below -86.6; of -Inf it is 0, of NaN NaN.
func ExpSum(x []float32, m float32) (sum float32) {
	if !haveAVX2 {
		return expSumGo(x, m)
	}
	n := len(x) &^ 7
	sum = expSumAVX2(x[:n], m)
	if n < len(x) {
		var tail [8]float32
		k := copy(tail[:], x[n:])
		for i := k; i < 8; i++ {
			tail[i] = float32(math.Inf(-1))
		}
		sum += expSumAVX2(tail[:], m)
		copy(x[n:], tail[:k])
	}
	return sum
}

// SwiGLU is
//
//	for i, g := range gate {
//		dst[i] = g / (1 + exp(-g)) * up[i]
//	}
//
// with the exponential of ExpSum. dst may be gate or up.
func SwiGLU(dst, gate, up []float32) {
	dst, up = dst[:len(gate)], up[:len(gate)]
	if !haveAVX2 {
		swiGLUGo(dst, gate, up)
		return
	}
	n := len(gate) &^ 7
	swiGLUAVX2(dst, gate[:n], up)
	if n < len(gate) {
		var g, u [8]float32
		k := copy(g[:], gate[n:])
		copy(u[:], up[n:])
		swiGLUAVX2(g[:], g[:], u[:])
		copy(dst[n:], g[:k])
	}
}

// exp is the exponential of the twins.
func exp(x float32) float32 {
	if x < expLow {
		return 0
	}
	return float32(math.Exp(float64(x)))
}

func maxGo(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		m = max(m, v)
	}
	return m
}

func expSumGo(x []float32, m float32) (sum float32) {
	for i, v := range x {
		x[i] = exp(v - m)
		sum += x[i]
	}
	return sum
}

func swiGLUGo(dst, gate, up []float32) {
	for i, g := range gate {
		dst[i] = g / (1 + exp(min(-g, 88))) * up[i]
	}
}
