package cpu

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// The packed product. Its items are tiles of dst. Each goes through the columns of x and w (the depth)
// in steps; in each it packs its rows of w, as float32, then some of its rows of x at a time, and
// multiplies the two: 16 rows of w (12 KiB) stay in the first cache while rows of x stream by from the
// second, which holds both packs. With AVX-512 it is 32 rows of w. Where quantized weights are multiplied as
// whole numbers, both packs are of words, or of bytes, and x has been made numbers before; where there are
// tiles of bfloat16, x is packed as sums of three such numbers. The result is added up where its rows lie side
// by side: in dst they may be a power of two apart, and no cache holds many of those.
const (
	depth    = 192 // columns in one step; of quantized weights as many as the largest block has
	maxDepth = simd.WholeStep
	packRows = 96  // rows of x packed together: 72 KiB
	maxRows  = 512 // in a tile, about: a result of 512 KiB
	maxTile  = 256 // rows of w in a tile: 192 KiB packed
	minTile  = 64
)

type gemmJob struct {
	dst, x     device.Tensor
	from       []int32 // which row of x each row is; nil: all, one after the other
	w          device.Matrix
	rows, cols int // of a tile of dst
	across     int // tiles in a row of tiles

	together int  // rows of x that are packed together
	tiles    bool // w is multiplied as it is, in tiles of bfloat16

	words   bool // x and w are multiplied as whole numbers:
	whole   simd.WholeGEMM
	numbers device.Tensor // x, as words
}

// newGEMM is the product without its tiles' columns.
func newGEMM(dst, x device.Tensor, w device.Matrix) gemmJob {
	j := gemmJob{dst: dst, x: x, w: w, together: simd.GEMMRows}
	if j.whole, j.words = wholeGEMM(w); j.words {
		j.together, _ = j.whole.Tile()
	} else if w.Format == device.BF16 && w.Cols%simd.FloatTileCols == 0 && simd.HaveFloatTiles() {
		j.together, j.tiles = simd.FloatTileRows, true
	}
	blocks := (dst.Rows + maxRows - 1) / maxRows
	j.rows = roundUp((dst.Rows+blocks-1)/max(1, blocks), j.together)
	return j
}

// matMat computes a product of many tokens.
func (s *stream) matMat(dst, x device.Tensor, w device.Matrix) {
	j := newGEMM(dst, x, w)
	j.cols = min(maxTile, roundUp(w.Rows, 2*simd.GEMMCols))
	if j.words {
		var ok bool
		if j.numbers, ok = s.wholeNumbers(x); !ok {
			return
		}
	}
	ofX, ofW := 1, 1 // what it takes to pack a row, about
	switch {
	case j.tiles:
		ofX = 4
	case j.together > simd.GEMMRows:
		ofW = 4
	}
	tiles := 0
	for { // halve the tiles until there are enough for every thread to end at about the same time
		j.across = (w.Rows + j.cols - 1) / j.cols
		tiles = j.across * ((x.Rows + j.rows - 1) / j.rows)
		if s.pool.threads == 1 || tiles >= 4*s.pool.threads {
			break
		}
		if j.rows >= 2*packRows && ofX*j.rows >= ofW*j.cols {
			j.rows = roundUp(j.rows/2, j.together)
		} else if j.cols >= 2*minTile {
			j.cols = roundUp(j.cols/2, 2*simd.GEMMCols)
		} else {
			break
		}
	}
	s.gemm = j
	const perProduct = 0.03 // nanoseconds
	cost := perProduct * float64(x.Rows) * float64(w.Rows) * float64(w.Cols)
	s.pool.run(&s.batch, &s.own, &s.gemm, tiles, 1, cost)
}

func (j *gemmJob) run(first, end int, w *worker) {
	w.packs()
	for tile := first; tile < end; tile++ {
		j.tile(tile/j.across*j.rows, tile%j.across*j.cols, w)
	}
}

// packs makes room for what tiles pack.
func (w *worker) packs() {
	w.a, w.b, w.rows = grow(w.a, packRows*simd.FloatTileX(maxDepth)), grow(w.b, maxTile*maxDepth), grow(w.rows, simd.FloatTileRows*maxDepth)
	w.c = grow(w.c, (maxRows+simd.FloatTileRows)*maxTile)
}

// tile computes dst from (row, col) on.
func (j *gemmJob) tile(row, col int, w *worker) {
	rows, cols := min(j.rows, j.x.Rows-row), min(j.cols, j.w.Rows-col)
	if j.w.Cols == 0 {
		for r := range rows {
			clear(j.dst.Row(row + r)[col : col+cols])
		}
		return
	}
	step := depth
	if j.w.Format.Bytes() == 0 {
		step = maxDepth
	}
	stride := roundUp(cols, 2*simd.GEMMCols)
	for k := 0; k < j.w.Cols; k += step {
		n := min(step, j.w.Cols-k)
		j.packWeights(w, col, cols, k, n)
		for r := 0; r < rows; r += packRows {
			m := min(packRows, rows-r)
			for i := 0; i < m; i += j.together {
				j.packX(w, i, row+r+i, min(j.together, m-i), k, n)
			}
			m = roundUp(m, j.together)
			switch to := w.c[r*stride:]; {
			case j.words:
				rowsOf, colsOf := j.whole.Tile()
				j.whole.Multiply(to, stride, w.a, w.b, n, m/rowsOf, (cols+colsOf-1)/colsOf, k > 0, &w.room)
			case j.tiles:
				simd.MultiplyFloatTiles(to, stride, w.a, w.b, n, m/simd.FloatTileRows, (cols+simd.FloatTileRows-1)/simd.FloatTileRows, k > 0)
			default:
				w.multiply(r, stride, m, cols, n, k > 0)
			}
		}
	}
	for r := range rows {
		copy(j.dst.Row(row + r)[col:col+cols], w.c[r*stride:])
	}
}

// packX packs n columns from k on of some rows from one on, as rows at of the tile.
func (j *gemmJob) packX(w *worker, at, first, rows, k, n int) {
	x, size := j.x, n
	if j.words {
		x, k, size = j.numbers, simd.WholeRow(k), j.whole.X(n)
	}
	var src []float32
	stride := x.Cols
	if j.from == nil {
		src = x.Data[first*x.Cols+k:]
	} else {
		src, stride = w.rows, size
		for r := range rows {
			copy(src[r*size:(r+1)*size], x.Data[int(j.from[first+r])*x.Cols+k:])
		}
	}
	switch {
	case j.words:
		j.whole.PackX(w.a[at*size:], src, stride, rows, n)
	case j.tiles:
		simd.PackFloatTiles(w.a[at*simd.FloatTileX(n):], src, stride, rows, n)
	default:
		simd.PackRows(w.a[at*size:], src, stride, rows, n)
	}
}

// packWeights packs n columns from k on of the rows [col, col+cols) of w.
func (j *gemmJob) packWeights(w *worker, col, cols, k, n int) {
	bytes, size := j.w.Format.Bytes(), n // of what is packed of a row
	if j.words {
		size = j.whole.W(n)
	}
	for i := 0; i < cols; i += simd.GEMMCols {
		dst := w.b[i*size:]
		rows := min(simd.GEMMCols, cols-i)
		if bytes == 0 {
			for r := range rows {
				if to := w.rows[r*size : (r+1)*size]; j.words {
					j.packWhole(to, w, col+i+r, k, n)
				} else {
					expand(to, j.w, col+i+r, k)
				}
			}
			simd.PackF32(dst, bytesOf(w.rows), size, rows, size)
			continue
		}
		src := j.w.Data[((col+i)*j.w.Cols+k)*bytes:]
		switch j.w.Format {
		case device.F32:
			simd.PackF32(dst, src, j.w.Cols, rows, n)
		case device.F16:
			simd.PackF16(dst, src, j.w.Cols, rows, n)
		case device.BF16:
			if j.tiles {
				simd.PackFloatTileW(w.b[i*n/2:], src, j.w.Cols, rows, n)
			} else {
				simd.PackBF16(dst, src, j.w.Cols, rows, n)
			}
		}
	}
}

// multiply adds the product of packed rows and weights to m rows from one on of the tile's result, or sets them to it.
func (w *worker) multiply(row, stride, m, cols, n int, add bool) {
	wideRows, wideCols := 0, 0 // twice as many rows and columns at a time leave edges
	if simd.GEMMWide() {
		wideRows, wideCols = m/(2*simd.GEMMRows)*2*simd.GEMMRows, cols/(2*simd.GEMMCols)*2*simd.GEMMCols
	}
	for c := 0; c < wideCols; c += 2 * simd.GEMMCols {
		for r := 0; r < wideRows; r += 2 * simd.GEMMRows {
			simd.GEMMTwice(w.c[(row+r)*stride+c:], stride, w.a[r*n:], w.b[c*n:], n, add)
		}
	}
	for c := 0; c < cols; c += simd.GEMMCols {
		done := 0
		if c < wideCols {
			done = wideRows
		}
		for r := done; r < m; r += simd.GEMMRows {
			simd.GEMM(w.c[(row+r)*stride+c:], stride, w.a[r*n:], w.b[c*n:], n, add)
		}
	}
}

// roundUp is the next multiple of m.
func roundUp(n, m int) int { return (n + m - 1) / m * m }
