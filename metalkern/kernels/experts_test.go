package kernels

import (
	"math"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// ints reads n integers.
func ints(b *bench, r gpu.Range, n int) []int32 {
	b.Helper()
	x := make([]int32, n)
	b.queue.Read(bytesOf(x), r)
	b.wait()
	return x
}

func routesOf(b *bench, tokens, active int) Routes {
	return Routes{Chosen: room(b, tokens*active), Weights: room(b, tokens*active), Active: active}
}

// routed is the experts of a row of logits and their weights, in float64.
func routed(logits []float32, active int, normalized bool) (experts []int32, weights []float64) {
	all := 0.0
	order := make([]int32, len(logits))
	for i, v := range logits {
		order[i] = int32(i)
		all += math.Exp(float64(v))
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return 0
	})
	sum := 0.0
	for _, e := range order[:active] {
		weights = append(weights, math.Exp(float64(logits[e]))/all)
		sum += weights[len(weights)-1]
	}
	if normalized {
		for i := range weights {
			weights[i] /= sum
		}
	}
	return order[:active], weights
}

func TestRoutesGoToTheLargestLogitsAndOfEqualsToTheFirst(t *testing.T) {
	onHosts(t, routeKernels(), func(t *testing.T, b *bench) {
		for _, c := range []struct{ tokens, experts, active int }{{1, 1, 1}, {3, 8, 2}, {9, 128, 8}, {2, 40, 40}, {1, 1000, 64}} {
			for _, normalized := range []bool{true, false} {
				logits := randoms(uint64(c.experts), c.tokens*c.experts, 2)
				for i := range logits {
					if i%3 > 0 {
						logits[i] = float32(math.Round(float64(logits[i]))) // many are equal
					}
				}
				to := routesOf(b, c.tokens, c.active)
				xs := buffer(b, logits)
				got := b.inOrders(func() []float32 {
					must(b, b.set.Route(b.queue, to, xs, c.tokens, c.experts, normalized))
					return floats(b, to.Weights, c.tokens*c.active)
				})
				chosen := ints(b, to.Chosen, c.tokens*c.active)
				var want []float64
				for token := range c.tokens {
					experts, weights := routed(logits[token*c.experts:(token+1)*c.experts], c.active, normalized)
					if at := chosen[token*c.active : (token+1)*c.active]; !slices.Equal(at, experts) {
						t.Fatalf("%+v: token %d goes to %v, want %v", c, token, at, experts)
					}
					want = append(want, weights...)
				}
				near(b, title("weights of %+v", c), got, want, 1e-6)
			}
		}
	})
}

func TestALogitThatIsNotFiniteMakesWeightsNaNAndLeavesIndicesInRange(t *testing.T) {
	onHosts(t, routeKernels(), func(t *testing.T, b *bench) {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			logits := make([]float32, 3*70)
			logits[69], logits[70+33], logits[2*70+5] = 1, float32(bad), 1
			to := routesOf(b, 3, 2)
			must(b, b.set.Route(b.queue, to, buffer(b, logits), 3, 70, true))
			if got := ints(b, to.Chosen, 6); !slices.Equal(got, []int32{69, 0, 0, 1, 5, 0}) {
				t.Errorf("%v: %v", bad, got)
			}
			for i, w := range floats(b, to.Weights, 6) {
				if (w != w) != (i/2 == 1) {
					t.Errorf("%v: weight %d is %v", bad, i, w)
				}
			}
		}
	})
}

func TestListsHaveEachPairOnceByItsExpert(t *testing.T) {
	onHosts(t, routeKernels(), func(t *testing.T, b *bench) {
		for _, c := range []struct{ tokens, active, experts, each int }{{1, 1, 1, 8}, {5, 2, 3, 2}, {300, 3, 7, 64}, {40, 8, 300, 64}, {2, 2, 1000, 2}} {
			pairs := c.tokens * c.active
			chosen, r := make([]int32, pairs), randoms(4, pairs, 1)
			for i := range chosen {
				chosen[i] = int32(math.Abs(float64(r[i]))*7919) % int32(c.experts)
			}
			scratch := room(b, int(ListBytes(c.tokens, c.active, c.experts))/4)
			var l listed
			order := b.inOrders(func() []float32 {
				var err error
				l, err = b.set.list(b.queue, scratch, Routes{Chosen: buffer(b, chosen), Active: c.active}, c.tokens, c.experts, c.each)
				must(b, err)
				return floats(b, scratch, int(ListBytes(c.tokens, c.active, c.experts))/4)[:pairs]
			})
			var got []int32
			next, used := 0, -1
			for i, tile := range slices.Collect(slices.Chunk(ints(b, l.tiles, 4*l.most), 4)) {
				expert, first, count := tile[0], int(tile[1]), int(tile[2])
				if count == 0 {
					continue
				}
				if first != next || count > c.each || int(expert) < used || int(expert) == used && count == 0 {
					t.Fatalf("%+v: tile %d is %v, after pair %d of expert %d", c, i, tile, next, used)
				}
				next, used = first+count, int(expert)
				for _, at := range order[first:next] {
					pair := int32(math.Float32bits(at))
					if chosen[pair] != expert {
						t.Fatalf("%+v: pair %d goes to %d and is in a tile of %d", c, pair, chosen[pair], expert)
					}
					got = append(got, pair)
				}
			}
			if next != pairs {
				t.Fatalf("%+v: %d of %d pairs are in tiles", c, next, pairs)
			}
			slices.Sort(got)
			for i, pair := range got {
				if int(pair) != i {
					t.Fatalf("%+v: pair %d is missing, or twice", c, i)
				}
			}
		}
	})
}

// layer is random experts on a device, and the values of each of their parts.
func layer(b *bench, f WeightFormat, n, width, hidden int) (Experts, [3][][]float32) {
	var values [3][][]float32
	origin := buffer(b, make([]float32, 4))
	from := func(r gpu.Range) uint64 {
		if r.Buffer == nil {
			return 0
		}
		return r.Buffer.Address() + uint64(r.Offset) - origin.Buffer.Address()
	}
	e := Experts{Count: n, Origin: origin}
	var table []ExpertAddress
	for i := range n {
		gate, g := matrix(b, f, uint64(3*i+100), width, hidden)
		up, u := matrix(b, f, uint64(3*i+101), width, hidden)
		down, d := matrix(b, f, uint64(3*i+102), hidden, width)
		e.Gate, e.Down = gate, down
		values[0], values[1], values[2] = append(values[0], g), append(values[1], u), append(values[2], d)
		table = append(table, ExpertAddress{from(gate.Data), from(gate.Scales), from(up.Data), from(up.Scales), from(down.Data), from(down.Scales)})
	}
	e.Table = buffer(b, table)
	return e, values
}

func TestExpertsEqualFloat64(t *testing.T) {
	const experts = 5
	list := append(routeKernels(), rowsKernel("swiglu"), splitting(F16), splitting(BF16))
	for _, f := range formats {
		list = append(list, expertKernels(f)...)
		list = append(list, expertGemm(f, expertSmall.of(f)), expertGemm(f, expertLarge.of(f)))
	}
	onHosts(t, list, func(t *testing.T, b *bench) {
		for _, f := range formats {
			width, hidden := whole(f, 64), whole(f, 96)
			e, values := layer(b, f, experts, width, hidden)
			for _, c := range []struct{ tokens, active int }{{1, 1}, {1, 3}, {2, 2}, {7, 2}, {8, 3}, {70, 2}} {
				t.Run(title("%v, %d tokens, %d experts", f, c.tokens, c.active), func(t *testing.T) {
					b := b.sub(t)
					values := values
					if c.tokens > MatvecTokens {
						for part := range values {
							values[part] = slices.Clone(values[part])
							for i, v := range values[part] {
								values[part][i] = multiplied(f, v)
							}
						}
					}
					x, before, logits := randoms(6, c.tokens*hidden, 1), randoms(7, c.tokens*hidden, 1), randoms(8, c.tokens*experts, 1)
					xs, to, pairs := buffer(b, x), routesOf(b, c.tokens, c.active), c.tokens*c.active
					must(b, b.set.Route(b.queue, to, buffer(b, logits), c.tokens, experts, true))
					got := b.inOrders(func() []float32 {
						dst := buffer(b, before)
						must(b, b.set.Experts(b.queue, dst, xs, to, e, ExpertsRoom{Gate: room(b, pairs*width), Other: room(b, pairs*max(width, hidden)),
							Lists: room(b, int(ListBytes(c.tokens, c.active, experts))/4), Terms: room(b, int(ExpertTerms(c.tokens, c.active, e))/4)}, c.tokens))
						return floats(b, dst, c.tokens*hidden)
					})
					want := make([]float64, len(before))
					for i, v := range before {
						want[i] = float64(v)
					}
					for token := range c.tokens {
						chosen, weights := routed(logits[token*experts:(token+1)*experts], c.active, true)
						row := x[token*hidden : (token+1)*hidden]
						for i, expert := range chosen {
							gate, up := product(row, values[0][expert], 1, width, hidden), product(row, values[1][expert], 1, width, hidden)
							inner := make([]float32, width)
							for k, g := range gate {
								inner[k] = float32(g / (1 + math.Exp(-g)) * up[k])
							}
							for k, v := range product(inner, values[2][expert], 1, hidden, width) {
								want[token*hidden+k] += weights[i] * v
							}
						}
					}
					bound := 1e-5
					if f == BF16 {
						bound = 5e-5
					}
					near(b, "experts", got, want, bound)
				})
			}
		}
	})
}

func TestExpertsOfOtherShapesAreRefused(t *testing.T) {
	w := func(rows, cols int) Weights { return Weights{Format: F16, Rows: rows, Cols: cols} }
	if err := (Experts{Gate: w(8, 16), Down: w(16, 8)}).Check(); err != nil {
		t.Error(err)
	}
	for what, e := range map[string]Experts{
		"another width": {Gate: w(8, 16), Down: w(16, 24)}, "another hidden": {Gate: w(8, 16), Down: w(8, 8)}, "odd columns": {Gate: w(9, 16), Down: w(16, 9)},
	} {
		if e.Check() == nil {
			t.Errorf("%s: not refused", what)
		}
	}
}
