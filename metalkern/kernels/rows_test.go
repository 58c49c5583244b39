package kernels

import (
	"math"
	"testing"
)

func rowInstances() []instance {
	var list []instance
	for _, f := range everyFormat() {
		list = append(list, embedding(f))
	}
	for _, name := range []string{"norm_wide", "norm_narrow", "rope", "add", "add_bias", "swiglu", "reset", "copy16"} {
		list = append(list, rowsKernel(name))
	}
	return list
}

func onRows(t *testing.T, test func(t *testing.T, b *bench)) { onHosts(t, rowInstances(), test) }

func must(b *bench, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func TestEmbedCopiesRowsOfEveryFormat(t *testing.T) {
	onRows(t, func(t *testing.T, b *bench) {
		for _, f := range everyFormat() {
			const vocabulary = 11
			cols := whole(f, 1056)
			table, values := matrix(b, f, 1, vocabulary, cols)
			ids := []int32{10, 0, 3, 3}
			dst := room(b, len(ids)*cols)
			must(b, b.set.Embed(b.queue, dst, table, buffer(b, ids), len(ids)))
			var want []float64
			for _, id := range ids {
				for _, v := range values[int(id)*cols : (int(id)+1)*cols] {
					want = append(want, float64(v))
				}
			}
			limit := 0.0
			if f.grouped() && f.layout().numbers == F32 { // whose products take more bits than a float32 has
				limit = 5e-7
			}
			near(b, f.String(), floats(b, dst, len(want)), want, limit)
		}
	})
}

func TestNormIsExactForHeadsAndForRows(t *testing.T) {
	onRows(t, func(t *testing.T, b *bench) {
		for _, c := range []struct {
			rows, cols int
			offset     float32
		}{{13, 128, 0}, {3, 1000, 0}, {1, 17, 1}, {9, 512, 0}, {2, 4096, 1}} {
			x, weight := randoms(1, c.rows*c.cols, 3), randoms(2, c.cols, 1)
			var want []float64
			for r := range c.rows {
				sum := 0.0
				for _, v := range x[r*c.cols : (r+1)*c.cols] {
					sum += float64(v) * float64(v)
				}
				for i, v := range x[r*c.cols : (r+1)*c.cols] {
					want = append(want, float64(v)/math.Sqrt(sum/float64(c.cols)+1e-5)*float64(weight[i]+c.offset))
				}
			}
			got := b.inOrders(func() []float32 {
				dst := buffer(b, x)
				must(b, b.set.Norm(b.queue, dst, dst, buffer(b, weight), c.rows, c.cols, 1e-5, c.offset))
				return floats(b, dst, len(x))
			})
			near(b, title("[%d][%d]", c.rows, c.cols), got, want, 1e-5)
		}
	})
}

func TestRopeRotatesHalfSplitPairsAndNeighbours(t *testing.T) {
	onRows(t, func(t *testing.T, b *bench) {
		for _, c := range []struct {
			rows, heads, dim, pairs int
			interleaved             bool
		}{{3, 4, 64, 32, false}, {1, 2, 80, 20, false}, {5, 1, 128, 64, false}, {3, 4, 64, 32, true}, {1, 2, 80, 20, true}} {
			x, angles := randoms(1, c.rows*c.heads*c.dim, 1), randoms(2, c.rows*c.pairs, 5)
			cos, sin, want := make([]float32, len(angles)), make([]float32, len(angles)), make([]float64, len(x))
			for i, a := range angles {
				cos[i], sin[i] = float32(math.Cos(float64(a))), float32(math.Sin(float64(a)))
			}
			for i, v := range x {
				want[i] = float64(v)
			}
			for r := range c.rows {
				for h := range c.heads {
					for p := range c.pairs {
						at := (r*c.heads+h)*c.dim + p
						other := at + c.pairs
						if c.interleaved {
							at += p
							other = at + 1
						}
						l, u, co, si := float64(x[at]), float64(x[other]), float64(cos[r*c.pairs+p]), float64(sin[r*c.pairs+p])
						want[at], want[other] = l*co-u*si, u*co+l*si
					}
				}
			}
			dst := buffer(b, x)
			must(b, b.set.Rope(b.queue, dst, buffer(b, cos), buffer(b, sin), c.rows, c.heads, c.dim, c.pairs, c.interleaved))
			near(b, title("%+v", c), floats(b, dst, len(x)), want, 1e-6)
		}
	})
}

func TestElementwiseOperations(t *testing.T) {
	onRows(t, func(t *testing.T, b *bench) {
		const rows, cols = 7, 99
		x, y, bias := randoms(1, rows*cols, 4), randoms(2, rows*cols, 1), randoms(3, cols, 1)
		sum, biased, gated := make([]float64, len(x)), make([]float64, len(x)), make([]float64, len(x))
		for i := range x {
			sum[i] = float64(x[i]) + float64(y[i])
			biased[i] = float64(x[i]) + float64(bias[i%cols])
			gated[i] = float64(x[i]) / (1 + math.Exp(-float64(x[i]))) * float64(y[i])
		}
		ys := buffer(b, y)
		dst := buffer(b, x)
		must(b, b.set.Add(b.queue, dst, ys, len(x)))
		near(b, "add", floats(b, dst, len(x)), sum, 3e-7)
		dst = buffer(b, x)
		must(b, b.set.AddBias(b.queue, dst, buffer(b, bias), rows, cols))
		near(b, "add_bias", floats(b, dst, len(x)), biased, 3e-7)
		dst = buffer(b, x)
		must(b, b.set.SwiGLU(b.queue, dst, dst, ys, len(x)))
		near(b, "swiglu", floats(b, dst, len(x)), gated, 1e-5)
	})
}

func TestSwiGLUOfLargeGatesIsFinite(t *testing.T) {
	onRows(t, func(t *testing.T, b *bench) {
		dst := buffer(b, []float32{1000, -1000, 0, 88})
		must(b, b.set.SwiGLU(b.queue, dst, dst, buffer(b, []float32{2, 2, 2, 2}), 4))
		near(b, "swiglu", floats(b, dst, 4), []float64{2000, 0, 0, 176}, 1e-6)
	})
}

func TestResetMakesThePartWithoutKeys(t *testing.T) {
	onRows(t, func(t *testing.T, b *bench) {
		p := Partial{room(b, 5*64), room(b, 5), room(b, 5)}
		must(b, b.set.Reset(b.queue, p, 5, 64))
		for i, v := range floats(b, p.O, 5*64) {
			if v != 0 {
				t.Fatalf("o[%d] is %v", i, v)
			}
		}
		for i, v := range floats(b, p.M, 5) {
			if !math.IsInf(float64(v), -1) {
				t.Errorf("m[%d] is %v", i, v)
			}
		}
		for i, v := range floats(b, p.L, 5) {
			if v != 0 {
				t.Errorf("l[%d] is %v", i, v)
			}
		}
	})
}

func TestCopyCopiesEveryByte(t *testing.T) {
	onRows(t, func(t *testing.T, b *bench) {
		src := make([]byte, 16*2500)
		for i := range src {
			src[i] = byte(i * 7)
		}
		dst := room(b, len(src)/4)
		must(b, b.set.Copy(b.queue, dst, buffer(b, src), int64(len(src))))
		got := make([]byte, len(src))
		b.queue.Read(got, dst)
		b.wait()
		for i := range got {
			if got[i] != src[i] {
				t.Fatalf("byte %d is %d, not %d", i, got[i], src[i])
			}
		}
	})
}
