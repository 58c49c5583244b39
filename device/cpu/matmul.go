package cpu

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// dotTokens is up to how many tokens a product streams the weights rather than packing them.
var dotTokens = simd.ProductTokens()

// MatMul implements [device.Stream].
func (s *stream) MatMul(dst, x device.Tensor, w device.Matrix) {
	if x.Cols != w.Cols || dst.Rows != x.Rows || dst.Cols != w.Rows || !fits(&w) {
		mismatch("MatMul", "[%d][%d] by [%d][%d] of %d bytes in %v into [%d][%d]",
			x.Rows, x.Cols, w.Rows, w.Cols, len(w.Data), w.Format, dst.Rows, dst.Cols)
	}
	switch {
	case x.Rows == 0:
	case x.Rows <= dotTokens && !w.Format.Dense():
		s.matVecWidened(dst, x, w)
	case x.Rows <= dotTokens:
		s.matVec(dst, x, w)
	default:
		s.matMat(dst, x, w)
	}
}

type dotsJob struct {
	dst, x device.Tensor
	w      device.Matrix
}

// matVec computes a product of few tokens; its items are the rows of w.
func (s *stream) matVec(dst, x device.Tensor, w device.Matrix) {
	const perByte, perProduct = 0.07, 0.03 // nanoseconds
	s.dots = dotsJob{dst, x, w}
	s.run(&s.dots, w.Rows, float64(w.Cols)*max(perByte*float64(w.Format.Bytes()), perProduct*float64(x.Rows)))
}

func (j *dotsJob) run(first, end int, _ *worker) {
	product := simd.ProductF32
	switch j.w.Format {
	case device.F16:
		product = simd.ProductF16
	case device.BF16:
		product = simd.ProductBF16
	}
	w := j.w.Data[first*j.w.Cols*j.w.Format.Bytes():]
	product(j.dst.Data[first:], j.dst.Cols, j.x.Data, w, j.x.Rows, end-first, j.w.Cols)
}
