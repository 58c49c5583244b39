package cpu

import (
	"math"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// Operations that treat each row by itself. Their costs are in nanoseconds an element.

type embedJob struct {
	dst   device.Tensor
	table device.Matrix
	ids   []int32
}

// Embed implements [device.Stream].
func (s *stream) Embed(dst device.Tensor, table device.Matrix, ids []int32) {
	if dst.Rows != len(ids) || dst.Cols != table.Cols {
		mismatch("Embed", "%d ids of a table [%d][%d] into [%d][%d]", len(ids), table.Rows, table.Cols, dst.Rows, dst.Cols)
	}
	if err := table.Check(); err != nil {
		mismatch("Embed", "%v", err)
	}
	for i, id := range ids {
		if id < 0 || int(id) >= table.Rows {
			mismatch("Embed", "id %d at %d, of a table of %d rows", id, i, table.Rows)
		}
	}
	s.embed = embedJob{dst, table, ids}
	s.run(&s.embed, dst.Rows, 0.3*float64(dst.Cols))
}

func (j *embedJob) run(first, end int, _ *worker) {
	for i := first; i < end; i++ {
		expand(j.dst.Row(i), j.table, int(j.ids[i]), 0)
	}
}

type normJob struct {
	dst, x device.Tensor
	weight []float32
	eps    float32
}

// RMSNorm implements [device.Stream].
func (s *stream) RMSNorm(dst, x device.Tensor, weight []float32, eps float32) {
	if dst.Rows != x.Rows || dst.Cols != x.Cols || len(weight) != x.Cols {
		mismatch("RMSNorm", "[%d][%d] by %d weights into [%d][%d]", x.Rows, x.Cols, len(weight), dst.Rows, dst.Cols)
	}
	s.norm = normJob{dst, x, weight, eps}
	s.run(&s.norm, x.Rows, 1*float64(x.Cols))
}

func (j *normJob) run(first, end int, _ *worker) {
	for i := first; i < end; i++ {
		x := j.x.Row(i)
		var a, b, c, d float32 // four chains of additions, in registers
		n := len(x) &^ 3
		for k := 0; k < n; k += 4 {
			v := x[k : k+4 : k+4]
			a += v[0] * v[0]
			b += v[1] * v[1]
			c += v[2] * v[2]
			d += v[3] * v[3]
		}
		for _, v := range x[n:] {
			a += v * v
		}
		mean := (a + b + c + d) / float32(len(x))
		f := float32(1 / math.Sqrt(float64(mean+j.eps)))
		dst, weight := j.dst.Row(i)[:len(x)], j.weight[:len(x)]
		for k, v := range x {
			dst[k] = v * f * weight[k]
		}
	}
}

type addJob struct{ dst, x device.Tensor }

// Add implements [device.Stream].
func (s *stream) Add(dst, x device.Tensor) {
	if dst.Rows != x.Rows || dst.Cols != x.Cols {
		mismatch("Add", "[%d][%d] to [%d][%d]", x.Rows, x.Cols, dst.Rows, dst.Cols)
	}
	s.sum = addJob{dst, x}
	s.run(&s.sum, dst.Rows, 0.4*float64(dst.Cols))
}

func (j *addJob) run(first, end int, _ *worker) {
	for i := first; i < end; i++ {
		simd.ScaleAdd(j.dst.Row(i), j.x.Row(i), 1, 1)
	}
}

type biasJob struct {
	dst device.Tensor
	b   []float32
}

// AddBias implements [device.Stream].
func (s *stream) AddBias(dst device.Tensor, b []float32) {
	if dst.Cols != len(b) {
		mismatch("AddBias", "%d to [%d][%d]", len(b), dst.Rows, dst.Cols)
	}
	s.bias = biasJob{dst, b}
	s.run(&s.bias, dst.Rows, 0.4*float64(dst.Cols))
}

func (j *biasJob) run(first, end int, _ *worker) {
	for i := first; i < end; i++ {
		simd.ScaleAdd(j.dst.Row(i), j.b, 1, 1)
	}
}

type ropeJob struct {
	x        device.Tensor
	headDim  int
	cos, sin device.Tensor

	interleaved bool
}

// Rope implements [device.Stream].
func (s *stream) Rope(x device.Tensor, headDim int, cos, sin device.Tensor, interleaved bool) {
	if cos.Rows != x.Rows || sin.Rows != x.Rows || cos.Cols != sin.Cols || 2*cos.Cols > headDim || headDim == 0 || x.Cols%headDim != 0 {
		mismatch("Rope", "[%d][%d] of heads of %d by angles [%d][%d] and [%d][%d]",
			x.Rows, x.Cols, headDim, cos.Rows, cos.Cols, sin.Rows, sin.Cols)
	}
	s.rope = ropeJob{x, headDim, cos, sin, interleaved}
	s.run(&s.rope, x.Rows, 0.8*float64(x.Cols))
}

func (j *ropeJob) run(first, end int, _ *worker) {
	half := j.cos.Cols
	for i := first; i < end; i++ {
		row, cos, sin := j.x.Row(i), j.cos.Row(i), j.sin.Row(i)
		for head := 0; head < len(row); head += j.headDim {
			if j.interleaved {
				pairs := row[head : head+2*half]
				for k, c := range cos {
					a, b, s := pairs[2*k], pairs[2*k+1], sin[k]
					pairs[2*k], pairs[2*k+1] = a*c-b*s, b*c+a*s
				}
				continue
			}
			low, high := row[head:head+half], row[head+half:head+2*half]
			for k, c := range cos {
				a, b, s := low[k], high[k], sin[k]
				low[k], high[k] = a*c-b*s, b*c+a*s
			}
		}
	}
}

type gateJob struct{ dst, gate, up device.Tensor }

// SwiGLU implements [device.Stream].
func (s *stream) SwiGLU(dst, gate, up device.Tensor) {
	if dst.Rows != gate.Rows || dst.Cols != gate.Cols || up.Rows != gate.Rows || up.Cols != gate.Cols {
		mismatch("SwiGLU", "[%d][%d] and [%d][%d] into [%d][%d]", gate.Rows, gate.Cols, up.Rows, up.Cols, dst.Rows, dst.Cols)
	}
	s.gate = gateJob{dst, gate, up}
	s.run(&s.gate, gate.Rows, 0.6*float64(gate.Cols))
}

func (j *gateJob) run(first, end int, _ *worker) {
	for i := first; i < end; i++ {
		simd.SwiGLU(j.dst.Row(i), j.gate.Row(i), j.up.Row(i))
	}
}
