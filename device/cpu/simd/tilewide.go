package simd

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

func tileScoresWideGo(s, k, q []float32, n, dim int) { tileScores(TileLanesWide, s, k, q, n, dim) }
func tileSoftmaxWideGo(s, m, l, f []float32, n int)  { tileSoftmax(TileLanesWide, s, m, l, f, n) }
func tileValuesWideGo(o, v, p, f []float32, n, dim int) {
	tileValues(TileLanesWide, o, v, p, f, n, dim)
}
