package metalkern

import (
	"math"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
)

// TestProductsThatWereHeldShowNothingOfIt records products and what may be done in one launch with them, in all ways in which it is and
// some in which it must not be, and compares every tensor with those of a CPU.
func TestProductsThatWereHeldShowNothingOfIt(t *testing.T) {
	const width = 96
	dev, processor := open(t), cpu.New(1)
	defer processor.Close()
	type tensors struct{ x, y, a, b, c, d device.Tensor }
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
			p := attention.Partial{Rows: v.b.Rows, Heads: 1, Dim: width, O: v.b.Data, M: v.c.Data[:v.b.Rows], L: v.d.Data[:v.b.Rows]}
			st.Reset(p)
			st.MatMul(v.y, v.x, w[1])
			st.Finish(v.x, p)
		},
	}
	for name, sequence := range sequences {
		for _, rows := range []int{1, 2, 3, 9} { // a launch, matrix-vector products, and those of many tokens
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
					m, err := dev.Load(device.Matrix{Format: device.F32, Rows: width, Cols: width, Data: bytesOf(data)})
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
	}
}
