package metalkern

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// heldNorm is the norm of one row that was not launched yet: the products that need it may be the same launch.
type heldNorm struct {
	dst, x device.Tensor
	weight []float32
	eps    float32
	held   bool
}

// is reports whether the norm is held, and x is what comes of it.
func (n *heldNorm) is(x device.Tensor) bool { return n.held && same(n.dst, x) }

// lets reports whether a product may write dst in the same launch as the norm.
func (n *heldNorm) lets(dst device.Tensor) bool {
	return !n.held || apart(dst, n.x) && apart(dst, n.dst)
}

// normOf is the norm that is held, if it is that of products with x, which then have it.
func (s *stream) normOf(x device.Tensor, products bool) (kernels.Normed, bool) {
	if !products || !s.norm.is(x) {
		return kernels.Normed{}, false
	}
	n := s.norm
	s.norm = heldNorm{}
	return kernels.Normed{Out: s.at(n.dst), X: s.at(n.x), Weight: s.device.memory.floats(n.weight), Eps: n.eps}, true
}

// normalize launches the norm that is held.
func (s *stream) normalize() error {
	n := s.norm
	if !n.held {
		return nil
	}
	s.norm = heldNorm{}
	return s.device.set.Norm(s.queue, s.at(n.dst), s.at(n.x), s.device.memory.floats(n.weight), n.x.Rows, n.x.Cols, n.eps, 0)
}

// RMSNorm implements [device.Stream].
func (s *stream) RMSNorm(dst, x device.Tensor, weight []float32, eps float32) {
	if dst.Rows != x.Rows || dst.Cols != x.Cols || len(weight) != x.Cols {
		mismatch("RMSNorm", "[%d][%d] by %d weights into [%d][%d]", x.Rows, x.Cols, len(weight), dst.Rows, dst.Cols)
	}
	if x.Rows == 0 {
		return
	}
	s.do(func() error {
		s.norm = heldNorm{dst, x, weight, eps, true}
		if x.Rows == 1 && apart(dst, x) {
			return nil
		}
		return s.normalize()
	})
}

// heldRope is a rotation that was not launched yet: keys are rotated after queries, by the same angles.
type heldRope struct {
	x, cos, sin device.Tensor
	headDim     int
	interleaved bool
	held        bool
}

// with reports whether the rotation r can be in the same launch.
func (h *heldRope) with(r heldRope) bool {
	return h.held && same(h.cos, r.cos) && same(h.sin, r.sin) && h.headDim == r.headDim && h.interleaved == r.interleaved && h.x.Rows == r.x.Rows && apart(h.x, r.x)
}

// rotate launches the rotation that is held.
func (s *stream) rotate() error {
	r := s.rope
	if !r.held {
		return nil
	}
	s.rope = heldRope{}
	return s.device.set.Rope(s.queue, s.at(r.x), s.at(r.cos), s.at(r.sin), r.x.Rows, r.x.Cols/r.headDim, r.headDim, r.cos.Cols, r.interleaved)
}

// Rope implements [device.Stream].
func (s *stream) Rope(x device.Tensor, headDim int, cos, sin device.Tensor, interleaved bool) {
	if cos.Rows != x.Rows || sin.Rows != x.Rows || cos.Cols != sin.Cols || 2*cos.Cols > headDim || headDim == 0 || x.Cols%headDim != 0 {
		mismatch("Rope", "[%d][%d] of heads of %d by angles [%d][%d] and [%d][%d]", x.Rows, x.Cols, headDim, cos.Rows, cos.Cols, sin.Rows, sin.Cols)
	}
	if x.Rows == 0 || !s.begin() {
		return
	}
	next := heldRope{x, cos, sin, headDim, interleaved, true}
	if first := s.rope; first.with(next) {
		s.rope = heldRope{}
		s.err = s.device.set.Ropes(s.queue, s.at(first.x), s.at(x), s.at(cos), s.at(sin), x.Rows, first.x.Cols/headDim, x.Cols/headDim, headDim, cos.Cols, interleaved)
		return
	}
	if s.err = s.settle(); s.err == nil {
		s.rope = next
	}
}
