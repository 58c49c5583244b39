package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/quant"
)

// quantized is random weights in every quantized format, by name.
func quantized(r *rand.Rand, rows, cols int) map[string]device.Matrix {
	all := map[string]device.Matrix{}
	values := random(r, rows, cols).Data
	for _, f := range []device.Format{device.Q8_0, device.Q4_0, device.Q4_K, device.Q6_K} {
		if cols%f.Block() == 0 {
			all[f.String()] = device.Matrix{Format: f, Rows: rows, Cols: cols, Data: quant.Encode(nil, f, values)}
		}
	}
	for _, f := range []device.Format{device.MLX8, device.MLX4} {
		m := device.Matrix{Format: f, Rows: rows, Cols: cols, Affine: device.Affine{Group: 32, Format: device.BF16}}
		m.Data, m.Affine.Scales, m.Affine.Biases = quant.EncodeAffine(f, 32, device.BF16, values)
		all[f.String()] = m
	}
	return all
}

// widened is a row of w.
func widened(w *device.Matrix, row int) []float32 {
	out := make([]float32, w.Cols)
	quant.Widen(out, w, row, 0)
	return out
}

func TestProductsWithQuantizedWeightsAreThoseOfTheirValues(t *testing.T) {
	for _, size := range []struct{ tokens, rows, cols int }{
		{0, 5, 32}, {1, 1, 32}, {1, 300, 256}, {2, 33, 64}, {8, 17, 1024}, {9, 16, 256}, {16, 40, 96}, {33, 65, 512}, {100, 260, 768},
	} {
		r := rand.New(rand.NewPCG(5, uint64(size.rows)))
		x := random(r, size.tokens, size.cols)
		for name, w := range quantized(r, size.rows, size.cols) {
			var first device.Tensor
			onStreams(t, func(t *testing.T, threads int, s device.Stream) {
				dst := random(r, size.tokens, size.rows)
				s.MatMul(dst, x, w)
				for row := range size.rows {
					values := widened(&w, row)
					for token := range size.tokens {
						want, sum := 0.0, 0.0
						for k, v := range x.Row(token) {
							p := float64(v) * float64(values[k])
							want += p
							sum += math.Abs(p)
						}
						if got := float64(dst.Row(token)[row]); !(math.Abs(got-want) <= 1e-6*(1+sum)) {
							t.Fatalf("%s %+v: token %d, element %d is %v, want %v", name, size, token, row, got, want)
						}
					}
				}
				if first.Data == nil {
					first = dst
				}
				for i := range dst.Data {
					if dst.Data[i] != first.Data[i] {
						t.Fatalf("%s %+v: element %d is %v on one thread, %v on %d", name, size, i, first.Data[i], dst.Data[i], threads)
					}
				}
			})
		}
	}
}

func TestEmbedWidensQuantizedRows(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for name, table := range quantized(r, 30, 512) {
		onStreams(t, func(t *testing.T, _ int, s device.Stream) {
			ids := []int32{29, 0, 7, 7}
			dst := device.NewTensor(len(ids), table.Cols)
			s.Embed(dst, table, ids)
			for i, id := range ids {
				for k, want := range widened(&table, int(id)) {
					if got := dst.Row(i)[k]; got != want {
						t.Fatalf("%s: row %d, element %d is %v, want %v", name, id, k, got, want)
					}
				}
			}
		})
	}
}

func TestQuantizedWeightsThatLackBytesPanic(t *testing.T) {
	d := New(1)
	defer d.Close()
	s := d.NewStream()
	for _, w := range quantized(rand.New(rand.NewPCG(7, 7)), 3, 256) {
		dst, x := device.NewTensor(1, 3), device.NewTensor(1, 256)
		product := func(change func(*device.Matrix)) func() {
			broken := w
			change(&broken)
			return func() { s.MatMul(dst, x, broken) }
		}
		panics(t, "MatMul", product(func(m *device.Matrix) { m.Data = m.Data[1:] }))
		if w.Affine.Group == 0 {
			panics(t, "MatMul", product(func(m *device.Matrix) { m.Affine.Group = 32 }))
			continue
		}
		panics(t, "MatMul", product(func(m *device.Matrix) { m.Affine.Group = 0 }))
		panics(t, "MatMul", product(func(m *device.Matrix) { m.Affine.Group = 17 }))
		panics(t, "MatMul", product(func(m *device.Matrix) { m.Affine.Scales = m.Affine.Scales[1:] }))
		panics(t, "MatMul", product(func(m *device.Matrix) { m.Affine.Biases = nil }))
		panics(t, "MatMul", product(func(m *device.Matrix) { m.Affine.Format = device.Q8_0 }))
	}
}
