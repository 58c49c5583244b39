package simd

import "math"

// TileLanesWide is the number of lanes of the tile routines for AVX-512.
const TileLanesWide = 2 * TileLanes

// TileWide reports whether [TileScoresWide] and its like are there, and worth their while.
func TileWide() bool { return haveAVX512 }

// TileScoresWide is [TileScores] for 48 lanes and n a multiple of 8. A lane's scores have the same bits.
func TileScoresWide(s, k, q []float32, n, dim int) {
	s, k, q = s[:n*TileLanesWide], k[:n*dim], q[:dim*TileLanesWide]
	if haveAVX512 {
		tileScoresAVX512(s, k, q, n, dim)
		return
	}
	tileScoresWideGo(s, k, q, n, dim)
}

// TileSoftmaxWide is [TileSoftmax] for 48 lanes.
func TileSoftmaxWide(s, m, l, f []float32, n int) {
	s, m, l, f = s[:n*TileLanesWide], m[:TileLanesWide], l[:TileLanesWide], f[:TileLanesWide]
	if haveAVX512 {
		tileSoftmaxAVX512(s, m, l, f, n)
		return
	}
	tileSoftmaxWideGo(s, m, l, f, n)
}

// TileValuesWide is [TileValues] for 48 lanes.
func TileValuesWide(o, v, p, f []float32, n, dim int) {
	o, v, p, f = o[:dim*TileLanesWide], v[:n*dim], p[:n*TileLanesWide], f[:TileLanesWide]
	if haveAVX512 {
		tileValuesAVX512(o, v, p, f, n, dim)
		return
	}
	tileValuesWideGo(o, v, p, f, n, dim)
}

func tileScoresWideGo(s, k, q []float32, n, dim int) {
	clear(s[:n*TileLanesWide])
	for j := range n {
		for i := range dim {
			addScaledWide(s[j*TileLanesWide:], q[i*TileLanesWide:], k[j*dim+i])
		}
	}
}

func tileSoftmaxWideGo(s, m, l, f []float32, n int) {
	for lane := range TileLanesWide {
		next := m[lane]
		for j := range n {
			next = max(next, s[j*TileLanesWide+lane])
		}
		base := next
		if math.IsInf(float64(next), -1) {
			base = 0
		}
		f[lane] = exp(m[lane] - base)
		m[lane] = next
		sum := float32(0)
		for j := range n {
			e := exp(s[j*TileLanesWide+lane] - base)
			s[j*TileLanesWide+lane] = e
			sum += e
		}
		l[lane] = l[lane]*f[lane] + sum
	}
}

func tileValuesWideGo(o, v, p, f []float32, n, dim int) {
	for i := range dim {
		row := o[i*TileLanesWide:][:TileLanesWide]
		for lane, x := range f[:TileLanesWide] {
			row[lane] *= x
		}
		for j := range n {
			addScaledWide(row, p[j*TileLanesWide:], v[j*dim+i])
		}
	}
}

// addScaledWide adds f·x to dst, over the lanes of a wide tile.
func addScaledWide(dst, x []float32, f float32) {
	d, v := (*[TileLanesWide]float32)(dst), (*[TileLanesWide]float32)(x)
	for i := range d {
		d[i] += f * v[i]
	}
}
