package kernels

import (
	"math"
	"testing"
)

// leastStreamPool is what the forms need.
const leastStreamPool = 227 << 10

// TestStreamsOfExpertsAreExact holds the two products of a token's experts to float64.
func TestStreamsOfExpertsAreExact(t *testing.T) {
	const width, hidden, experts, active = 256, 512, 5, 3
	list := routeKernels()
	for f := range streamForms {
		list = append(list, streamKernels(f)...)
	}
	onHosts(t, list, func(t *testing.T, b *bench) {
		if b.set.host.Info().Pool < leastStreamPool {
			t.Skip("too little threadgroup memory")
		}
		for _, f := range []WeightFormat{F16, BF16, Q8, Q4} {
			e, values := layer(b, f, experts, width, hidden)
			t.Run(f.String(), func(t *testing.T) {
				b := b.sub(t)
				x, before, logits := randoms(6, hidden, 1), randoms(7, hidden, 1), randoms(8, experts, 1)
				xs, to := buffer(b, x), routesOf(b, 1, active)
				must(b, b.set.Route(b.queue, to, buffer(b, logits), 1, experts, true))
				got := b.inOrders(func() []float32 {
					dst := buffer(b, before)
					must(b, b.set.streamOneTokensExperts(b.queue, dst, xs, to, e, ExpertsRoom{Gate: room(b, active*width), Other: room(b, active*hidden)}, streamForms[f][0], streamForms[f][0]))
					return floats(b, dst, hidden)
				})
				want := make([]float64, hidden)
				for i, v := range before {
					want[i] = float64(v)
				}
				chosen, weights := routed(logits, active, true)
				for i, expert := range chosen {
					gate, up := product(x, values[0][expert], 1, width, hidden), product(x, values[1][expert], 1, width, hidden)
					inner := make([]float32, width)
					for k, g := range gate {
						inner[k] = float32(g / (1 + math.Exp(-g)) * up[k])
					}
					for k, v := range product(inner, values[2][expert], 1, hidden, width) {
						want[k] += weights[i] * v
					}
				}
				bound := 1e-5
				if f == BF16 {
					bound = 5e-5
				}
				near(b, "experts", got, want, bound)
			})
		}
	})
}

// TestStreamsAreExact holds what a step does with one token to float64, in all forms: products of the same activations or of their norm, a product that is added to
// something, and a gated one.
func TestStreamsAreExact(t *testing.T) {
	var list []instance
	for f := range streamForms {
		list = append(list, streamKernels(f)...)
	}
	onHosts(t, list, func(t *testing.T, b *bench) {
		if b.set.host.Info().Pool < leastStreamPool {
			t.Skip("too little threadgroup memory")
		}
		for _, f := range []WeightFormat{F16, BF16, Q8, Q4} {
			for _, g := range streamForms[f] {
				for _, cols := range []int{256, 1280} {
					t.Run(title("%v, %v, %d columns", f, g, cols), func(t *testing.T) {
						b := b.sub(t)
						x := randoms(6, cols, 1)
						xs := buffer(b, x)
						rows := []int{37, 8, 21}
						var into [MostMatvecs]Into
						var want [][]float64
						for i, n := range rows {
							w, values := matrix(b, f, uint64(8+i), n, cols)
							into[i] = Into{w, room(b, n)}
							want = append(want, product(x, values, 1, n, cols))
						}
						one := [MostMatvecs]Into{into[0], into[0], into[0]}
						got := b.inOrders(func() []float32 {
							must(b, b.set.stream(b.queue, streamOne, bare(xs), one, streamParams{rows: int32(rows[0])}, g))
							return floats(b, into[0].Out, rows[0])
						})
						near(b, "product", got, want[0], 1e-5)
						before := randoms(7, rows[0], 1)
						one[1].Out = buffer(b, before)
						sums := make([]float64, len(before))
						for i := range sums {
							sums[i] = want[0][i] + float64(before[i])
						}
						must(b, b.set.stream(b.queue, streamOne, bare(xs), one, streamParams{rows: int32(rows[0]), add: 2}, g))
						near(b, "sum", floats(b, one[1].Out, len(sums)), sums, 1e-5)
						one[0].Out = buffer(b, before)
						must(b, b.set.stream(b.queue, streamOne, bare(xs), one, streamParams{rows: int32(rows[0]), add: 1}, g))
						near(b, "sum", floats(b, one[0].Out, len(sums)), sums, 1e-5)
						for n := 1; n <= len(rows); n++ {
							must(b, b.set.streamSeveral(b.queue, bare(xs), false, into[:n], g))
							for i := range n {
								near(b, "several", floats(b, into[i].Out, len(want[i])), want[i], 1e-5)
							}
						}
						gain, squares := randoms(9, cols, 1), 0.0
						for _, v := range x {
							squares += float64(v) * float64(v)
						}
						root := math.Sqrt(squares/float64(cols) + 1e-5)
						normed, wantNormed := make([]float32, cols), make([]float64, cols)
						for i, v := range x {
							wantNormed[i] = float64(v) / root * float64(gain[i])
							normed[i] = float32(wantNormed[i])
						}
						out := room(b, cols)
						must(b, b.set.streamSeveral(b.queue, Normed{X: xs, Weight: buffer(b, gain), Out: out, Eps: 1e-5}, true, into[:2], g))
						near(b, "norm", floats(b, out, cols), wantNormed, 1e-6)
						_, values := matrix(b, f, 9, rows[1], cols)
						near(b, "product of the norm", floats(b, into[1].Out, rows[1]), product(normed, values, 1, rows[1], cols), 1e-5)
						if g.rows%2 != 0 {
							return
						}
						must(b, b.set.stream(b.queue, streamOne, bare(xs), [MostMatvecs]Into{into[0], into[0], into[0]}, streamParams{rows: int32(rows[0])}, g))
						w, values := matrix(b, f, 11, rows[0], cols)
						up := Into{w, room(b, rows[0])}
						ups := product(x, values, 1, rows[0], cols)
						gates := make([]float64, len(ups))
						for i, u := range ups {
							gates[i] = want[0][i] / (1 + math.Exp(-want[0][i])) * u
						}
						must(b, b.set.streamPaired(b.queue, bare(xs), false, into[0], up, g))
						near(b, "up", floats(b, up.Out, len(ups)), ups, 1e-5)
						near(b, "gate", floats(b, into[0].Out, len(gates)), gates, 2e-5)
					})
				}
			}
		}
	})
}
