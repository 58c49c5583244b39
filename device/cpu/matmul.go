package cpu

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// dotTokens is up to how many tokens a product streams the weights rather than packing them.
var dotTokens = simd.ProductTokens()

// MatMul implements [device.Stream].
func (s *stream) MatMul(dst, x device.Tensor, w device.Matrix) {
	if x.Cols != w.Cols || dst.Rows != x.Rows || dst.Cols != w.Rows {
		mismatch("MatMul", "[%d][%d] by [%d][%d] into [%d][%d]", x.Rows, x.Cols, w.Rows, w.Cols, dst.Rows, dst.Cols)
	}
	if err := w.Check(); err != nil {
		mismatch("MatMul", "%v", err)
	}
	switch {
	case x.Rows == 0:
	case x.Rows <= dotTokens:
		s.matVec(dst, x, w)
	default:
		s.matMat(dst, x, w)
	}
}

type dotsJob struct {
	dst, x device.Tensor
	w      device.Matrix

	whole *simd.Activations // x, where it is multiplied as whole numbers; else nil
}

// rowsTogether is how many rows of weights the products take at a time; those left over take longer.
const rowsTogether = 4

// matVec computes a product of few tokens; its items are the rows of w.
func (s *stream) matVec(dst, x device.Tensor, w device.Matrix) {
	const perByte, perProduct = 0.07, 0.03 // nanoseconds
	s.dots = dotsJob{dst: dst, x: x, w: w}
	s.dots.prepare(&s.whole)
	s.runBy(&s.dots, w.Rows, rowsTogether, max(perByte*float64(w.Format.MatrixBytes(1, w.Cols)), perProduct*float64(w.Cols)*float64(x.Rows)))
}

// products are those of the formats whose rows need nothing beside them.
var products = [...]func(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int){
	device.F32: simd.ProductF32, device.F16: simd.ProductF16, device.BF16: simd.ProductBF16,
	device.Q8_0: simd.ProductQ8_0, device.Q4_0: simd.ProductQ4_0, device.Q4_K: simd.ProductQ4_K, device.Q6_K: simd.ProductQ6_K,
}

// prepare makes whole numbers of x, in memory that is the job's until it is done, if such weights are multiplied so.
func (j *dotsJob) prepare(whole *simd.Activations) {
	if _, ok := wholeGEMM(j.w); !ok {
		return
	}
	if j.w.Format.Affine() {
		whole.SetAffine(bitsOf(j.w.Format), j.w.Group, j.x.Data, j.x.Rows, j.x.Cols)
	} else {
		whole.Set(j.w.Format.Block(), j.x.Data, j.x.Rows, j.x.Cols)
	}
	j.whole = whole
}

func (j *dotsJob) run(first, end int, w *worker) {
	if j.w.Format.Affine() {
		j.affine(first, end, w)
		return
	}
	data := j.w.Data[j.w.Format.MatrixBytes(first, j.w.Cols):]
	if j.whole != nil {
		j.whole.Product(j.dst.Data[first:], j.dst.Cols, data, end-first)
		return
	}
	products[j.w.Format](j.dst.Data[first:], j.dst.Cols, j.x.Data, data, j.x.Rows, end-first, j.w.Cols)
}

// affine multiplies with rows of affine groups: as they are where there is a routine for that, or else with some rows
// after the others, expanded where they stay in the nearest caches.
func (j *dotsJob) affine(first, end int, w *worker) {
	cols, groups := j.w.Cols, j.w.Cols/j.w.Group
	if most := simd.AffineRows(groups, j.whole != nil); most > 0 {
		if w.numbers == nil {
			w.numbers = new(simd.AffineNumbers)
		}
		for row := first; row < end; row += most {
			n := min(most, end-row)
			numbersOf(w.numbers[0][:n*groups], w.numbers[1][:n*groups], j.w, row*groups)
			dst, data := j.dst.Data[row:], j.w.Data[j.w.Format.MatrixBytes(row, cols):]
			if j.whole != nil {
				j.whole.ProductAffine(dst, j.dst.Cols, data, w.numbers, n)
			} else {
				simd.ProductAffine(dst, j.dst.Cols, j.x.Data, data, bitsOf(j.w.Format), j.w.Group, w.numbers, j.x.Rows, n, cols)
			}
		}
		return
	}
	w.b = grow(w.b, rowsTogether*cols)
	for row := first; row < end; row += rowsTogether {
		n := min(rowsTogether, end-row)
		for i := range n {
			expand(w.b[i*cols:(i+1)*cols], j.w, row+i, 0)
		}
		simd.ProductF32(j.dst.Data[row:], j.dst.Cols, j.x.Data, bytesOf(w.b[:n*cols]), j.x.Rows, n, cols)
	}
}
