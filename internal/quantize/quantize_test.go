package quantize_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/quantize"
	"github.com/orrery-ai/orrery/model/gguf"
)

const rows, cols = 3, 512

// reference is what ggml wrote: random numbers in each format, and what ggml reads back.
func reference(t *testing.T) map[string]gguf.Tensor {
	t.Helper()
	b, err := os.ReadFile("../../model/gguf/testdata/reference.gguf")
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return f.Tensors
}

func floats(b []byte) []float32 {
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

// names is what ggml calls each format.
var names = map[device.Format]string{
	device.F16: "f16", device.BF16: "bf16", device.Q8_0: "q8_0", device.Q4_0: "q4_0", device.Q4_K: "q4_K", device.Q6_K: "q6_K",
}

func TestBlocksWidenAsGgmlWidensThem(t *testing.T) {
	tensors := reference(t)
	for format, name := range names {
		m := device.Matrix{Format: format, Rows: rows, Cols: cols, Data: tensors[name].Data}
		want := floats(tensors[name+".widened"].Data)
		for row := range rows {
			got := make([]float32, cols)
			quantize.Widen(got, &m, row)
			for i, v := range got {
				// Some processors round a product and a sum once, others twice.
				if w := want[row*cols+i]; math.Abs(float64(v-w)) > 2e-7*math.Max(1, math.Abs(float64(w))) {
					t.Fatalf("%v: row %d, element %d is %g, want %g", format, row, i, v, w)
				}
			}
		}
	}
}

// TestEncodingRoundsAsWellAsGgml holds the error of each format to ggml's on the same numbers.
func TestEncodingRoundsAsWellAsGgml(t *testing.T) {
	tensors := reference(t)
	x := floats(tensors["x"].Data)
	for format, name := range names {
		data := quantize.Encode(nil, format, x)
		if len(data) != format.MatrixBytes(rows, cols) {
			t.Fatalf("%v: %d bytes, want %d", format, len(data), format.MatrixBytes(rows, cols))
		}
		if format == device.Q8_0 && !bytes.Equal(data, tensors[name].Data) {
			t.Errorf("%v is not what ggml writes", format)
		}
		m := device.Matrix{Format: format, Rows: rows, Cols: cols, Data: data}
		got, theirs := rms(x, widened(&m)), rms(x, floats(tensors[name+".widened"].Data))
		t.Logf("%v: error %.2e, ggml's %.2e", format, got, theirs)
		if got > 1.6*theirs {
			t.Errorf("%v: error %.2e, ggml's is %.2e", format, got, theirs)
		}
	}
}

func widened(m *device.Matrix) []float32 {
	out := make([]float32, m.Rows*m.Cols)
	for row := range m.Rows {
		quantize.Widen(out[row*m.Cols:(row+1)*m.Cols], m, row)
	}
	return out
}

// rms is the root of the mean square of the difference.
func rms(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += float64(a[i]-b[i]) * float64(a[i]-b[i])
	}
	return math.Sqrt(sum / float64(len(a)))
}

func TestAffineGroupsComeBackWithinHalfAStep(t *testing.T) {
	x := floats(reference(t)["x"].Data)
	for _, format := range []device.Format{device.MLX8, device.MLX4} {
		for _, numbers := range []device.Format{device.F32, device.F16, device.BF16} {
			for _, group := range []int{32, 64, 128} {
				data, scales, biases := quantize.EncodeAffine(format, group, numbers, x)
				m := device.Matrix{Format: format, Rows: rows, Cols: cols, Data: data,
					Group: group, ScaleFormat: numbers, Scales: scales, Biases: biases}
				if err := m.Check(); err != nil {
					t.Fatal(err)
				}
				most := map[device.Format]float64{device.MLX8: 255, device.MLX4: 15}[format]
				got := widened(&m)
				for at := 0; at < len(x); at += group {
					low, high := math.Inf(1), math.Inf(-1)
					for _, v := range x[at : at+group] {
						low, high = min(low, float64(v)), max(high, float64(v))
					}
					// Half a step, and what rounding the scale and the bias to 8 bits of mantissa may add.
					limit := (high-low)/most/2 + 0.004*(high-low) + 0.004*math.Abs(low)
					for i, v := range x[at : at+group] {
						if e := math.Abs(float64(v) - float64(got[at+i])); e > limit {
							t.Fatalf("%v, %v, groups of %d: element %d, %g, comes back as %g", format, numbers, group, at+i, v, got[at+i])
						}
					}
				}
			}
		}
	}
}
