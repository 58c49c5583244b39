package metalkern

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
)

// quantized is a matrix of random blocks, with scales between 1/64 and 1/32.
func quantized(f device.Format, rows, cols int) device.Matrix {
	rng := rand.New(rand.NewPCG(8, uint64(f)))
	m := device.Matrix{Format: f, Rows: rows, Cols: cols, Data: make([]byte, f.MatrixBytes(rows, cols))}
	for i := range m.Data {
		m.Data[i] = byte(rng.Uint32())
	}
	for at := 0; at < len(m.Data); at += f.Block().Bytes {
		binary.LittleEndian.PutUint16(m.Data[at:], uint16(0x2400+rng.IntN(0x400)))
	}
	return m
}

// TestQuantizedWeightsMultiplyAsOnTheCPU compares products and embeddings with weights that are loaded in another order than they were stored in.
func TestQuantizedWeightsMultiplyAsOnTheCPU(t *testing.T) {
	dev, processor := open(t), cpu.New(1)
	defer processor.Close()
	const rows, cols = 70, 96
	for _, f := range []device.Format{device.Q8_0, device.Q4_0} {
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
	if _, err := dev.Load(quantized(device.Q4_K, 4, 256)); err == nil || !strings.Contains(err.Error(), "Q4_K") {
		t.Errorf("weights in Q4_K: %v", err)
	}
	if _, err := dev.Load(device.Matrix{Format: device.BF16, Rows: 2, Cols: 12, Data: make([]byte, 48)}); err == nil || !strings.Contains(err.Error(), "--device cpu") {
		t.Errorf("rows of 12 elements: %v", err)
	}
}
