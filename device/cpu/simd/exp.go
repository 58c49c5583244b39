package simd

import "math"

// expLow is where the exponential becomes 0: below it the result would be next to the smallest
// normal number.
const expLow = -86.6

// Softmax is, for each head, with its row of s [heads][stride],
//
//	next := m
//	for j := range n {
//		next = max(next, s[j])
//	}
//	if next == -Inf {
//		f, base = 0, 0
//	} else {
//		f, base = exp(m-next), next
//	}
//	m, l = next, l*f
//	for j := range n {
//		s[j] = exp(s[j] - base)
//		l += s[j]
//	}
//
// The exponential is within 3e-7 of the true one, relatively, and 0 below -86.6; of -Inf it is 0, of NaN
// NaN. stride must be a multiple of 16; what a row holds after its n scores is lost. The first
// [SoftmaxAhead] bytes of next are brought into the cache meanwhile.
func Softmax(s []float32, stride int, m, l, f []float32, next []byte, heads, n int) {
	s, m, l, f = s[:heads*stride], m[:heads], l[:heads], f[:heads]
	end := (n + 15) &^ 15
	if !haveAVX2 && !haveNEON || end > stride {
		softmaxGo(s, stride, m, l, f, heads, n)
		return
	}
	for h := range heads {
		for j := h*stride + n; j < h*stride+end; j++ {
			s[j] = float32(math.Inf(-1))
		}
	}
	next = next[:min(len(next), SoftmaxAhead(heads, n))]
	switch {
	case haveAVX512:
		wideSoftmax(s, stride, m, l, f, next, heads, end)
	case haveAVX2:
		softmaxAVX2(s, stride, m, l, f, next, heads, end)
	default:
		softmaxNEON(s, stride, m, l, f, heads, end)
	}
}

// SoftmaxAhead is how many bytes [Softmax] brings into the cache: in its time memory can hardly serve more.
func SoftmaxAhead(heads, n int) int { return (n + 15) / 16 * heads * 128 }

// SwiGLU is
//
//	for i, g := range gate {
//		dst[i] = g / (1 + exp(-g)) * up[i]
//	}
//
// with the exponential of [Softmax]. dst may be gate or up.
func SwiGLU(dst, gate, up []float32) {
	dst, up = dst[:len(gate)], up[:len(gate)]
	switch {
	case haveAVX2:
		n := len(gate) &^ 7
		swiGLUAVX2(dst, gate[:n], up)
		if n < len(gate) {
			var g, u [8]float32
			k := copy(g[:], gate[n:])
			copy(u[:], up[n:])
			swiGLUAVX2(g[:], g[:], u[:])
			copy(dst[n:], g[:k])
		}
	case haveNEON:
		n := len(gate) &^ 3
		swiGLUNEON(dst, gate[:n], up)
		if n < len(gate) {
			var g, u [4]float32
			k := copy(g[:], gate[n:])
			copy(u[:], up[n:])
			swiGLUNEON(g[:], g[:], u[:])
			copy(dst[n:], g[:k])
		}
	default:
		swiGLUGo(dst, gate, up)
	}
}

// exp is the exponential of the twins.
func exp(x float32) float32 {
	if x < expLow {
		return 0
	}
	return float32(math.Exp(float64(x)))
}

func softmaxGo(s []float32, stride int, m, l, f []float32, heads, n int) {
	for h := range heads {
		row := s[h*stride : h*stride+n]
		next := m[h]
		for _, v := range row {
			next = max(next, v)
		}
		base := next
		if math.IsInf(float64(next), -1) {
			base = 0
		}
		f[h], m[h] = exp(m[h]-base), next
		sum := float32(0)
		for j, v := range row {
			row[j] = exp(v - base)
			sum += row[j]
		}
		l[h] = l[h]*f[h] + sum
	}
}

func swiGLUGo(dst, gate, up []float32) {
	for i, g := range gate {
		dst[i] = g / (1 + exp(min(-g, 88))) * up[i]
	}
}
