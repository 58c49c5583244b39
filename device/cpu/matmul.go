package cpu

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
)

const (
	// dotTokens is up to how many tokens a product streams the weights rather than packing them.
	dotTokens = 8
	// blockBytes is how many of the weights several tokens use before going on.
	blockBytes = 16 << 10
)

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
	dots, pair := simd.DotsF32, simd.DotsPairF32
	switch j.w.Format {
	case device.F16:
		dots, pair = simd.DotsF16, simd.DotsPairF16
	case device.BF16:
		dots, pair = simd.DotsBF16, simd.DotsPairBF16
	}
	bytes := j.w.Cols * j.w.Format.Bytes()
	step := end - first
	if j.x.Rows > 2 { // every pair of tokens reads the weights: keep some rows of them in the first cache
		step = max(1, blockBytes/max(1, bytes))
	}
	for row := first; row < end; row += step {
		end := min(row+step, end)
		w := j.w.Data[row*bytes : end*bytes]
		t := 0
		for ; t+2 <= j.x.Rows; t += 2 {
			pair(j.dst.Row(t)[row:end], j.dst.Row(t + 1)[row:end], j.x.Row(t), j.x.Row(t+1), w)
		}
		if t < j.x.Rows {
			dots(j.dst.Row(t)[row:end], j.x.Row(t), w)
		}
	}
}
