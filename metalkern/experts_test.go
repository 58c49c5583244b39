package metalkern

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/internal/quantize"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// someExperts is random experts whose matrices lie one behind the other, those of an expert together.
func someExperts(f device.Format, n, width, hidden int) (e device.Experts) {
	rng := rand.New(rand.NewPCG(8, uint64(f)))
	like := device.Matrix{Format: f}
	if f.Affine() {
		like.Group, like.ScaleFormat = 32, device.F16
	}
	var all, scales, biases []byte
	for range 3 * n {
		x := make([]float32, width*hidden)
		for i := range x {
			x[i] = float32(rng.NormFloat64()) / 8
		}
		if !f.Affine() {
			all = quantize.Encode(all, f, x)
			continue
		}
		q, s, b := quantize.EncodeAffine(f, like.Group, like.ScaleFormat, x)
		all, scales, biases = append(all, q...), append(scales, s...), append(biases, b...)
	}
	size, numbers := f.MatrixBytes(width, hidden), len(scales)/(3*n)
	for i := range n {
		part := func(k, rows, cols int) device.Matrix {
			m, at := like, 3*i+k
			m.Rows, m.Cols, m.Data = rows, cols, all[at*size:][:size]
			m.Scales, m.Biases = scales[at*numbers:][:numbers], biases[at*numbers:][:numbers]
			return m
		}
		e.Gate, e.Up, e.Down = append(e.Gate, part(0, width, hidden)), append(e.Up, part(1, width, hidden)), append(e.Down, part(2, hidden, width))
	}
	return e
}

// compute runs a layer of experts on a device.
func compute(t *testing.T, dev device.Device, e device.Experts, tokens, active int) (out []float32, chosen []int32) {
	t.Helper()
	loaded, err := dev.LoadExperts(e)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.UnloadExperts(loaded)
	st := dev.NewStream()
	defer st.Close()
	hidden, n := e.Hidden(), e.Len()
	each := 2*hidden + n + 2*active + device.ExpertsRoom(active, e.Width(), hidden)
	arena := place(t, dev, tokens*each)
	tensor := func(cols int) device.Tensor {
		return device.Tensor{Rows: tokens, Cols: cols, Data: arena.Floats(tokens * cols)}
	}
	room := arena.Floats(tokens * device.ExpertsRoom(active, e.Width(), hidden)) // first: kernels read it 16 bytes at a time
	dst, x, logits := tensor(hidden), tensor(hidden), tensor(n)
	for i, to := range []device.Tensor{dst, x, logits} {
		data := make([]float32, len(to.Data))
		for k := range data {
			data[k] = float32(math.Sin(float64(k*(i+3) + i)))
		}
		st.Write(to, data)
	}
	ids := arena.Floats(tokens * active)
	to := device.Routing{Active: active, Experts: asInts(ids), Weights: arena.Floats(tokens * active)}
	st.Route(to, logits, true)
	st.Experts(dst, x, to, &loaded, room)
	out = finish(t, st, dst.Data)
	return out, intsOf(finish(t, st, ids))
}

// asInts is the same memory as integers, and intsOf what the bits of x stand for.
func asInts(x []float32) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

func intsOf(x []float32) []int32 {
	out := make([]int32, len(x))
	for i, v := range x {
		out[i] = int32(math.Float32bits(v))
	}
	return out
}

// TestExpertsComputeAsOnTheCPU also shares the memory of those that the host can, as Metal does.
func TestExpertsComputeAsOnTheCPU(t *testing.T) {
	dev, processor := open(t), cpu.New(1)
	defer processor.Close()
	shared := &sharing{Host: dev.host}
	dev2, err := NewDevice(shared)
	if err != nil {
		t.Fatal(err)
	}
	defer dev2.copies.Close()
	const n = 4
	for _, f := range append([]device.Format{device.F32, device.F16, device.BF16}, quantizedFormats...) {
		width, hidden := max(64, f.Block().Elements), max(96, f.Block().Elements)
		e := someExperts(f, n, width, hidden)
		for _, tokens := range []int{1, 2, 5, 30} {
			want, chosen := compute(t, processor, e, tokens, 2)
			for name, dev := range map[string]*Device{"a copy": dev, "shared": dev2} {
				got, ids := compute(t, dev, e, tokens, 2)
				if !slices.Equal(ids, chosen) {
					t.Fatalf("%s: %d tokens go to %v, on the CPU to %v", name, tokens, ids, chosen)
				}
				limit := 2e-4
				if f.Bytes() == 0 {
					limit = 0.03 // products of many tokens round to halves
				}
				for i, w := range want {
					if math.Abs(float64(got[i]-w)) > limit {
						t.Fatalf("%s in %v, %d tokens: element %d is %v, not %v", name, f, tokens, i, got[i], w)
					}
				}
			}
		}
		if want := map[bool]int{true: 4, false: 0}[asStored(f)]; shared.adopted != want {
			t.Errorf("%v: memory was shared %d times in 4 loadings, want %d", f, shared.adopted, want)
		}
		shared.adopted = 0
	}
}

// sharing is a host that says that it shares memory.
type sharing struct {
	gpu.Host
	adopted int
}

// Adopt implements [gpu.Adopter] by a copy.
func (s *sharing) Adopt(data []byte) (gpu.Range, error) {
	s.adopted++
	b, err := s.Alloc(int64(len(data)), gpu.Mapped)
	if err != nil {
		return gpu.Range{}, err
	}
	copy(b.Bytes(), data)
	return gpu.Range{Buffer: b}, nil
}

func TestExpertsThatKernelsDoNotComputeAreRefused(t *testing.T) {
	dev := open(t)
	mixed := someExperts(device.F16, 2, 64, 96)
	mixed.Up = someExperts(device.BF16, 2, 64, 96).Up
	grouped := someExperts(device.MLX4, 2, 64, 64)
	grouped.Up = slices.Clone(grouped.Gate)
	for i := range grouped.Up {
		grouped.Up[i].Group = 64
	}
	for want, e := range map[string]device.Experts{
		"gates are in f16": mixed, "mlx4_g32_f16, and what is beside them in mlx4_g64_f16": grouped, "multiple of 8": someExperts(device.F16, 2, 60, 96), "0 gates": {},
	} {
		if _, err := dev.LoadExperts(e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if len(dev.loaded)+len(dev.experts) > 0 {
		t.Errorf("%d matrices and %d layers of what was refused are loaded", len(dev.loaded), len(dev.experts))
	}
}

func TestTheLikeliestTokenIsTheOneOfTheCPU(t *testing.T) {
	dev, processor := open(t), cpu.New(1)
	defer processor.Close()
	const rows, cols = 5, 9001
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(math.Sin(float64(i % 977))) // each value comes often
	}
	x[3*cols+4444], x[4*cols+9000] = float32(math.NaN()), float32(math.Inf(1))
	on := func(dev device.Device) []int32 {
		st := dev.NewStream()
		defer st.Close()
		best := place(t, dev, rows).Floats(rows)
		st.Argmax(asInts(best), upload(st, rows, cols, x))
		return intsOf(finish(t, st, best))
	}
	got, want := on(dev), on(processor)
	if !slices.Equal(got, want) || want[3] != -1 || want[4] != -1 || want[0] < 0 {
		t.Errorf("%s", fmt.Sprint(got, " on the device, ", want, " on the CPU"))
	}
}
