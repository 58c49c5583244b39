package cpu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
	"github.com/orrery-ai/orrery/device/quant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// threadCounts are those that every result must be the same for.
var threadCounts = []int{1, 2, 5}

// onStreams runs a test on a stream of devices with several numbers of threads.
func onStreams(t *testing.T, run func(t *testing.T, threads int, s device.Stream)) {
	for _, n := range threadCounts {
		d := New(n)
		run(t, n, d.NewStream())
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func random(r *rand.Rand, rows, cols int) device.Tensor {
	x := device.NewTensor(rows, cols)
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	return x
}

// matrix is random weights at an odd address, and their values.
func matrix(r *rand.Rand, f device.Format, rows, cols int) (device.Matrix, []float64) {
	data, values := make([]byte, 1+rows*cols*f.Bytes())[1:], make([]float64, rows*cols)
	for i := range values {
		v := math.Round(r.NormFloat64()*64) / 64 // a value that every format holds, or nearly
		values[i] = v
		switch bits := math.Float32bits(float32(v)); f {
		case device.F32:
			binary.LittleEndian.PutUint32(data[4*i:], bits)
		case device.BF16:
			binary.LittleEndian.PutUint16(data[2*i:], uint16(bits>>16))
			values[i] = float64(math.Float32frombits(bits >> 16 << 16))
		case device.F16:
			h := uint16(bits>>16&0x8000) | uint16(int(bits>>23&0xff)-112)<<10 | uint16(bits>>13&0x3ff)
			if v == 0 {
				h = 0
			}
			binary.LittleEndian.PutUint16(data[2*i:], h)
		}
	}
	return device.Matrix{Format: f, Rows: rows, Cols: cols, Data: data}, values
}

var formats = []device.Format{device.F32, device.F16, device.BF16}

// near fails unless got is want, within a part of size.
func near(t *testing.T, what string, got float32, want, size, rel float64) {
	t.Helper()
	if !(math.Abs(float64(got)-want) <= rel*size) {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

// panics fails unless f panics with a message that holds text.
func panics(t *testing.T, text string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := fmt.Sprint(recover()); !strings.Contains(got, text) {
			t.Fatalf("panic %q, want one about %q", got, text)
		}
	}()
	f()
}

func TestMatMulEqualsFloat64(t *testing.T) {
	sizes := []struct{ tokens, rows, cols int }{
		{0, 5, 5}, {1, 1, 1}, {1, 300, 257}, {2, 33, 64}, {3, 100, 40}, {8, 17, 300}, {9, 16, 256}, {12, 5, 3},
		{13, 100, 513}, {40, 70, 64}, {33, 100, 416}, {97, 65, 31}, {100, 260, 300}, {20, 700, 8}, {9, 3, 0}, {2, 3, 0},
	}
	for _, f := range formats {
		for _, size := range sizes {
			r := rand.New(rand.NewPCG(1, uint64(size.rows)))
			x := random(r, size.tokens, size.cols)
			w, values := matrix(r, f, size.rows, size.cols)
			want, sums := make([]float64, size.tokens*size.rows), make([]float64, size.tokens*size.rows)
			for i := range want {
				row, col := i/size.rows, i%size.rows
				for k, v := range x.Row(row) {
					p := float64(v) * values[col*size.cols+k]
					want[i] += p
					sums[i] += math.Abs(p)
				}
			}
			var first device.Tensor
			onStreams(t, func(t *testing.T, threads int, s device.Stream) {
				dst := random(r, size.tokens, size.rows)
				s.MatMul(dst, x, w)
				for i, v := range dst.Data {
					if !(math.Abs(float64(v)-want[i]) <= 1e-6*(1+sums[i])) {
						t.Fatalf("%v %+v: element %d is %v, want %v", f, size, i, v, want[i])
					}
				}
				if first.Data == nil {
					first = dst
				}
				for i := range dst.Data {
					if dst.Data[i] != first.Data[i] {
						t.Fatalf("%v %+v: element %d is %v on one thread, %v on %d", f, size, i, first.Data[i], dst.Data[i], threads)
					}
				}
			})
		}
	}
}

// quantized is random quantized weights, and their values.
func quantized(r *rand.Rand, f device.Format, rows, cols int) (device.Matrix, []float64) {
	m := device.Matrix{Format: f, Rows: rows, Cols: cols, Data: make([]byte, 1+f.MatrixBytes(rows, cols))[1:]}
	for i := range m.Data {
		m.Data[i] = byte(r.Uint32())
	}
	halves := map[device.Format][]int{device.Q8_0: {0}, device.Q4_0: {0}, device.Q4_K: {0, 2}, device.Q6_K: {208}}[f]
	for at := 0; at < len(m.Data); at += f.Block().Bytes {
		for _, h := range halves {
			simd.ToF16(m.Data[at+h:], []float32{float32(r.NormFloat64()) / 64})
		}
	}
	if f.Affine() {
		m.Group, m.ScaleFormat = 32<<r.IntN(3), formats[r.IntN(3)]
		groups := rows * cols / m.Group
		m.Scales, _ = stored(r, m.ScaleFormat, groups)
		m.Biases, _ = stored(r, m.ScaleFormat, groups)
	}
	if err := m.Check(); err != nil {
		panic(err)
	}
	values, row := make([]float64, 0, rows*cols), make([]float32, cols)
	for i := range rows {
		src := m.Data[f.MatrixBytes(i, cols):]
		switch f {
		case device.Q8_0:
			quant.FromQ8_0(row, src)
		case device.Q4_0:
			quant.FromQ4_0(row, src)
		case device.Q4_K:
			quant.FromQ4_K(row, src)
		case device.Q6_K:
			quant.FromQ6_K(row, src)
		default:
			groups := cols / m.Group
			scales, biases := make([]float32, groups), make([]float32, groups)
			at := i * groups * m.ScaleFormat.Bytes()
			from := map[device.Format]func([]float32, []byte){device.F32: simd.FromF32, device.F16: simd.FromF16, device.BF16: simd.FromBF16}[m.ScaleFormat]
			from(scales, m.Scales[at:])
			from(biases, m.Biases[at:])
			quant.FromAffine(row, src, map[device.Format]int{device.MLX4: 4, device.MLX8: 8}[f], m.Group, scales, biases)
		}
		for _, v := range row {
			values = append(values, float64(v))
		}
	}
	return m, values
}

// stored is n random numbers in a format of elements.
func stored(r *rand.Rand, f device.Format, n int) ([]byte, []float64) {
	m, values := matrix(r, f, 1, n)
	return m.Data, values
}

// wholeStep is what a product with one weight may be off, in units of the weight and the largest of the 32 activations around: where activations are
// whole numbers they have 16 bits.
const wholeStep = 1.0 / (2 * 32639)

// stepOf is that for weights like w.
func stepOf(w device.Matrix) float64 {
	if _, ok := wholeGEMM(w); ok {
		return wholeStep
	}
	return 0
}

func TestQuantizedProductsEqualFloat64(t *testing.T) {
	for _, f := range []device.Format{device.Q8_0, device.Q4_0, device.Q4_K, device.Q6_K, device.MLX4, device.MLX8} {
		for _, size := range []struct{ tokens, rows, cols int }{{1, 1, 256}, {1, 70, 512}, {3, 33, 768}, {16, 17, 256}, {17, 40, 512}, {33, 130, 256}, {100, 35, 768}, {9, 5, 640}, {100, 70, 384}, {23, 40, 160}} {
			if size.cols%f.Block().Elements != 0 || f.Affine() && size.cols%128 != 0 {
				continue
			}
			r := rand.New(rand.NewPCG(6, uint64(size.rows)))
			x := random(r, size.tokens, size.cols)
			w, values := quantized(r, f, size.rows, size.cols)
			want, off := make([]float64, size.tokens*size.rows), make([]float64, size.tokens*size.rows)
			for i := range want {
				row, sum, steps := x.Row(i/size.rows), 0.0, 0.0
				for k := 0; k < len(row); k += 32 {
					most := float64(largest(row[k : k+32]))
					for l, a := range row[k : k+32] {
						weight := values[i%size.rows*size.cols+k+l]
						want[i] += float64(a) * weight
						sum += math.Abs(float64(a) * weight)
						steps += math.Abs(weight) * most
					}
				}
				off[i] = 1e-6*(1+sum) + stepOf(w)*steps
			}
			var first device.Tensor
			onStreams(t, func(t *testing.T, threads int, s device.Stream) {
				dst := random(r, size.tokens, size.rows)
				s.MatMul(dst, x, w)
				for i, v := range dst.Data {
					if !(math.Abs(float64(v)-want[i]) <= off[i]) {
						t.Fatalf("%v %+v: element %d is %v, want %v", f, size, i, v, want[i])
					}
				}
				if first.Data == nil {
					first = dst
				}
				for i := range dst.Data {
					if dst.Data[i] != first.Data[i] {
						t.Fatalf("%v %+v: element %d is %v on one thread, %v on %d", f, size, i, first.Data[i], dst.Data[i], threads)
					}
				}
				rows := device.NewTensor(2, size.cols)
				s.Embed(rows, w, []int32{int32(size.rows - 1), 0})
				for i, v := range rows.Data {
					row := (size.rows - 1) * (1 - i/size.cols)
					near(t, "embedded", v, values[row*size.cols+i%size.cols], 1, 1e-6)
				}
			})
		}
	}
}

func TestProductsWithQuantizedWeightsAllocateNothingInASteadyState(t *testing.T) {
	const rows, cols = 256, 512
	r := rand.New(rand.NewPCG(16, 16))
	for _, f := range []device.Format{device.Q8_0, device.Q4_0, device.Q4_K, device.Q6_K, device.MLX4, device.MLX8} {
		w, _ := quantized(r, f, rows, cols)
		onStreams(t, func(t *testing.T, threads int, s device.Stream) {
			for _, tokens := range []int{1, 7, 40} {
				x, dst := random(r, tokens, cols), device.NewTensor(tokens, rows)
				n := 1.0
				for range 20 { // until every worker has had its part
					if n = testing.AllocsPerRun(3, func() { s.MatMul(dst, x, w) }); n == 0 {
						break
					}
				}
				if n > 0 {
					t.Errorf("%v: %v allocations for %d tokens on %d threads", f, n, tokens, threads)
				}
			}
		})
	}
}

// TestWholeNumbersTakeWhatIsCounted holds what products take beside tensors to what placement counts of it.
func TestWholeNumbersTakeWhatIsCounted(t *testing.T) {
	if _, ok := wholeGEMM(device.Matrix{Format: device.Q8_0, Rows: 1, Cols: 128}); !ok {
		t.Skip("nothing multiplies whole numbers")
	}
	s := New(1).NewStream().(*stream)
	defer s.Close()
	for _, cols := range []int{128, 256, 2048, 8192 + 256} {
		for _, rows := range []int{1, 33, 1024} {
			numbers, ok := s.wholeNumbers(random(rand.New(rand.NewPCG(19, 19)), rows, cols))
			if counted := device.NumbersBytes(rows, cols); !ok || 4*int64(len(numbers.Data)) != counted {
				t.Errorf("[%d][%d]: %d bytes, counted are %d", rows, cols, 4*len(numbers.Data), counted)
			}
		}
	}
}

func TestAProductThatThereIsNoMemoryForIsReportedByWait(t *testing.T) {
	w, _ := quantized(rand.New(rand.NewPCG(17, 17)), device.Q8_0, 32, 256)
	if _, ok := wholeGEMM(w); !ok {
		t.Skip("nothing multiplies whole numbers")
	}
	const tokens = 1 << 40
	onStreams(t, func(t *testing.T, _ int, s device.Stream) {
		s.MatMul(device.Tensor{Rows: tokens, Cols: w.Rows}, device.Tensor{Rows: tokens, Cols: w.Cols}, w)
		if err := s.Wait(); err == nil || !strings.Contains(err.Error(), "whole numbers of activations [1099511627776][256]") {
			t.Errorf("Wait says %v", err)
		}
		if err := s.Wait(); err != nil {
			t.Errorf("and then %v", err)
		}
		x, dst := random(rand.New(rand.NewPCG(18, 18)), 20, w.Cols), device.NewTensor(20, w.Rows)
		s.MatMul(dst, x, w)
		if err := errors.Join(s.Wait(), s.Close()); err != nil || dst.Data[0] == 0 {
			t.Errorf("a product that there is memory for: %v, %v", dst.Data[0], err)
		}
	})
}

// largest is the largest magnitude.
func largest(x []float32) float32 {
	most := float32(0)
	for _, v := range x {
		most = max(most, v, -v)
	}
	return most
}

func TestATokensProductDoesNotDependOnItsBatch(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, f := range append([]device.Format{device.Q8_0, device.Q4_0, device.Q4_K, device.Q6_K, device.MLX4, device.MLX8}, formats...) {
		const rows = 50
		cols, w := 100, device.Matrix{}
		if f.Bytes() == 0 {
			cols = 512
			w, _ = quantized(r, f, rows, cols)
		} else {
			w, _ = matrix(r, f, rows, cols)
		}
		onStreams(t, func(t *testing.T, _ int, s device.Stream) {
			for _, c := range []struct{ tokens, part int }{{dotTokens, 1}, {203, 71}, {203, dotTokens + 1}} { // few at a time, and many
				x := random(r, c.tokens, cols)
				all := device.NewTensor(c.tokens, rows)
				s.MatMul(all, x, w)
				for i := 0; i+c.part <= c.tokens; i += c.part {
					some := device.NewTensor(c.part, rows)
					s.MatMul(some, x.Slice(i, i+c.part), w)
					for k, v := range some.Data {
						if want := all.Row(i + k/rows)[k%rows]; v != want {
							t.Fatalf("%v token %d element %d: %v of %d tokens, %v of %d", f, i+k/rows, k%rows, want, c.tokens, v, c.part)
						}
					}
				}
			}
		})
	}
}

func TestRowOperationsEqualFloat64(t *testing.T) {
	for _, size := range []struct{ rows, cols int }{{1, 64}, {3, 48}, {300, 128}} {
		r := rand.New(rand.NewPCG(3, 3))
		a, b, w := random(r, size.rows, size.cols), random(r, size.rows, size.cols), random(r, 1, size.cols).Data
		onStreams(t, func(t *testing.T, _ int, s device.Stream) {
			dst := device.NewTensor(size.rows, size.cols)
			each := func(what string, rel float64, want func(row, col int) float64) {
				t.Helper()
				for i, v := range dst.Data {
					x := want(i/size.cols, i%size.cols)
					near(t, what, v, x, 1+math.Abs(x), rel)
				}
			}
			square := make([]float64, size.rows)
			for i, v := range a.Data {
				square[i/size.cols] += float64(v) * float64(v)
			}
			s.RMSNorm(dst, a, w, 1e-5)
			each("norm", 1e-6, func(row, col int) float64 {
				return float64(a.Row(row)[col]) / math.Sqrt(square[row]/float64(size.cols)+1e-5) * float64(w[col])
			})
			normed := append([]float32(nil), dst.Data...)
			copy(dst.Data, a.Data)
			s.RMSNorm(dst, dst, w, 1e-5)
			each("norm in place", 0, func(row, col int) float64 { return float64(normed[row*size.cols+col]) })

			copy(dst.Data, a.Data)
			s.Add(dst, b)
			each("sum", 0, func(row, col int) float64 { return float64(a.Row(row)[col] + b.Row(row)[col]) })
			copy(dst.Data, a.Data)
			s.AddBias(dst, w)
			each("bias", 0, func(row, col int) float64 { return float64(a.Row(row)[col] + w[col]) })

			silu := func(row, col int) float64 {
				g := float64(a.Row(row)[col])
				return g / (1 + math.Exp(-g)) * float64(b.Row(row)[col])
			}
			s.SwiGLU(dst, a, b)
			each("gate", 1e-6, silu)
			copy(dst.Data, a.Data)
			s.SwiGLU(dst, dst, b)
			each("gate in place", 1e-6, silu)

			const head, half = 16, 6 // four elements of a head are not rotated
			cos, sin := device.NewTensor(size.rows, half), device.NewTensor(size.rows, half)
			for i := range cos.Data {
				angle := float64(i)
				cos.Data[i], sin.Data[i] = float32(math.Cos(angle)), float32(math.Sin(angle))
			}
			copy(dst.Data, a.Data)
			s.Rope(dst, head, cos, sin, false)
			each("rotated", 1e-6, func(row, col int) float64 {
				i, base := col%head, col/head*head
				x := a.Row(row)[base:]
				switch angle := float64(row*half + i%half); {
				case i < half:
					return float64(x[i])*math.Cos(angle) - float64(x[i+half])*math.Sin(angle)
				case i < 2*half:
					return float64(x[i])*math.Cos(angle) + float64(x[i-half])*math.Sin(angle)
				}
				return float64(x[i])
			})
			copy(dst.Data, a.Data)
			s.Rope(dst, head, cos, sin, true)
			each("rotated, interleaved", 1e-6, func(row, col int) float64 {
				i, base := col%head, col/head*head
				x := a.Row(row)[base:]
				switch angle := float64(row*half + i/2); {
				case i >= 2*half:
					return float64(x[i])
				case i%2 == 0:
					return float64(x[i])*math.Cos(angle) - float64(x[i+1])*math.Sin(angle)
				default:
					return float64(x[i])*math.Cos(angle) + float64(x[i-1])*math.Sin(angle)
				}
			})
			if err := s.Wait(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestEmbedCopiesRows(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for _, f := range formats {
		table, values := matrix(r, f, 30, 21)
		onStreams(t, func(t *testing.T, _ int, s device.Stream) {
			ids := []int32{29, 0, 7, 7}
			dst := device.NewTensor(len(ids), 21)
			s.Embed(dst, table, ids)
			for i, v := range dst.Data {
				near(t, f.String(), v, values[int(ids[i/21])*21+i%21], 0, 0)
			}
			panics(t, "id 30 at 1", func() { s.Embed(dst.Slice(0, 2), table, []int32{1, 30}) })
		})
	}
}

func TestMismatchedShapesPanicAndSayWhich(t *testing.T) {
	d := New(1)
	defer d.Close()
	s := d.NewStream()
	x := device.NewTensor
	w := device.Matrix{Format: device.F32, Rows: 3, Cols: 4, Data: make([]byte, 48)}
	panics(t, "MatMul: [2][5] by [3][4]", func() { s.MatMul(x(2, 3), x(2, 5), w) })
	panics(t, "MatMul", func() { s.MatMul(x(2, 4), x(2, 4), w) })
	panics(t, "format", func() { s.MatMul(x(2, 3), x(2, 4), device.Matrix{Rows: 3, Cols: 4, Data: make([]byte, 48)}) })
	panics(t, "Embed: 0 ids", func() { s.Embed(x(1, 4), w, nil) })
	panics(t, "Embed: weights in format unknown", func() { s.Embed(x(0, 4), device.Matrix{Rows: 3, Cols: 4}, nil) })
	panics(t, "RMSNorm", func() { s.RMSNorm(x(1, 4), x(1, 4), make([]float32, 3), 0) })
	panics(t, "AddBias", func() { s.AddBias(x(1, 4), make([]float32, 3)) })
	panics(t, "Add:", func() { s.Add(x(1, 4), x(2, 4)) })
	panics(t, "Rope", func() { s.Rope(x(1, 4), 4, x(1, 3), x(1, 3), false) })
	panics(t, "SwiGLU", func() { s.SwiGLU(x(1, 4), x(1, 4), x(1, 5)) })
}

func TestNameSaysThreads(t *testing.T) {
	d := New(3)
	defer d.Close()
	if !strings.HasPrefix(d.Name(), "cpu (3 threads, ") {
		t.Fatal(d.Name())
	}
	whole := New(0)
	defer whole.Close()
	if strings.HasPrefix(whole.Name(), "cpu (0") {
		t.Fatal(whole.Name())
	}
}
