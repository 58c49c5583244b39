package cpu

import (
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
	"github.com/orrery-ai/orrery/device/quant"
)

// Quantized weights are widened a little at a time, into memory that stays in the cache, and multiplied there.

// widenedJob is a product of few tokens; its items are the rows of w.
type widenedJob struct {
	dst, x device.Tensor
	w      device.Matrix
}

func (s *stream) matVecWidened(dst, x device.Tensor, w device.Matrix) {
	const perElement, perProduct = 1, 0.03 // nanoseconds
	s.widened = widenedJob{dst, x, w}
	s.run(&s.widened, w.Rows, float64(w.Cols)*(perElement+perProduct*float64(x.Rows)))
}

func (j *widenedJob) run(first, end int, w *worker) {
	w.wide = grow(w.wide, j.w.Cols)
	for row := first; row < end; row++ {
		quant.Widen(w.wide, &j.w, row, 0)
		for t := range j.x.Rows {
			j.dst.Row(t)[row] = simd.DotF32(j.x.Row(t), bytesOf(w.wide))
		}
	}
}

// packWidened packs n columns from k on of the rows [col, col+cols) of w, see packWeights.
func (j *gemmJob) packWidened(w *worker, col, cols, k, n int) {
	block := j.w.Block()
	from, end := k/block*block, roundUp(k+n, block)
	stride := end - from
	w.wide = grow(w.wide, simd.GEMMCols*stride)
	for i := 0; i < cols; i += simd.GEMMCols {
		rows := min(simd.GEMMCols, cols-i)
		for r := range rows {
			quant.Widen(w.wide[r*stride:(r+1)*stride], &j.w, col+i+r, from)
		}
		simd.PackF32(w.b[i*n:], bytesOf(w.wide[k-from:]), stride, rows, n)
	}
}

// fits reports whether a matrix has all of its bytes.
func fits(w *device.Matrix) bool {
	if w.Format == 0 || w.Cols%w.Block() != 0 || len(w.Data) < w.Rows*w.Format.RowBytes(w.Cols) {
		return false
	}
	a := &w.Affine
	if w.Format != device.MLX8 && w.Format != device.MLX4 {
		return a.Group == 0
	}
	return a.Group > 0 && a.Group%w.Format.Block() == 0 && a.Format.Dense() &&
		min(len(a.Scales), len(a.Biases)) >= w.Rows*(w.Cols/a.Group)*a.Format.Bytes()
}

// bytesOf is the memory of x.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
