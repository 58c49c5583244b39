package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// Merge merges partials in their order, and finishes them.
type Merge struct{ kernel gpu.Kernel }

type mergeParams struct{ parts, rows, dim, into, finish, sinks int32 }

var mergeInstance = instance{file: "merge.metal", name: "merge"}

// maxMergeDim is the largest head that a group of the kernel holds.
const maxMergeDim = 256

// Merge compiles the kernel.
func (s *Set) Merge() (*Merge, error) {
	k, err := s.get(mergeInstance)
	if err != nil {
		return nil, err
	}
	return &Merge{k}, nil
}

func (m *Merge) launch(queue gpu.Queue, parts Partial, out Partial, sinks gpu.Range, shape attention.Shape, p mergeParams) error {
	if shape.HeadDim > maxMergeDim {
		return fmt.Errorf("kernels: merging heads of %d elements: at most %d are supported", shape.HeadDim, maxMergeDim)
	}
	p.rows *= int32(shape.Heads)
	p.dim = int32(shape.HeadDim)
	gpu.Launch(queue, m.kernel, gpu.Grid{X: int(p.rows), Y: 1, Z: 1, Threads: maxMergeDim}, gpu.Buffers(parts.O, parts.M, parts.L, out.O, out.M, out.L, sinks), p)
	return nil
}

// Into merges n partials of rows queries, [n][rows][heads], into out. If out holds a part already, it is the first.
func (m *Merge) Into(queue gpu.Queue, out Partial, holds bool, parts Partial, n, rows int, shape attention.Shape) error {
	p := mergeParams{parts: int32(n), rows: int32(rows)}
	if holds {
		p.into = 1
	}
	return m.launch(queue, parts, out, out.M, shape, p)
}

// Finish merges n partials and divides: out [rows][heads][headDim] is attention itself, 0 for a query without keys. If sinks is not
// empty, it is the logit of each head's sink, which enters once, here.
func (m *Merge) Finish(queue gpu.Queue, out gpu.Range, sinks gpu.Range, parts Partial, n, rows int, shape attention.Shape) error {
	p := mergeParams{parts: int32(n), rows: int32(rows), finish: 1}
	if sinks.Buffer == nil {
		sinks = parts.M
	} else {
		p.sinks = int32(shape.Heads)
	}
	return m.launch(queue, parts, Partial{out, parts.M, parts.L}, sinks, shape, p)
}
