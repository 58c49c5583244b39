package kernels

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// line is what Draw leaves of logits: the tokens in order of their ids, and where each ends on a line from 0 to 1. It is straight from the definitions, in float64.
func line(logits []float32, d Draw) (ids []int32, ends []float64) {
	type token struct {
		id    int32
		logit float32
		mass  float64
	}
	var all []token
	for id, v := range logits {
		all = append(all, token{int32(id), v, 0})
	}
	slices.SortStableFunc(all, func(a, b token) int { return cmp.Compare(b.logit, a.logit) })
	most := float64(all[0].logit)
	if k := d.TopK; k > 0 && k < len(all) {
		kth := all[k-1].logit
		all = slices.DeleteFunc(all, func(t token) bool { return t.logit < kth })
	}
	total := 0.0
	for i := range all {
		all[i].mass = math.Exp((float64(all[i].logit) - most) / float64(d.Temperature))
		total += all[i].mass
	}
	if d.TopP > 0 && d.TopP < 1 {
		n := 0
		for held := 0.0; n < len(all) && held < float64(d.TopP)*total; n++ {
			held += all[n].mass
		}
		all = all[:n]
	}
	if d.MinP > 0 {
		all = slices.DeleteFunc(all, func(t token) bool { return t.mass < float64(d.MinP) })
	}
	slices.SortFunc(all, func(a, b token) int { return cmp.Compare(a.id, b.id) })
	at := 0.0
	for _, t := range all {
		at += t.mass
		ids, ends = append(ids, t.id), append(ends, at)
	}
	for i := range ends {
		ends[i] /= at
	}
	return ids, ends
}

// draws draws with each of the numbers.
func draws(b *bench, logits []float32, d Draw, numbers []uint64) []int32 {
	b.Helper()
	x, tokens, scratch := buffer(b, logits), room(b, len(numbers)), room(b, int(SampleBytes(len(logits)))/4)
	k, err := b.set.keep(b.queue, x, scratch, len(logits), d)
	must(b, err)
	for i, n := range numbers {
		k.draw(b.queue, gpu.Range{Buffer: tokens.Buffer, Offset: int64(4 * i)}, n)
	}
	out := make([]int32, len(numbers))
	b.queue.Read(bytesOf(out), tokens)
	b.wait()
	return out
}

// bell is logits as a model gives them, with a few that stand out.
func bell(n int, scale float64) []float32 {
	rng := rand.New(rand.NewPCG(uint64(n), 4))
	logits := make([]float32, n)
	for i := range logits {
		logits[i] = float32(rng.NormFloat64() * scale)
	}
	for range 1 + n/500 {
		logits[rng.IntN(n)] += float32(4 * scale)
	}
	return logits
}

// numbers are n from 0 to 1, both ends included as far as they are.
func numbers(n int) []uint64 {
	all := []uint64{0, math.MaxUint64 &^ (1<<11 - 1)}
	for i := range n - 2 {
		all = append(all, uint64(2*i+1)*(math.MaxUint64/uint64(2*n-4)))
	}
	return all
}

var someDraws = []Draw{
	{Temperature: 1}, {Temperature: 0.3}, {Temperature: 5}, {Temperature: 1. / maxScale}, {Temperature: maxScale},
	{Temperature: 1, TopK: 1}, {Temperature: 0.8, TopK: 3}, {Temperature: 2, TopK: 40}, {Temperature: 1, TopK: 1 << 30},
	{Temperature: 1, TopP: 1e-30}, {Temperature: 1, TopP: 0.3}, {Temperature: 0.8, TopP: 0.95}, {Temperature: 4, TopP: 0.999}, {Temperature: 1, TopP: 1},
	{Temperature: 1, MinP: 0.05}, {Temperature: 1, MinP: 1}, {Temperature: 3, MinP: 0.4},
	{Temperature: 0.8, TopK: 50, TopP: 0.9, MinP: 0.02}, {Temperature: 1.3, TopK: 20, TopP: 0.7}, {Temperature: 2, TopP: 0.8, MinP: 0.1}, {Temperature: 1, TopK: 5, MinP: 0.3},
}

// slack is how far from the border between two tokens either may be drawn: weights are rounded as float32 is.
const slack = 1e-7

// fits holds the tokens that were drawn to where the numbers fall.
func fits(tb testing.TB, logits []float32, d Draw, numbers []uint64, got []int32) {
	tb.Helper()
	ids, ends := line(logits, d)
	near := 0
	for i, n := range numbers {
		u := float64(n>>11) / (1 << 53)
		first, _ := slices.BinarySearch(ends, u-slack)
		last, _ := slices.BinarySearch(ends, u+slack)
		last = min(last, len(ids)-1)
		if first < last {
			near++
		}
		if at, ok := slices.BinarySearch(ids, got[i]); !ok || at < first || at > last {
			tb.Fatalf("%d logits, %+v, number %.9f: token %d, want %d", len(logits), d, u, got[i], ids[first])
		}
	}
	if near > len(numbers)/4 {
		tb.Errorf("%d logits, %+v: %d of %d numbers are near a border: the test says little", len(logits), d, near, len(numbers))
	}
}

// lightest is the numbers in the middle of each of the n lightest tokens that are left: which of them are is what may go wrong.
func lightest(logits []float32, d Draw, n int) (numbers []uint64) {
	ids, ends := line(logits, d)
	order := make([]int, len(ids))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(logits[ids[a]], logits[ids[b]]) })
	for _, i := range order {
		begin := 0.0
		if i > 0 {
			begin = ends[i-1]
		}
		if ends[i]-begin > 4*slack && len(numbers) < n {
			numbers = append(numbers, uint64((begin+ends[i])/2*(1<<53))<<11)
		}
	}
	return numbers
}

// TestTokensAreDrawnWhereTheNumberFalls holds every filter, alone and with others, to float64.
func TestTokensAreDrawnWhereTheNumberFalls(t *testing.T) {
	onHosts(t, sampleKernels(), func(t *testing.T, b *bench) {
		for i, d := range someDraws {
			b.setter(b.orders[i%len(b.orders)])
			for _, logits := range [][]float32{bell(1, 1), bell(33, 2.5), bell(5001, 2.5), bell(2500, 0.6)} {
				all := append(numbers(8), lightest(logits, d, 5)...)
				fits(t, logits, d, all, draws(b, logits, d, all))
			}
		}
	})
}

// TestDrawsEndAtTheLastBit draws the last token that top-k leaves, for top-p to go on from there.
func TestDrawsEndAtTheLastBit(t *testing.T) {
	onHosts(t, sampleKernels(), func(t *testing.T, b *bench) {
		logits := bell(40, 2.5)
		for k := 1; k <= 16; k++ {
			d := Draw{Temperature: 3, TopK: k, TopP: 0.9999}
			last := lightest(logits, d, 1)
			fits(t, logits, d, last, draws(b, logits, d, last))
		}
	})
}

// TestDrawsSweepTheVocabulary goes along the line of a vocabulary of the usual size in small steps.
func TestDrawsSweepTheVocabulary(t *testing.T) {
	onHosts(t, sampleKernels(), func(t *testing.T, b *bench) {
		for _, d := range []Draw{{Temperature: 0.8, TopP: 0.95}, {Temperature: 0.9, TopK: 400, MinP: 0.001}} {
			for _, logits := range [][]float32{bell(128256, 2.5), bell(samplePart*sampleParts, 1)} {
				fits(t, logits, d, numbers(150), draws(b, logits, d, numbers(150)))
			}
		}
	})
}

// TestTiesAreKeptByTheirIDs: equal logits at the edge of top-k all stay, at that of top-p the lowest ids. Others weigh next to nothing, so all is exact, also at the borders.
func TestTiesAreKeptByTheirIDs(t *testing.T) {
	onHosts(t, sampleKernels(), func(t *testing.T, b *bench) {
		for i, c := range []struct {
			name string
			d    Draw
			high map[int]float32 // logits; the others are 0
			cols int
			kept []int32 // each as likely as the others
		}{
			{"top-k within equals keeps them all", Draw{Temperature: 1, TopK: 2}, map[int]float32{7: 5, 3000: 5, 4100: 5}, 5000, []int32{7, 3000, 4100}},
			{"top-p within equals keeps the first", Draw{Temperature: 1, TopP: 0.5}, map[int]float32{1: 60, 2047: 60, 2048: 60, 4999: 60}, 5000, []int32{1, 2047}},
			{"and those that it needs in part", Draw{Temperature: 1, TopP: 0.5625}, map[int]float32{1: 60, 2047: 60, 2048: 60, 4999: 60}, 5000, []int32{1, 2047, 2048}},
			{"all equal", Draw{Temperature: 1, TopP: 0.0009765625}, nil, 4096, []int32{0, 1, 2, 3}},
			{"zeros of both signs are equal", Draw{Temperature: 1, TopK: 1}, map[int]float32{3: float32(math.Copysign(0, -1)), 9: 0}, 10, []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
			{"min-p of 1 keeps the largest", Draw{Temperature: 2, MinP: 1}, map[int]float32{5: 1, 6: 1, 8: 0.9999999}, 10, []int32{5, 6}},
			{"top-k, then top-p", Draw{Temperature: 1, TopK: 4, TopP: 0.75}, map[int]float32{1: 9, 3: 9, 5: 9, 7: 9}, 3000, []int32{1, 3, 5}},
		} {
			logits := make([]float32, c.cols)
			for i, v := range c.high {
				logits[i] = v
			}
			var borders []uint64
			var want []int32
			n := uint64(len(c.kept))
			for i, id := range c.kept { // numbers within each, and the first if it is one
				at, each := uint64(i)*(math.MaxUint64/n), math.MaxUint64/n
				if n&(n-1) == 0 {
					borders, want = append(borders, uint64(i)<<32/n<<32), append(want, id)
				}
				borders, want = append(borders, at+each/16, at+each/16*15), append(want, id, id)
			}
			b.setter(b.orders[i%len(b.orders)])
			if got := draws(b, logits, c.d, borders); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", c.name, got, want)
			}
		}
	})
}

// TestHeavierTokensBehindTiesKeepTheirPlace: which of equal logits are kept counts for those of higher ids, also where a part of the logits ends.
func TestHeavierTokensBehindTiesKeepTheirPlace(t *testing.T) {
	onHosts(t, sampleKernels(), func(t *testing.T, b *bench) {
		for _, at := range [][]int{{1, 3, 5, 6, 7}, {1, 2046, 2047, 2050, 2052}, {2047, 2048, 2050, 2051, 2052}, {7, 2050, 4096, 4098, 4099}} {
			logits := make([]float32, 4100)
			for _, i := range at {
				logits[i] = 50
			}
			logits[at[4]] += 1.3 // as much as 3.67 of the others
			for _, p := range []float32{0.55, 0.65, 0.8, 0.95} {
				d := Draw{Temperature: 1, TopP: p}
				fits(t, logits, d, numbers(16), draws(b, logits, d, numbers(16)))
			}
		}
	})
}

// TestWhatIsMaskedIsNeverDrawn: logits of -Inf, which count for top-k only.
func TestWhatIsMaskedIsNeverDrawn(t *testing.T) {
	inf := float32(math.Inf(1))
	onHosts(t, sampleKernels(), func(t *testing.T, b *bench) {
		logits := bell(4500, 2)
		for i := range logits {
			if i%3 != 0 || i > 4000 {
				logits[i] = -inf
			}
		}
		for _, d := range []Draw{{Temperature: 1}, {Temperature: 100, TopK: 4400}, {Temperature: 50, TopP: 0.9999}, {Temperature: 10, MinP: 0.001}} {
			fits(t, logits, d, numbers(8), draws(b, logits, d, numbers(8)))
		}
	})
}

func TestNoTokenIsDrawnFromBadLogits(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	onHosts(t, sampleKernels(), func(t *testing.T, b *bench) {
		for name, logits := range map[string][]float32{"NaN": {1, nan, 2}, "+Inf": {1, inf}, "all -Inf": {-inf, -inf}, "NaN last": append(bell(3000, 1), nan)} {
			if got := draws(b, logits, Draw{Temperature: 1, TopK: 2, TopP: 0.5, MinP: 0.1}, []uint64{1 << 63}); got[0] != -1 {
				t.Errorf("%s: token %d", name, got[0])
			}
		}
	})
}

func TestDrawsThatAreTheHostsAreRefused(t *testing.T) {
	for _, c := range []struct {
		d    Draw
		cols int
		want bool
	}{
		{Draw{Temperature: 1}, samplePart * sampleParts, true}, {Draw{Temperature: 1}, samplePart*sampleParts + 1, false}, {Draw{Temperature: 1}, 0, false},
		{Draw{}, 100, false}, {Draw{Temperature: 1. / maxScale}, 100, true}, {Draw{Temperature: 1e-4}, 100, false}, {Draw{Temperature: 1e4}, 100, false},
		{Draw{Temperature: float32(math.NaN())}, 100, false},
	} {
		if got := c.d.Samples(c.cols); got != c.want {
			t.Errorf("%+v of %d: %v", c.d, c.cols, got)
		}
	}
	onHosts(t, sampleKernels(), func(t *testing.T, b *bench) {
		if err := b.set.Sample(b.queue, gpu.Range{}, gpu.Range{}, gpu.Range{}, 10, Draw{}); err == nil {
			t.Error("a greedy choice is drawn")
		}
	})
}
