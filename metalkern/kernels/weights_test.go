package kernels

import (
	"math"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/attention/plane"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
	encode "github.com/orrery-ai/orrery/internal/quantize"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// formats are all, but of MLX's two: embeddings are read in every one.
var formats = []WeightFormat{F32, F16, BF16, Q8, Q4, Q4K, Q6K, Affine(4, 64, BF16), Affine(8, 32, F16)}

// everyFormat is each format.
func everyFormat() []WeightFormat {
	var list []WeightFormat
	for f := F32; int(f) < len(layouts); f++ {
		list = append(list, f)
	}
	return list
}

// whole is the next number of columns that a format can have.
func whole(f WeightFormat, cols int) int {
	n := f.layout().group
	return (cols + n - 1) / n * n
}

// matrix makes a random matrix on the device, and what it stands for.
func matrix(b *bench, f WeightFormat, seed uint64, rows, cols int) (Weights, []float32) {
	x := randoms(seed, rows*cols, 1)
	w := Weights{Format: f, Rows: rows, Cols: cols}
	switch f {
	case F32:
		w.Data = buffer(b, x)
	case F16:
		data := make([]byte, 2*len(x))
		simd.ToF16(data, x)
		simd.FromF16(x, data)
		w.Data = buffer(b, data)
	case BF16:
		data := make([]uint16, len(x))
		for i, v := range x {
			data[i] = bf16(v)
			x[i] = math.Float32frombits(uint32(data[i]) << 16)
		}
		w.Data = buffer(b, data)
	case Q4K, Q6K:
		stored := map[WeightFormat]device.Format{Q4K: device.Q4_K, Q6K: device.Q6_K}[f]
		m := device.Matrix{Format: stored, Rows: rows, Cols: cols, Data: encode.Encode(nil, stored, x)}
		widen(x, m)
		if f == Q4K {
			w.Data = buffer(b, m.Data)
			break
		}
		var data, scales, halves []byte
		for block := range slices.Chunk(m.Data, 210) {
			data, scales, halves = append(data, block[:192]...), append(scales, block[192:208]...), append(halves, block[208:]...)
		}
		w.Data, w.Scales = buffer(b, data), buffer(b, append(scales, halves...))
	case Q8, Q4:
		l := plane.Layout{Bits: f.Bits(), Dim: cols}
		data := make([]byte, l.Bytes(rows))
		for i := range rows {
			l.Put(data, rows, i, x[i*cols:(i+1)*cols])
			l.Get(x[i*cols:(i+1)*cols], data, rows, i)
		}
		w.Data, w.Scales = buffer(b, data[:l.ScalesAt(rows)]), buffer(b, data[l.ScalesAt(rows):])
	default:
		l := f.layout()
		m := device.Matrix{Format: map[int]device.Format{4: device.MLX4, 8: device.MLX8}[l.bits], Rows: rows, Cols: cols, Group: l.group,
			ScaleFormat: map[WeightFormat]device.Format{F32: device.F32, F16: device.F16, BF16: device.BF16}[l.numbers]}
		m.Data, m.Scales, m.Biases = encode.EncodeAffine(m.Format, m.Group, m.ScaleFormat, x)
		widen(x, m)
		w.Data, w.Scales = buffer(b, m.Data), buffer(b, append(m.Scales, m.Biases...))
	}
	return w, x
}

// widen makes x what m stands for.
func widen(x []float32, m device.Matrix) {
	for i := range m.Rows {
		encode.Widen(x[i*m.Cols:(i+1)*m.Cols], &m, i)
	}
}

// multiplied are values as the matrix units take them.
func multiplied(f WeightFormat, values []float32) []float32 {
	if f == F32 || f == F16 || f == BF16 {
		return values
	}
	values = slices.Clone(values)
	roundToHalves(values)
	return values
}

// bf16 rounds to nearest, ties to even.
func bf16(v float32) uint16 {
	u := math.Float32bits(v)
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// product is x [tokens][cols]·wᵀ in float64.
func product(x, w []float32, tokens, rows, cols int) []float64 {
	out := make([]float64, tokens*rows)
	for t := range tokens {
		for r := range rows {
			for k := range cols {
				out[t*rows+r] += float64(x[t*cols+k]) * float64(w[r*cols+k])
			}
		}
	}
	return out
}

func TestMatvecReadsEveryFormatExactly(t *testing.T) {
	var list []instance
	for _, f := range formats {
		for _, tokens := range []int{1, 2, 4, 8} {
			list = append(list, matvec(f, tokens, matvecDefault))
		}
	}
	onHosts(t, list, func(t *testing.T, b *bench) {
		for _, f := range formats {
			for _, c := range []struct{ tokens, rows, cols int }{{1, 37, 64}, {2, 20, 320}, {3, 9, 96}, {5, 33, 1056}, {8, 6, 32}} {
				c.cols = whole(f, c.cols)
				t.Run(title("%v, %d tokens, [%d][%d]", f, c.tokens, c.rows, c.cols), func(t *testing.T) {
					b := b.sub(t)
					w, values := matrix(b, f, 5, c.rows, c.cols)
					x := randoms(6, c.tokens*c.cols, 1)
					xs := buffer(b, x)
					want := product(x, values, c.tokens, c.rows, c.cols)
					got := b.inOrders(func() []float32 {
						out := room(b, c.tokens*c.rows)
						if err := b.set.Matvec(b.queue, out, xs, w, c.tokens, false); err != nil {
							t.Fatal(err)
						}
						return floats(b, out, c.tokens*c.rows)
					})
					near(b, "product", got, want, 1e-5)
					before := randoms(7, len(want), 1)
					out := buffer(b, before)
					if err := b.set.Matvec(b.queue, out, xs, w, c.tokens, true); err != nil {
						t.Fatal(err)
					}
					for i := range want {
						want[i] += float64(before[i])
					}
					near(b, "sum", floats(b, out, len(want)), want, 1e-5)
				})
			}
		}
	})
}

// TestProductsOfOneLaunchAreThoseOfSeveral holds what a step does in one launch to float64: products of the same activations, a product
// that is added to something, and a gated one.
func TestProductsOfOneLaunchAreThoseOfSeveral(t *testing.T) {
	var list []instance
	for _, f := range formats {
		for _, tokens := range []int{1, 2} {
			list = append(list, matvec(f, tokens, matvecDefault), matvecOf(someMatvecs, f, tokens, matvecDefault), matvecOf(gatedMatvecs, f, tokens, matvecDefault))
		}
	}
	onHosts(t, list, func(t *testing.T, b *bench) {
		for _, f := range formats {
			for _, tokens := range []int{1, 2} {
				t.Run(title("%v, %d tokens", f, tokens), func(t *testing.T) {
					b := b.sub(t)
					cols := whole(f, 320)
					x := randoms(6, tokens*cols, 1)
					xs := buffer(b, x)
					rows := []int{37, 8, 21}
					var into []Into
					var want [][]float64
					for i, n := range rows {
						w, values := matrix(b, f, uint64(8+i), n, cols)
						into, want = append(into, Into{w, room(b, tokens*n)}), append(want, product(x, values, tokens, n, cols))
					}
					for n := 1; n <= len(rows); n++ {
						must(b, b.set.Matvecs(b.queue, xs, into[:n], tokens))
						for i := range n {
							near(b, "product", floats(b, into[i].Out, len(want[i])), want[i], 1e-5)
						}
					}
					before := randoms(7, len(want[0]), 1)
					sum := buffer(b, before)
					must(b, b.set.MatvecAdded(b.queue, into[0].Out, sum, xs, into[0].W, tokens))
					near(b, "product", floats(b, into[0].Out, len(want[0])), want[0], 1e-5)
					sums := make([]float64, len(before))
					for i := range sums {
						sums[i] = want[0][i] + float64(before[i])
					}
					near(b, "sum", floats(b, sum, len(sums)), sums, 1e-5)
					w, values := matrix(b, f, 11, rows[0], cols)
					up := Into{w, room(b, tokens*rows[0])}
					ups := product(x, values, tokens, rows[0], cols)
					gates := make([]float64, len(ups))
					for i, u := range ups {
						gates[i] = want[0][i] / (1 + math.Exp(-want[0][i])) * u
					}
					must(b, b.set.Gated(b.queue, xs, into[0], up, tokens))
					near(b, "up", floats(b, up.Out, len(ups)), ups, 1e-5)
					near(b, "gate", floats(b, into[0].Out, len(gates)), gates, 2e-5)
				})
			}
		}
	})
}

func TestSkinnyProductsAreAsExactAsFloat(t *testing.T) {
	var list []instance
	for _, f := range formats {
		for _, c := range f.chunks() {
			list = append(list, packing(f, c), skinny(f, c, skinnyDefault))
		}
	}
	onHosts(t, list, func(t *testing.T, b *bench) {
		for _, f := range formats {
			for _, c := range []struct{ tokens, rows, cols int }{{1, 37, 128}, {2, 16, 320}, {3, 9, 96}, {8, 33, 1152}} {
				if c.cols = whole(f, c.cols); (Weights{Format: f, Cols: c.cols}).chunk() == 0 {
					continue
				}
				t.Run(title("%v, %d tokens, [%d][%d]", f, c.tokens, c.rows, c.cols), func(t *testing.T) {
					b := b.sub(t)
					w, values := matrix(b, f, 5, c.rows, c.cols)
					x := randoms(6, c.tokens*c.cols, 1)
					x[3] = 1e5 // more than a half holds
					want := product(x, multiplied(f, values), c.tokens, c.rows, c.cols)
					packed := room(b, c.tokens*c.cols)
					must(b, b.set.Pack(b.queue, packed, buffer(b, x), w, c.tokens))
					got := b.inOrders(func() []float32 {
						out := room(b, c.tokens*c.rows)
						must(b, b.set.Skinny(b.queue, out, packed, w, c.tokens, false))
						return floats(b, out, c.tokens*c.rows)
					})
					bound := 5e-6
					if f == BF16 {
						bound = 1e-5
					}
					near(b, "product", got, want, bound)
					out := buffer(b, randoms(7, len(want), 1))
					before := floats(b, out, len(want))
					must(b, b.set.Skinny(b.queue, out, packed, w, c.tokens, true))
					for i := range want {
						want[i] += float64(before[i])
					}
					near(b, "sum", floats(b, out, len(want)), want, bound)
				})
			}
		}
	})
}

// gemmIsExact holds a product of many tokens to float64: product sets out, or adds to it, from terms that were split.
func gemmIsExact(b *bench, f WeightFormat, tokens, rows, cols int, launch func(out, terms gpu.Range, w Weights, add bool) error) {
	b.Helper()
	w, values := matrix(b, f, 5, rows, cols)
	x := randoms(6, tokens*cols, 1)
	want := product(x, multiplied(f, values), tokens, rows, cols)
	terms := room(b, tokens*cols)
	must(b, b.set.split(b.queue, terms, buffer(b, x), f, len(x)))
	got := b.inOrders(func() []float32 {
		out := room(b, tokens*rows)
		must(b, launch(out, terms, w, false))
		return floats(b, out, tokens*rows)
	})
	// Matrix units cut off what does not fit when they add 16 columns to a sum, always to the same side: the error grows with the steps.
	bound := 5e-6 * max(1, float64(cols)/320)
	if f == BF16 {
		bound = 2e-5
	}
	near(b, "product", got, want, bound)
	before := randoms(7, len(want), 1)
	out := buffer(b, before)
	must(b, launch(out, terms, w, true))
	for i := range want {
		want[i] += float64(before[i])
	}
	near(b, "sum", floats(b, out, len(want)), want, bound)
}

func TestGemmIsAsExactAsFloat(t *testing.T) {
	var list []instance
	for _, f := range formats {
		list = append(list, gemm(f, gemmSmall.of(f)), gemm(f, gemmLarge.of(f)), splitting(f))
	}
	onHosts(t, list, func(t *testing.T, b *bench) {
		for _, form := range []gemmForm{gemmSmall, gemmLarge} {
			for _, f := range formats {
				form := form.of(f)
				if form.pool(f) > b.set.host.Info().Pool {
					continue
				}
				for _, c := range []struct{ tokens, rows, cols int }{{70, 130, 96}, {5, 64, 32}, {64, 20, 320}} {
					c.cols = whole(f, c.cols)
					t.Run(title("%v, %d tokens, [%d][%d], tiles of %d", f, c.tokens, c.rows, c.cols, form.bm), func(t *testing.T) {
						b := b.sub(t)
						gemmIsExact(b, f, c.tokens, c.rows, c.cols, func(out, terms gpu.Range, w Weights, add bool) error {
							return b.set.gemm(b.queue, out, terms, w, c.tokens, add, form)
						})
					})
				}
			}
		}
	})
}

func TestWideGemmIsAsExactAsFloat(t *testing.T) {
	onHosts(t, nil, func(t *testing.T, b *bench) {
		if !b.set.wideFor(BF16) {
			t.Skipf("%s is no GPU of the kind that it is for", b.set.host.Info().Name)
		}
		for _, form := range wideForms {
			for _, f := range []WeightFormat{F16, BF16} {
				for _, c := range []struct{ tokens, rows, cols int }{{70, 130, 96}, {5, 64, 8}, {129, 33, 160}, {300, 5000, 72}, {1100, 3600, 64}} {
					t.Run(title("%v, %d tokens, [%d][%d], %d rows, %d blocks", f, c.tokens, c.rows, c.cols, form.rows, form.cluster), func(t *testing.T) {
						b := b.sub(t)
						gemmIsExact(b, f, c.tokens, c.rows, c.cols, func(out, terms gpu.Range, w Weights, add bool) error {
							return b.set.wide(b.queue, out, terms, w, c.tokens, add, form)
						})
					})
				}
			}
		}
	})
}

func TestHalvesOfLargeActivationsStayFinite(t *testing.T) {
	onHosts(t, []instance{splitting(F16)}, func(t *testing.T, b *bench) {
		x := []float32{1e6, -1e6, 65504, 1, 0, -0.5, 70000, 3.0009766}
		out := room(b, 8)
		must(b, b.set.split(b.queue, out, buffer(b, x), F16, 8))
		data := make([]byte, 32)
		b.queue.Read(data, out)
		b.wait()
		got := make([]float32, 16)
		simd.FromF16(got, data)
		for i, want := range []float32{65504, -65504, 65504, 1, 0, -0.5, 65504, 3, 65504, -65504, 0, 0, 0, 0, 4496, 0.0009765625} {
			if got[i] != want {
				t.Errorf("term %d of %v is %v, not %v", i/8, x[i%8], got[i], want)
			}
		}
	})
}
