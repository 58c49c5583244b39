package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestGEMMEqualsFloat64(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	kernels := map[string]func(c []float32, stride int, a, b []float32, k int, add bool){"chosen": GEMM, "twin": gemm6x16Go}
	for name, gemm := range kernels {
		for _, k := range []int{0, 1, 3, 4, 5, 8, 257} {
			for _, stride := range []int{16, 17, 40} {
				for _, add := range []bool{false, true} {
					a, b, c := floats(t, r, 6*k), floats(t, r, 16*k), floats(t, r, 5*stride+16)
					old := append([]float32(nil), c...)
					gemm(c, stride, a, b, k, add)
					for i := range c {
						row, col := i/stride, i%stride
						want := float64(old[i])
						if col < 16 {
							if !add {
								want = 0
							}
							for j := range k {
								want += float64(a[j*6+row]) * float64(b[j*16+col])
							}
						}
						near(t, name, c[i], want, 1+math.Sqrt(float64(k)), 1e-5)
					}
				}
			}
		}
	}
}

func TestGEMMTwiceIsFourTimesGEMM(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 3))
		for _, k := range []int{0, 1, 3, 4, 5, 8, 257} {
			for _, stride := range []int{32, 33, 40} {
				for _, add := range []bool{false, true} {
					a, b, c := floats(t, r, 12*k), floats(t, r, 32*k), floats(t, r, 11*stride+32)
					if k == 8 {
						a[13], b[5] = float32(math.Inf(1)), nan
					}
					want := append([]float32(nil), c...)
					for i := range 4 {
						GEMM(want[i/2*6*stride+i%2*16:], stride, a[i/2*6*k:], b[i%2*16*k:], k, add)
					}
					GEMMTwice(c, stride, a, b, k, add)
					for i := range c {
						near(t, "element", c[i], float64(want[i]), 0, 0)
					}
				}
			}
		}
	})
}

func TestPacksTranspose(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for _, cols := range lengths {
		for _, stride := range []int{cols, cols + 3} {
			for rows := 1; rows <= 16; rows++ {
				raw := floats(t, r, (rows-1)*stride+cols)
				for name, pack := range map[string]func([]float32, []byte, int, int, int){"F32": PackF32, "F16": PackF16, "BF16": PackBF16} {
					src, values := stored(raw, name)
					dst := floats(t, r, 16*cols)
					pack(dst, src, stride, rows, cols)
					for i, got := range dst {
						col, row := i/16, i%16
						want := float32(0)
						if row < rows {
							want = values[row*stride+col]
						}
						near(t, name, got, float64(want), 0, 0)
					}
				}
				if rows > 6 {
					continue
				}
				dst := floats(t, r, 6*cols)
				PackRows(dst, raw, stride, rows, cols)
				for i, got := range dst {
					col, row := i/6, i%6
					want := float32(0)
					if row < rows {
						want = raw[row*stride+col]
					}
					near(t, "rows", got, float64(want), 0, 0)
				}
			}
		}
	}
}

func BenchmarkGEMMKernel(b *testing.B) {
	const k = 256
	x, y, c := make([]float32, 6*k), make([]float32, 16*k), make([]float32, 6*16)
	for b.Loop() {
		GEMM(c, 16, x, y, k, true)
	}
	b.ReportMetric(float64(b.N)*2*6*16*k/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func BenchmarkGEMMTwiceKernel(b *testing.B) {
	const k = 256
	x, y, c := make([]float32, 12*k), make([]float32, 32*k), make([]float32, 12*32)
	for b.Loop() {
		GEMMTwice(c, 32, x, y, k, true)
	}
	b.ReportMetric(float64(b.N)*2*12*32*k/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func BenchmarkPackBF16(b *testing.B) {
	const cols, stride = 256, 2048
	src, dst := make([]byte, 2*16*stride), make([]float32, 16*cols)
	b.SetBytes(2 * 16 * cols)
	for b.Loop() {
		PackBF16(dst, src, stride, 16, cols)
	}
}

func BenchmarkPackRows(b *testing.B) {
	const cols, stride = 256, 2048
	src, dst := make([]float32, 6*stride), make([]float32, 6*cols)
	b.SetBytes(4 * 6 * cols)
	for b.Loop() {
		PackRows(dst, src, stride, 6, cols)
	}
}

func BenchmarkProductBF16(b *testing.B) {
	for _, c := range []struct {
		name       string
		rows, cols int
	}{{"cache", 16, 2048}, {"short", 64, 256}, {"memory", 64 << 10, 2048}} {
		b.Run(c.name, func(b *testing.B) {
			x, w, dst := make([]float32, c.cols), make([]byte, 2*c.cols*c.rows), make([]float32, c.rows)
			for i := range w {
				w[i] = 0x3c
			}
			b.SetBytes(int64(len(w)))
			for b.Loop() {
				ProductBF16(dst, c.rows, x, w, 1, c.rows, c.cols)
			}
		})
	}
}
