package metalkern

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/internal/quantize"
)

// quantized is a matrix of random numbers of one size or another. Those of MLX have groups of 64, and bf16 for scales and biases.
func quantized(f device.Format, rows, cols int) device.Matrix {
	rng := rand.New(rand.NewPCG(8, uint64(f)))
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(rng.NormFloat64()) / float32(8+i/32%5*8)
	}
	m := device.Matrix{Format: f, Rows: rows, Cols: cols}
	if !f.Affine() {
		m.Data = quantize.Encode(nil, f, x)
		return m
	}
	m.Group, m.ScaleFormat = 64, device.BF16
	m.Data, m.Scales, m.Biases = quantize.EncodeAffine(f, m.Group, m.ScaleFormat, x)
	return m
}

// quantizedFormats are those that devices compute in.
var quantizedFormats = []device.Format{device.Q8_0, device.Q4_0, device.Q4_K, device.Q6_K, device.MLX4, device.MLX8}

// TestQuantizedWeightsMultiplyAsOnTheCPU compares products and embeddings with weights that are loaded in another order than they were stored in.
func TestQuantizedWeightsMultiplyAsOnTheCPU(t *testing.T) {
	dev, processor := open(t), cpu.New(1)
	defer processor.Close()
	const rows = 70
	for _, f := range quantizedFormats {
		cols := max(96, 2*f.Block().Elements)
		if f.Affine() {
			cols = 192
		}
		m := quantized(f, rows, cols)
		for _, tokens := range []int{1, 2, 5, 12} {
			on := func(dev device.Device) (out, rowsOf []float32) {
				w, err := dev.Load(m)
				if err != nil {
					t.Fatal(err)
				}
				defer dev.Unload(w)
				st := dev.NewStream()
				defer st.Close()
				x := make([]float32, tokens*cols)
				ids := make([]int32, tokens)
				for i := range x {
					x[i] = float32(math.Sin(float64(i * 7)))
				}
				for i := range ids {
					ids[i] = int32(i * 31 % rows)
				}
				y, e := upload(st, tokens, rows, make([]float32, tokens*rows)), upload(st, tokens, cols, make([]float32, tokens*cols))
				st.MatMul(y, upload(st, tokens, cols, x), w)
				st.Embed(e, w, ids)
				got := st.Download(bytesOf(e.Data))
				out = finish(t, st, y.Data)
				return out, append(rowsOf, floatsOf(got)...)
			}
			y, e := on(dev)
			wantY, wantE := on(processor)
			for i, want := range wantE {
				if e[i] != want {
					t.Fatalf("%v: element %d of a row is %v, not %v", f, i, e[i], want)
				}
			}
			for i, want := range wantY {
				if math.Abs(float64(y[i]-want)) > 0.03 { // products of many tokens round to halves, and the CPU may round to 8 bits
					t.Fatalf("%v, %d tokens: element %d is %v, not %v", f, tokens, i, y[i], want)
				}
			}
		}
	}
}

func TestWeightsThatKernelsDoNotReadAreRefused(t *testing.T) {
	dev := open(t)
	short := quantized(device.Q6_K, 4, 256)
	short.Cols = 128
	if _, err := dev.Load(short); err == nil || !strings.Contains(err.Error(), "128 columns, in Q6_K, whose blocks have 256 elements") {
		t.Errorf("half a block of Q6_K: %v", err)
	}
	odd := quantized(device.MLX4, 4, 128)
	odd.Cols = 96
	if _, err := dev.Load(odd); err == nil || !strings.Contains(err.Error(), "96 columns, in groups of 64") {
		t.Errorf("a group and a half: %v", err)
	}
	if _, err := dev.Load(device.Matrix{Format: device.BF16, Rows: 2, Cols: 12, Data: make([]byte, 48)}); err == nil || !strings.Contains(err.Error(), "--device cpu") {
		t.Errorf("rows of 12 elements: %v", err)
	}
}
