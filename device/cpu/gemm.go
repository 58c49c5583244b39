package cpu

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// The packed product. Its items are tiles of dst. Each goes through the columns of x and w (the depth)
// in steps; in each it packs its rows of w, as float32, then some of its rows of x at a time, and
// multiplies the two: 16 rows of w (12 KiB) stay in the first cache while rows of x stream by from the
// second, which holds both packs. With AVX-512 it is 32 rows of w. Where quantized weights are multiplied as
// whole numbers, both packs are of words, or of bytes, and x has been made numbers before.
const (
	depth    = 192 // columns in one step; of quantized weights as many as the largest block has
	maxDepth = simd.WholeStep
	packRows = 96  // rows of x packed together: 72 KiB
	maxTile  = 256 // rows of w in a tile: 192 KiB packed
	minTile  = 64
)

type gemmJob struct {
	dst, x     device.Tensor
	from       []int32 // which row of x each row is; nil: all, one after the other
	w          device.Matrix
	rows, cols int // of a tile of dst
	across     int // tiles in a row of tiles

	together int // rows of x that are packed together

	words   bool // x and w are multiplied as whole numbers:
	whole   simd.WholeGEMM
	numbers device.Tensor // x, as words
}

// newGEMM is the product without its tiles' columns.
func newGEMM(dst, x device.Tensor, w device.Matrix) gemmJob {
	j := gemmJob{dst: dst, x: x, w: w, together: simd.GEMMRows}
	if j.whole, j.words = wholeGEMM(w); j.words {
		j.together, _ = simd.WholeTile()
	}
	j.rows = roundUp(dst.Rows, j.together)
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
	wide := 1 // rows of x that take as long to pack as one of w, about
	if j.together > simd.GEMMRows {
		wide = 8 // words of x only move
	}
	tiles := 0
	for { // halve the tiles until there are enough for every thread to end at about the same time
		j.across = (w.Rows + j.cols - 1) / j.cols
		tiles = j.across * ((x.Rows + j.rows - 1) / j.rows)
		if s.pool.threads == 1 || tiles >= 4*s.pool.threads {
			break
		}
		if j.rows >= 2*packRows && j.rows >= wide*j.cols {
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
	w.a, w.b, w.rows = grow(w.a, packRows*maxDepth), grow(w.b, maxTile*maxDepth), grow(w.rows, simd.GEMMCols*maxDepth)
	w.c = grow(w.c, simd.GEMMCols*maxTile)
}

// tile computes dst from (row, col) on.
func (j *gemmJob) tile(row, col int, w *worker) {
	rows, cols := min(j.rows, j.x.Rows-row), min(j.cols, j.w.Rows-col)
	step := depth
	if j.w.Format.Bytes() == 0 {
		step = maxDepth
	}
	for k := 0; k < j.w.Cols; k += step {
		n := min(step, j.w.Cols-k)
		j.packWeights(w, col, cols, k, n)
		for r := 0; r < rows; r += packRows {
			m := min(packRows, rows-r)
			for i := 0; i < m; i += j.together {
				j.packX(w, i, row+r+i, min(j.together, m-i), k, n)
			}
			if j.words {
				j.multiplyWhole(w, row+r, m, col, cols, n, k > 0)
			} else {
				j.multiply(w, row+r, m, col, cols, n, k > 0)
			}
		}
	}
	if j.w.Cols == 0 {
		for r := range rows {
			clear(j.dst.Row(row + r)[col : col+cols])
		}
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
	if j.words {
		j.whole.PackX(w.a[at*size:], src, stride, rows, n)
	} else {
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
			simd.PackBF16(dst, src, j.w.Cols, rows, n)
		}
	}
}

// multiply adds the product of the packed rows and weights to m rows and cols columns of dst, or sets
// them to it.
func (j *gemmJob) multiply(w *worker, row, m, col, cols, n int, add bool) {
	// Twice as many rows and columns at a time leave edges, which are done after them.
	wideRows, wideCols := 0, 0
	if simd.GEMMWide() {
		wideRows, wideCols = m/(2*simd.GEMMRows)*2*simd.GEMMRows, cols/(2*simd.GEMMCols)*2*simd.GEMMCols
	}
	stride := j.dst.Cols
	for c := 0; c < wideCols; c += 2 * simd.GEMMCols {
		for r := 0; r < wideRows; r += 2 * simd.GEMMRows {
			simd.GEMMTwice(j.dst.Data[(row+r)*stride+col+c:], stride, w.a[r*n:], w.b[c*n:], n, add)
		}
	}
	for c := 0; c < cols; c += simd.GEMMCols {
		b := w.b[c*n:]
		done := 0
		if c < wideCols {
			done = wideRows
		}
		for r := done; r < m; r += simd.GEMMRows {
			a, at := w.a[r*n:], (row+r)*stride+col+c
			if m-r >= simd.GEMMRows && cols-c >= simd.GEMMCols {
				simd.GEMM(j.dst.Data[at:], stride, a, b, n, add)
				continue
			}
			// At an edge, by way of a whole tile.
			simd.GEMM(w.c, simd.GEMMCols, a, b, n, false)
			w.edge(j.dst.Data[at:], stride, simd.GEMMCols, min(simd.GEMMRows, m-r), min(simd.GEMMCols, cols-c), add)
		}
	}
}

// edge adds what is in use of a whole tile, whose rows have so many columns together, to dst, or sets dst to it.
func (w *worker) edge(dst []float32, stride, together, rows, cols int, add bool) {
	for r := range rows {
		from, to := w.c[r*together:][:cols], dst[r*stride:]
		if !add {
			copy(to, from)
			continue
		}
		for i, v := range from {
			to[i] += v
		}
	}
}

// roundUp is the next multiple of m.
func roundUp(n, m int) int { return (n + m - 1) / m * m }
