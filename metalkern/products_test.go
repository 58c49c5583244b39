package metalkern

import (
	"math"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
)

// TestOperationsThatWereHeldShowNothingOfIt records products, and what may be done in one launch with them, in all ways in which it is and
// some in which it must not be, and compares every tensor with those of a CPU.
func TestOperationsThatWereHeldShowNothingOfIt(t *testing.T) {
	dev, processor := open(t), cpu.New(1)
	defer processor.Close()
	sequences := map[string]func(st device.Stream, w []device.Matrix, v tensors){
		"three, and one more": func(st device.Stream, w []device.Matrix, v tensors) {
			st.MatMul(v.a, v.x, w[0])
			st.MatMul(v.b, v.x, w[1])
			st.MatMul(v.c, v.x, w[2])
			st.MatMul(v.d, v.x, w[0])
		},
		"of two tensors": func(st device.Stream, w []device.Matrix, v tensors) {
			st.MatMul(v.a, v.x, w[0])
			st.MatMul(v.b, v.y, w[1])
			st.MatMul(v.c, v.y, w[2])
		},
		"one after the other": func(st device.Stream, w []device.Matrix, v tensors) {
			st.MatMul(v.a, v.x, w[0])
			st.MatMul(v.b, v.a, w[1])
			st.MatMul(v.x, v.a, w[2])
			st.MatMul(v.a, v.x, w[1])
		},
		"twice into one": func(st device.Stream, w []device.Matrix, v tensors) {
			st.MatMul(v.a, v.x, w[0])
			st.MatMul(v.a, v.x, w[1])
			st.Add(v.b, v.a)
		},
		"added": func(st device.Stream, w []device.Matrix, v tensors) {
			st.MatMul(v.a, v.x, w[0])
			st.Add(v.y, v.a)
			st.MatMul(v.b, v.x, w[1])
			st.Add(v.x, v.b) // what the product reads
			st.MatMul(v.c, v.x, w[2])
			st.Add(v.c, v.c)
			st.MatMul(v.d, v.x, w[2])
			st.Add(v.d, v.y)
		},
		"gated": func(st device.Stream, w []device.Matrix, v tensors) {
			st.MatMul(v.a, v.x, w[0])
			st.MatMul(v.b, v.x, w[1])
			st.SwiGLU(v.a, v.a, v.b)
			st.MatMul(v.c, v.x, w[0])
			st.MatMul(v.d, v.x, w[1])
			st.SwiGLU(v.y, v.d, v.c)
		},
		"gated, the other way round": func(st device.Stream, w []device.Matrix, v tensors) {
			st.MatMul(v.a, v.x, w[0])
			st.MatMul(v.b, v.x, w[1])
			st.SwiGLU(v.b, v.b, v.a)
			st.MatMul(v.c, v.y, w[2])
			st.SwiGLU(v.d, v.c, v.y)
		},
		"before attention": func(st device.Stream, w []device.Matrix, v tensors) {
			st.MatMul(v.a, v.x, w[0])
			p := attention.Partial{Rows: v.b.Rows, Heads: 1, Dim: v.b.Cols, O: v.b.Data, M: v.c.Data[:v.b.Rows], L: v.d.Data[:v.b.Rows]}
			st.Reset(p)
			st.MatMul(v.y, v.x, w[1])
			st.Finish(v.x, p)
		},
		"of a norm": func(st device.Stream, w []device.Matrix, v tensors) {
			st.RMSNorm(v.y, v.x, v.d.Data[:v.d.Cols], 1e-5)
			st.MatMul(v.a, v.y, w[0])
			st.MatMul(v.b, v.y, w[1])
			st.MatMul(v.c, v.y, w[2])
			st.RMSNorm(v.y, v.a, v.d.Data[:v.d.Cols], 1e-5)
			st.MatMul(v.x, v.y, w[2])
			st.Add(v.b, v.x)
		},
		"of a norm, gated": func(st device.Stream, w []device.Matrix, v tensors) {
			st.RMSNorm(v.y, v.x, v.d.Data[:v.d.Cols], 1e-5)
			st.MatMul(v.a, v.y, w[0])
			st.MatMul(v.b, v.y, w[1])
			st.SwiGLU(v.a, v.a, v.b)
			st.MatMul(v.c, v.a, w[2])
			st.Add(v.x, v.c)
		},
		"of a norm, into what it is of": func(st device.Stream, w []device.Matrix, v tensors) {
			st.RMSNorm(v.y, v.x, v.d.Data[:v.d.Cols], 1e-5)
			st.MatMul(v.x, v.y, w[0])
			st.MatMul(v.a, v.y, w[1])
			st.RMSNorm(v.c, v.a, v.d.Data[:v.d.Cols], 1e-5)
			st.MatMul(v.b, v.c, w[1])
			st.MatMul(v.a, v.c, w[2])
		},
		"of something else than the norm": func(st device.Stream, w []device.Matrix, v tensors) {
			st.RMSNorm(v.y, v.x, v.d.Data[:v.d.Cols], 1e-5)
			st.MatMul(v.a, v.x, w[0])
			st.MatMul(v.b, v.y, w[1])
			st.RMSNorm(v.x, v.a, v.d.Data[:v.d.Cols], 1e-5)
			st.RMSNorm(v.c, v.x, v.d.Data[:v.d.Cols], 1e-5)
			st.RMSNorm(v.c, v.c, v.d.Data[:v.d.Cols], 1e-5)
		},
		"rotated": func(st device.Stream, w []device.Matrix, v tensors) {
			half := v.c.Cols / 2
			cos, sin := device.Tensor{Rows: v.c.Rows, Cols: half, Data: v.c.Data[:v.c.Rows*half]}, device.Tensor{Rows: v.d.Rows, Cols: half, Data: v.d.Data[:v.d.Rows*half]}
			st.MatMul(v.a, v.x, w[0])
			st.Rope(v.a, v.a.Cols, cos, sin, false)
			st.Rope(v.y, v.y.Cols, cos, sin, false)
			st.Rope(v.x, v.x.Cols, cos, sin, false)
			st.Rope(v.b, v.b.Cols, cos, sin, true)
			st.Rope(v.b, v.b.Cols, cos, sin, true)
			st.MatMul(v.y, v.b, w[1])
			st.Rope(v.y, v.y.Cols, cos, sin, false)
		},
	}
	for name, sequence := range sequences {
		for _, rows := range []int{1, 2, 3, 9} { // a launch, matrix-vector products, and those of many tokens
			heldShowNothing(t, dev, processor, name, device.F32, rows, 96, sequence)
		}
		heldShowNothing(t, dev, processor, name, device.BF16, 1, 256, sequence) // for which some devices have other kernels
	}
}

// tensors are what a sequence of operations is on.
type tensors struct{ x, y, a, b, c, d device.Tensor }

// heldShowNothing compares what a sequence makes of tensors [rows][width] on two devices.
func heldShowNothing(t *testing.T, dev, processor device.Device, name string, f device.Format, rows, width int, sequence func(st device.Stream, w []device.Matrix, v tensors)) {
	t.Helper()
	on := func(dev device.Device) (out []float32) {
		st := dev.NewStream()
		defer st.Close()
		arena := place(t, dev, 6*rows*width)
		var v tensors
		for i, to := range []*device.Tensor{&v.x, &v.y, &v.a, &v.b, &v.c, &v.d} {
			*to = device.Tensor{Rows: rows, Cols: width, Data: arena.Floats(rows * width)}
			data := make([]float32, rows*width)
			for k := range data {
				data[k] = float32(math.Sin(float64(k*(i+3) + i)))
			}
			st.Write(*to, data)
		}
		var w []device.Matrix
		for i := range 3 {
			data := make([]float32, width*width)
			for k := range data {
				data[k] = float32(math.Sin(float64(k*(2*i+5)))) / 8
			}
			stored := bytesOf(data)
			if f == device.BF16 {
				half := make([]uint16, len(data))
				for k, v := range data {
					half[k] = uint16(math.Float32bits(v) >> 16)
				}
				stored = bytesOf(half)
			}
			m, err := dev.Load(device.Matrix{Format: f, Rows: width, Cols: width, Data: stored})
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Unload(m)
			w = append(w, m)
		}
		sequence(st, w, v)
		for _, x := range []device.Tensor{v.x, v.y, v.a, v.b, v.c, v.d} {
			out = append(out, finish(t, st, x.Data)...)
		}
		return out
	}
	got, want := on(dev), on(processor)
	for i := range want {
		if d := float64(got[i] - want[i]); !(math.Abs(d) <= 1e-4*math.Max(1, math.Abs(float64(want[i])))) && got[i] != want[i] {
			t.Errorf("%s, %d rows: element %d of tensor %d is %v, not %v", name, rows, i%(rows*width), i/(rows*width), got[i], want[i])
			break
		}
	}
}
