package kernels

import (
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

const (
	// elementThreads is the size of a group of an elementwise kernel.
	elementThreads = 256
	// narrowCols is up to how many columns a simdgroup norms a row.
	narrowCols = 512
	// copyEach is how many words of 16 bytes a group of the copy kernel moves.
	copyEach = 1024
)

type (
	embedParams struct{ rows, cols int32 }
	normParams  struct {
		rows, cols  int32
		eps, offset float32
	}
	ropeParams    struct{ rows, heads, others, dim, pairs, step, gap int32 }
	elementParams struct {
		n    uint64
		cols uint32
		_    uint32
	}
)

func rowsKernel(name string) instance { return instance{file: "rows.metal", name: name} }

func embedding(f WeightFormat) instance {
	name := "embed_" + f.String()
	return instance{"rows.metal", name, "EMBED(" + name + ", " + f.tag() + ")"}
}

// threads is a grid of at least n threads.
func threads(n int) gpu.Grid {
	return gpu.Grid{X: max(1, (n+elementThreads-1)/elementThreads), Y: 1, Z: 1, Threads: elementThreads}
}

// groups is a grid of n groups.
func groups(n, threads int) gpu.Grid { return gpu.Grid{X: n, Y: 1, Z: 1, Threads: threads} }

// Embed copies rows ids [n] int32 of the table to dst [n][table.Cols]. An id that is not in the table is taken for 0.
func (s *Set) Embed(queue gpu.Queue, dst gpu.Range, table Weights, ids gpu.Range, n int) error {
	if err := table.Check(); err != nil {
		return err
	}
	k, err := s.made(recipe{kind: "embed", format: table.Format}, func() instance { return embedding(table.Format) })
	if err != nil {
		return err
	}
	p := embedParams{int32(table.Rows), int32(table.Cols)}
	gpu.Launch(queue, k, groups(n, 128), gpu.Buffers(dst, table.Data, table.scales(), ids), p)
	return nil
}

// Norm sets each row of dst [rows][cols] to x/sqrt(mean(x²)+eps)·(weight+offset) (Zhang and Sennrich, 2019); dst may be x. offset is 1 for
// models that store weight - 1.
func (s *Set) Norm(queue gpu.Queue, dst, x, weight gpu.Range, rows, cols int, eps, offset float32) error {
	name, grid := "norm_wide", groups(rows, 256)
	if cols <= narrowCols {
		name, grid = "norm_narrow", groups((rows+7)/8, 256)
	}
	k, err := s.get(rowsKernel(name))
	if err != nil {
		return err
	}
	p := normParams{int32(rows), int32(cols), eps, offset}
	gpu.Launch(queue, k, grid, gpu.Buffers(dst, x, weight), p)
	return nil
}

// Rope rotates the first 2·pairs elements of each head of x [rows][heads][dim] in half-split pairs, or in pairs of neighbours
// if interleaved, by cos and sin [rows][pairs].
func (s *Set) Rope(queue gpu.Queue, x, cos, sin gpu.Range, rows, heads, dim, pairs int, interleaved bool) error {
	return s.Ropes(queue, x, x, cos, sin, rows, heads, 0, dim, pairs, interleaved)
}

// Ropes is [Set.Rope] of x and of y [rows][others][dim], in one launch.
func (s *Set) Ropes(queue gpu.Queue, x, y, cos, sin gpu.Range, rows, heads, others, dim, pairs int, interleaved bool) error {
	k, err := s.get(rowsKernel("rope"))
	if err != nil {
		return err
	}
	p := ropeParams{int32(rows), int32(heads), int32(others), int32(dim), int32(pairs), 1, int32(pairs)}
	if interleaved {
		p.step, p.gap = 2, 1
	}
	gpu.Launch(queue, k, threads(rows*(heads+others)*pairs), gpu.Buffers(x, y, cos, sin), p)
	return nil
}

// element launches an elementwise kernel of two or three buffers.
func (s *Set) element(queue gpu.Queue, name string, grid gpu.Grid, n, cols int, buffers ...gpu.Range) error {
	k, err := s.get(rowsKernel(name))
	if err != nil {
		return err
	}
	gpu.Launch(queue, k, grid, buffers, elementParams{n: uint64(n), cols: uint32(cols)})
	return nil
}

// Add adds x to dst, n elements.
func (s *Set) Add(queue gpu.Queue, dst, x gpu.Range, n int) error {
	return s.element(queue, "add", threads(n), n, 1, dst, x)
}

// AddBias adds bias [cols] to each row of dst [rows][cols].
func (s *Set) AddBias(queue gpu.Queue, dst, bias gpu.Range, rows, cols int) error {
	return s.element(queue, "add_bias", threads(rows*cols), rows*cols, cols, dst, bias)
}

// SwiGLU sets dst to silu(gate)·up, n elements; dst may be gate (Shazeer, 2020).
func (s *Set) SwiGLU(queue gpu.Queue, dst, gate, up gpu.Range, n int) error {
	return s.element(queue, "swiglu", threads(n), n, 1, dst, gate, up)
}

// Reset makes p, of n queries and heads, the part without keys.
func (s *Set) Reset(queue gpu.Queue, p Partial, n, dim int) error {
	return s.element(queue, "reset", threads(n*dim), n*dim, dim, p.O, p.M, p.L)
}

// Copy copies n bytes, a multiple of 16, by a kernel: what reads and writes at the speed of memory.
func (s *Set) Copy(queue gpu.Queue, dst, src gpu.Range, n int64) error {
	words := int(n / 16)
	return s.element(queue, "copy16", groups((words+copyEach-1)/copyEach, elementThreads), words, 1, dst, src)
}
