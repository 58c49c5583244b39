package simd

import "math"

// TileLanes is the number of queries that prefill attention computes side by side; one lies in
// each lane of a few vectors.
const TileLanes = 24

// TileScores is
//
//	for j := range n {
//		for lane := range 24 {
//			sum := float32(0)
//			for i := range dim {
//				sum += k[j*dim+i] * q[i*24+lane]
//			}
//			s[j*24+lane] = sum
//		}
//	}
//
// for n a multiple of 4 and dim of 8.
func TileScores(s, k, q []float32, n, dim int) {
	s, k, q = s[:n*TileLanes], k[:n*dim], q[:dim*TileLanes]
	switch {
	case haveAVX2:
		tileScoresAVX2(s, k, q, n, dim)
	case haveNEON:
		tileScoresNEON(s, k, q, n, dim)
	default:
		tileScoresGo(s, k, q, n, dim)
	}
}

// TileSoftmax is, for each lane of 24,
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
// with s [n][24], m, l and f [24], and the exponential of [Softmax].
func TileSoftmax(s, m, l, f []float32, n int) {
	s, m, l, f = s[:n*TileLanes], m[:TileLanes], l[:TileLanes], f[:TileLanes]
	switch {
	case haveAVX2:
		tileSoftmaxAVX2(s, m, l, f, n)
	case haveNEON:
		tileSoftmaxNEON(s, m, l, f, n)
	default:
		tileSoftmaxGo(s, m, l, f, n)
	}
}

// TileValues is
//
//	for i := range dim {
//		for lane := range 24 {
//			o[i*24+lane] *= f[lane]
//			for j := range n {
//				o[i*24+lane] += v[j*dim+i] * p[j*24+lane]
//			}
//		}
//	}
//
// for dim a multiple of 8.
func TileValues(o, v, p, f []float32, n, dim int) {
	o, v, p, f = o[:dim*TileLanes], v[:n*dim], p[:n*TileLanes], f[:TileLanes]
	switch {
	case haveAVX2:
		tileValuesAVX2(o, v, p, f, n, dim)
	case haveNEON:
		tileValuesNEON(o, v, p, f, n, dim)
	default:
		tileValuesGo(o, v, p, f, n, dim)
	}
}

func tileScoresGo(s, k, q []float32, n, dim int)    { tileScores(TileLanes, s, k, q, n, dim) }
func tileSoftmaxGo(s, m, l, f []float32, n int)     { tileSoftmax(TileLanes, s, m, l, f, n) }
func tileValuesGo(o, v, p, f []float32, n, dim int) { tileValues(TileLanes, o, v, p, f, n, dim) }

func tileScores(lanes int, s, k, q []float32, n, dim int) {
	clear(s[:n*lanes])
	for j := range n {
		row := s[j*lanes:][:lanes]
		for i := range dim {
			addScaled(row, q[i*lanes:], k[j*dim+i])
		}
	}
}

func tileSoftmax(lanes int, s, m, l, f []float32, n int) {
	for lane := range lanes {
		next := m[lane]
		for j := range n {
			next = max(next, s[j*lanes+lane])
		}
		base := next
		if math.IsInf(float64(next), -1) {
			base = 0
		}
		f[lane] = exp(m[lane] - base)
		m[lane] = next
		sum := float32(0)
		for j := range n {
			e := exp(s[j*lanes+lane] - base)
			s[j*lanes+lane] = e
			sum += e
		}
		l[lane] = l[lane]*f[lane] + sum
	}
}

func tileValues(lanes int, o, v, p, f []float32, n, dim int) {
	for i := range dim {
		row := o[i*lanes:][:lanes]
		for lane, x := range f[:lanes] {
			row[lane] *= x
		}
		for j := range n {
			addScaled(row, p[j*lanes:], v[j*dim+i])
		}
	}
}

// addScaled adds f·x to dst, over the lanes of a tile.
func addScaled(dst, x []float32, f float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += f * x[i]
	}
}
