package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/orrery-ai/orrery/device"
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
		{13, 100, 513}, {97, 65, 31}, {100, 260, 300}, {20, 700, 8}, {9, 3, 0}, {2, 3, 0},
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

func TestATokensProductDoesNotDependOnItsBatch(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	x := random(r, dotTokens, 100)
	for _, f := range formats {
		w, _ := matrix(r, f, 50, 100)
		onStreams(t, func(t *testing.T, _ int, s device.Stream) {
			all, one := device.NewTensor(dotTokens, 50), device.NewTensor(1, 50)
			s.MatMul(all, x, w)
			for i := range dotTokens {
				s.MatMul(one, x.Slice(i, i+1), w)
				for k, v := range one.Data {
					if all.Row(i)[k] != v {
						t.Fatalf("%v token %d element %d: %v in a batch, %v alone", f, i, k, all.Row(i)[k], v)
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
	panics(t, "in unknown", func() { s.MatMul(x(2, 3), x(2, 4), device.Matrix{Rows: 3, Cols: 4, Data: make([]byte, 48)}) })
	panics(t, "Embed: 0 ids", func() { s.Embed(x(1, 4), w, nil) })
	panics(t, "Embed: a table [3][4] in unknown", func() { s.Embed(x(0, 4), device.Matrix{Rows: 3, Cols: 4}, nil) })
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
