package metalkern

import (
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// fusedTokens is up to how many tokens products are one launch with what follows them.
const fusedTokens = 2

// products are some with the same activations that were not launched yet: the next operation may be done in the same launch.
type products struct {
	x     device.Tensor
	list  [kernels.MostMatvecs]heldProduct
	count int
}

type heldProduct struct {
	dst device.Tensor
	w   device.Matrix
}

// same reports whether two tensors are one.
func same(a, b device.Tensor) bool {
	return unsafe.SliceData(a.Data) == unsafe.SliceData(b.Data) && a.Rows == b.Rows && a.Cols == b.Cols
}

// apart reports whether two tensors share no memory.
func apart(a, b device.Tensor) bool {
	from := func(t device.Tensor) (first, end uintptr) {
		first = uintptr(unsafe.Pointer(unsafe.SliceData(t.Data)))
		return first, first + 4*uintptr(t.Rows*t.Cols)
	}
	firstA, endA := from(a)
	firstB, endB := from(b)
	return endA <= firstB || endB <= firstA
}

// takes reports whether a product can be launched together with those that are held.
func (p *products) takes(dst, x device.Tensor, w device.Matrix) bool {
	if p.count == 0 || p.count == len(p.list) || !same(p.x, x) || formatOf(p.list[0].w) != formatOf(w) {
		return false
	}
	for i := range p.count {
		if !apart(p.list[i].dst, dst) {
			return false
		}
	}
	return apart(dst, x)
}

// MatMul implements [device.Stream].
func (s *stream) MatMul(dst, x device.Tensor, w device.Matrix) {
	if x.Cols != w.Cols || dst.Rows != x.Rows || dst.Cols != w.Rows {
		mismatch("MatMul", "[%d][%d] by [%d][%d] into [%d][%d]", x.Rows, x.Cols, w.Rows, w.Cols, dst.Rows, dst.Cols)
	}
	switch {
	case x.Rows == 0 || !s.begin():
	case s.held.takes(dst, x, w) && s.norm.lets(dst):
		s.held.list[s.held.count] = heldProduct{dst, w}
		s.held.count++
	default:
		if !(s.held.count == 0 && s.norm.is(x) && s.norm.lets(dst)) {
			s.err = s.settle()
		}
		if s.err == nil {
			s.held = products{x: x, list: [kernels.MostMatvecs]heldProduct{{dst, w}}, count: 1}
		}
	}
}

func (s *stream) product(dst, x device.Tensor, w device.Matrix) error {
	m := s.weights(w)
	scratch, err := s.terms.atLeast(int(s.device.set.ProductBytes(m, x.Rows)))
	if err != nil {
		return err
	}
	return s.device.set.Product(s.queue, s.at(dst), s.at(x), scratch, m, x.Rows)
}

// multiply launches the products that are held, and what is held besides.
func (s *stream) multiply() error {
	if err := s.rotate(); err != nil {
		return err
	}
	p := &s.held
	n := p.count
	p.count = 0
	norm, normed := s.normOf(p.x, n > 0)
	if err := s.normalize(); err != nil || n == 0 {
		return err
	}
	if n == 1 && !normed {
		return s.product(p.list[0].dst, p.x, p.list[0].w)
	}
	var list [kernels.MostMatvecs]kernels.Into
	for i, one := range p.list[:n] {
		list[i] = kernels.Into{W: s.weights(one.w), Out: s.at(one.dst)}
	}
	if normed {
		return s.device.set.MatvecsNormed(s.queue, norm, list[:n])
	}
	scratch, err := s.terms.atLeast(int(s.device.set.ProductBytes(list[0].W, p.x.Rows)))
	if err != nil {
		return err
	}
	return s.device.set.Products(s.queue, s.at(p.x), scratch, list[:n], p.x.Rows)
}

// Add implements [device.Stream].
func (s *stream) Add(dst, x device.Tensor) {
	if dst.Rows != x.Rows || dst.Cols != x.Cols {
		mismatch("Add", "[%d][%d] to [%d][%d]", x.Rows, x.Cols, dst.Rows, dst.Cols)
	}
	p := &s.held
	switch {
	case dst.Rows*dst.Cols == 0 || !s.begin():
	case p.count == 1 && p.x.Rows <= fusedTokens && same(p.list[0].dst, x) && apart(dst, x) && apart(dst, p.x):
		p.count = 0
		if s.err = s.normalize(); s.err != nil {
			return
		}
		s.err = s.device.set.MatvecAdded(s.queue, s.at(x), s.at(dst), s.at(p.x), s.weights(p.list[0].w), x.Rows)
	default:
		s.do(func() error { return s.device.set.Add(s.queue, s.at(dst), s.at(x), x.Rows*x.Cols) })
	}
}

// SwiGLU implements [device.Stream].
func (s *stream) SwiGLU(dst, gate, up device.Tensor) {
	if dst.Rows != gate.Rows || dst.Cols != gate.Cols || up.Rows != gate.Rows || up.Cols != gate.Cols {
		mismatch("SwiGLU", "[%d][%d] and [%d][%d] into [%d][%d]", gate.Rows, gate.Cols, up.Rows, up.Cols, dst.Rows, dst.Cols)
	}
	p := &s.held
	switch {
	case dst.Rows*dst.Cols == 0 || !s.begin():
	case p.count == 2 && p.x.Rows <= fusedTokens && same(dst, gate) && same(p.list[0].dst, gate) && same(p.list[1].dst, up):
		p.count = 0
		into := func(h heldProduct) kernels.Into { return kernels.Into{W: s.weights(h.w), Out: s.at(h.dst)} }
		if norm, normed := s.normOf(p.x, true); normed {
			s.err = s.device.set.GatedNormed(s.queue, norm, into(p.list[0]), into(p.list[1]))
		} else if s.err = s.normalize(); s.err == nil {
			s.err = s.device.set.Gated(s.queue, s.at(p.x), into(p.list[0]), into(p.list[1]), dst.Rows)
		}
	default:
		s.do(func() error {
			return s.device.set.SwiGLU(s.queue, s.at(dst), s.at(gate), s.at(up), dst.Rows*dst.Cols)
		})
	}
}
