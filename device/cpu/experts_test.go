package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/device"
)

func routing(tokens, active int) device.Routing {
	return device.Routing{Active: active, Experts: make([]int32, tokens*active), Weights: make([]float32, tokens*active)}
}

func TestRoutesGoToTheLargestLogitsAndOfEqualsToTheFirst(t *testing.T) {
	onStreams(t, func(t *testing.T, _ int, s device.Stream) {
		for _, c := range []struct {
			logits  []float32
			experts []int32
		}{
			{[]float32{1, 5, 3, 4}, []int32{1, 3}},
			{[]float32{7, 7, 7, 7}, []int32{0, 1}},
			{[]float32{1, 2, 2, 2}, []int32{1, 2}},
			{[]float32{2, 1, 2, 3}, []int32{3, 0}},
			{[]float32{-4, -3, -2, -1}, []int32{3, 2}},
			{[]float32{0, float32(math.Copysign(0, -1)), 0, -1}, []int32{0, 1}}, // zeros are equal
			{[]float32{-math.MaxFloat32, math.MaxFloat32, -math.MaxFloat32, 0}, []int32{1, 3}},
		} {
			to := routing(1, 2)
			s.Route(to, device.Tensor{Rows: 1, Cols: 4, Data: c.logits}, true)
			if !slices.Equal(to.Experts, c.experts) {
				t.Errorf("%v go to %v, want %v", c.logits, to.Experts, c.experts)
			}
		}
	})
}

func TestWeightsOfARouteEqualFloat64(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	onStreams(t, func(t *testing.T, _ int, s device.Stream) {
		for _, c := range []struct{ tokens, experts, active int }{{1, 1, 1}, {3, 8, 2}, {40, 128, 8}, {5, 7, 7}} {
			for _, normalized := range []bool{false, true} {
				logits, to := random(r, c.tokens, c.experts), routing(c.tokens, c.active)
				s.Route(to, logits, normalized)
				for token := range c.tokens {
					row := logits.Row(token)
					order := make([]int32, c.experts)
					all, chosen := 0.0, 0.0
					for i, v := range row {
						order[i] = int32(i)
						all += math.Exp(float64(v))
					}
					slices.SortStableFunc(order, func(a, b int32) int { // the largest first
						switch {
						case row[a] > row[b]:
							return -1
						case row[a] < row[b]:
							return 1
						}
						return 0
					})
					for _, e := range order[:c.active] {
						chosen += math.Exp(float64(row[e]))
					}
					for i, e := range order[:c.active] {
						want := math.Exp(float64(row[e])) / all
						if normalized {
							want = math.Exp(float64(row[e])) / chosen
						}
						at := token*c.active + i
						if to.Experts[at] != e {
							t.Fatalf("%+v: token %d goes to %d at %d, want %d", c, token, to.Experts[at], i, e)
						}
						near(t, "a weight", to.Weights[at], want, want, 1e-6)
					}
				}
			}
		}
	})
}

func TestALogitThatIsNotFiniteMakesWeightsNaNAndLeavesIndicesInRange(t *testing.T) {
	onStreams(t, func(t *testing.T, _ int, s device.Stream) {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			for at := range 3 {
				logits, to := device.NewTensor(2, 3), routing(2, 2)
				logits.Row(1)[at] = float32(bad)
				logits.Row(0)[2] = 1
				s.Route(to, logits, true)
				if !slices.Equal(to.Experts, []int32{2, 0, 0, 1}) {
					t.Errorf("%v at %d: %v", bad, at, to.Experts)
				}
				for i, w := range to.Weights {
					if (w != w) != (i >= 2) {
						t.Errorf("%v at %d: weights %v", bad, at, to.Weights)
					}
				}
			}
		}
	})
}

// someExperts is random experts of a format, and the values of their parts.
func someExperts(r *rand.Rand, f device.Format, n, width, hidden int) (e device.Experts, values [3][][]float64) {
	make := quantized
	if f.Bytes() > 0 {
		make = matrix
	}
	for range n {
		for i, part := range []*[]device.Matrix{&e.Gate, &e.Up, &e.Down} {
			rows, cols := width, hidden
			if i == 2 {
				rows, cols = hidden, width
			}
			m, v := make(r, f, rows, cols)
			for len(*part) > 0 && (m.Group != (*part)[0].Group || m.ScaleFormat != (*part)[0].ScaleFormat) { // which are drawn, too
				m, v = make(r, f, rows, cols)
			}
			*part, values[i] = append(*part, m), append(values[i], v)
		}
	}
	return e, values
}

// times is w [rows][len(x)] times x.
func times(w, x []float64) []float64 {
	out := make([]float64, len(w)/len(x))
	for i := range out {
		for k, v := range x {
			out[i] += w[i*len(x)+k] * v
		}
	}
	return out
}

func TestExpertsEqualFloat64(t *testing.T) {
	for _, f := range []device.Format{device.F32, device.F16, device.BF16, device.Q8_0, device.Q4_0, device.Q4_K, device.Q6_K, device.MLX4, device.MLX8} {
		width, hidden := 64, 96
		if f == device.Q4_K || f == device.Q6_K {
			width, hidden = 256, 256
		} else if f.Bytes() > 0 {
			width, hidden = 37, 50
		}
		if f == device.Q4_0 { // of whose second product activations are not whole numbers
			width, hidden = 96, 256
		}
		if f.Affine() {
			width, hidden = 128, 256
		}
		for _, c := range []struct{ tokens, experts, active int }{{1, 5, 2}, {2, 3, 3}, {7, 8, 3}, {60, 4, 2}, {33, 1, 1}} {
			t.Run(fmt.Sprintf("%v %+v", f, c), func(t *testing.T) {
				r := rand.New(rand.NewPCG(3, uint64(c.tokens)))
				e, values := someExperts(r, f, c.experts, width, hidden)
				if err := e.Check(); err != nil {
					t.Fatal(err)
				}
				x, before, logits := random(r, c.tokens, hidden), random(r, c.tokens, hidden), random(r, c.tokens, c.experts)
				var first []float32
				onStreams(t, func(t *testing.T, threads int, s device.Stream) {
					to, dst := routing(c.tokens, c.active), device.NewTensor(c.tokens, hidden)
					copy(dst.Data, before.Data)
					room := make([]float32, c.tokens*device.ExpertsRoom(c.active, width, hidden))
					for i := range room {
						room[i] = float32(math.NaN())
					}
					s.Route(to, logits, true)
					s.Experts(dst, x, to, &e, room)
					if first == nil {
						first = dst.Data
						checkExperts(t, dst, before, x, to, values, max(stepOf(e.Gate[0]), stepOf(e.Down[0])))
						return
					}
					if !slices.Equal(first, dst.Data) {
						t.Errorf("the result differs on %d threads", threads)
					}
				})
			})
		}
	}
}

// mayBeOff is what w times x may be off, where each of x is and products may be off by step times the largest of 32 of them.
func mayBeOff(w, x, off []float64, step float64) []float64 {
	each := make([]float64, len(x))
	for k := range each {
		for _, v := range x[k&^31 : min(k|31+1, len(x))] {
			each[k] = max(each[k], step*math.Abs(v))
		}
		each[k] += off[k]
	}
	sizes := make([]float64, len(w))
	for i, v := range w {
		sizes[i] = math.Abs(v)
	}
	return times(sizes, each)
}

// checkExperts checks what each token got, with products that may be off by step times the largest of 32 activations.
func checkExperts(t *testing.T, got, before, x device.Tensor, to device.Routing, values [3][][]float64, step float64) {
	t.Helper()
	for token := range x.Rows {
		want, off, size := make([]float64, x.Cols), make([]float64, x.Cols), 1.0
		in, exact := make([]float64, x.Cols), make([]float64, x.Cols)
		for i, v := range x.Row(token) {
			in[i], want[i] = float64(v), float64(before.Row(token)[i])
		}
		for i := range to.Active {
			expert, weight := to.Experts[token*to.Active+i], float64(to.Weights[token*to.Active+i])
			gate, up := times(values[0][expert], in), times(values[1][expert], in)
			gateOff, upOff := mayBeOff(values[0][expert], in, exact, step), mayBeOff(values[1][expert], in, exact, step)
			for k, g := range gate {
				silu := g / (1 + math.Exp(-g))
				gateOff[k] = 1.1*gateOff[k]*(math.Abs(up[k])+upOff[k]) + math.Abs(silu)*upOff[k] // SiLU's slope is at most 1.1
				gate[k] = silu * up[k]
			}
			for k, v := range mayBeOff(values[2][expert], gate, gateOff, step) {
				off[k] += weight * v
			}
			for k, v := range times(values[2][expert], gate) {
				want[k] += weight * v
				size = max(size, math.Abs(v))
			}
		}
		for k, v := range got.Row(token) {
			near(t, fmt.Sprintf("element %d of token %d", k, token), v, want[k], 3e-6*size+off[k], 1)
		}
	}
}

func TestATokenOfFewGetsTheSameFromItsExpertsInAnyBatch(t *testing.T) {
	const width, hidden, active = 256, 256, 2
	for _, f := range []device.Format{device.BF16, device.Q8_0, device.Q4_K, device.MLX4} {
		r := rand.New(rand.NewPCG(5, 6))
		e, _ := someExperts(r, f, 6, width, hidden)
		x, logits := random(r, dotTokens, hidden), random(r, dotTokens, 6)
		onStreams(t, func(t *testing.T, _ int, s device.Stream) {
			run := func(first, end int) []float32 {
				to, dst := routing(end-first, active), device.NewTensor(end-first, hidden)
				s.Route(to, logits.Slice(first, end), true)
				s.Experts(dst, x.Slice(first, end), to, &e, make([]float32, (end-first)*device.ExpertsRoom(active, width, hidden)))
				return dst.Data
			}
			all := run(0, x.Rows)
			for i := range x.Rows {
				if !slices.Equal(run(i, i+1), all[i*hidden:(i+1)*hidden]) {
					t.Errorf("%v: token %d differs alone", f, i)
				}
			}
		})
	}
}

func TestArgmaxIsTheFirstOfTheLargestOrNothing(t *testing.T) {
	const n = 3*argmaxPart + 77
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	onStreams(t, func(t *testing.T, _ int, s device.Stream) {
		for _, c := range []struct {
			at   []int
			v    float32
			want int32
		}{
			{[]int{0}, 9, 0}, {[]int{n - 1}, 9, n - 1}, {[]int{argmaxPart, argmaxPart + 1}, 9, argmaxPart}, {[]int{5, 2 * argmaxPart}, 9, 5},
			{[]int{n - 2}, nan, -1}, {[]int{0}, nan, -1}, {[]int{argmaxPart}, nan, -1}, {[]int{7}, inf, -1}, {[]int{7}, -inf, 0},
		} {
			x, to := device.NewTensor(2, n), []int32{5, 5}
			for _, at := range c.at {
				x.Row(1)[at] = c.v
			}
			s.Argmax(to, x)
			if to[0] != 0 || to[1] != c.want {
				t.Errorf("%v at %v: %v, want %d", c.v, c.at, to, c.want)
			}
		}
		x, to := device.NewTensor(1, 40), []int32{5}
		for i := range x.Data {
			x.Data[i] = -inf
		}
		if s.Argmax(to, x); to[0] != -1 {
			t.Errorf("of nothing but -Inf: %d", to[0])
		}
	})
}

func TestExpertsAllocateNothingInASteadyState(t *testing.T) {
	const width, hidden, active = 128, 256, 2
	r := rand.New(rand.NewPCG(5, 6))
	some := map[device.Format]device.Experts{}
	for _, f := range []device.Format{device.BF16, device.Q4_0} {
		some[f], _ = someExperts(r, f, 6, width, hidden)
	}
	onStreams(t, func(t *testing.T, threads int, s device.Stream) {
		for f, e := range some {
			for _, tokens := range []int{1, 4, 70} {
				x, logits, to, best := random(r, tokens, hidden), random(r, tokens, 6), routing(tokens, active), make([]int32, tokens)
				dst, room := device.NewTensor(tokens, hidden), make([]float32, tokens*device.ExpertsRoom(active, width, hidden))
				n := 1.0
				for range 20 { // until every worker has had its part
					n = testing.AllocsPerRun(3, func() {
						s.Route(to, logits, false)
						s.Experts(dst, x, to, &e, room)
						s.Argmax(best, x)
					})
					if n == 0 {
						break
					}
				}
				if n > 0 {
					t.Errorf("%v: %v allocations for %d tokens on %d threads", f, n, tokens, threads)
				}
			}
		}
	})
}

func TestExpertsOfOtherShapesPanic(t *testing.T) {
	e, _ := someExperts(rand.New(rand.NewPCG(5, 6)), device.F32, 2, 3, 4)
	s := New(1).NewStream()
	x, room := device.NewTensor(1, 4), make([]float32, 100)
	panics(t, "Route", func() { s.Route(routing(1, 3), device.NewTensor(1, 2), false) })
	panics(t, "Experts", func() { s.Experts(x, device.NewTensor(1, 5), routing(1, 1), &e, room) })
	panics(t, "room", func() { s.Experts(x, x, routing(1, 1), &e, room[:6]) })
	to := routing(1, 1)
	to.Experts[0] = 2
	panics(t, "expert 2 of 2", func() { s.Experts(x, x, to, &e, room) })
	panics(t, "Argmax", func() { s.Argmax(nil, x) })
}
