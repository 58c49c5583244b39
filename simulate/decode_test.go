package simulate

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/placement"
)

const tokens = 1 << 16

// merges is what merging takes on the way of a step, when so many are not hidden in each layer.
func merges(c Config, each int) float64 {
	sum := 0.0
	for _, st := range c.Cost.Stages() {
		sum += float64(st.Layers.Len()*each) * c.Cost.Merge(st.Node, 1)
	}
	return sum
}

func TestPipelineIsTheFormula(t *testing.T) {
	for _, nodes := range []int{1, 2, 3, 8, 64} {
		c := cluster{nodes: nodes, mode: placement.Pipeline}.config(t)
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := s.decode(t, tokens, 1).Median, c.Cost.Step(tokens).Seconds(); !near(got, want) {
			t.Errorf("%d nodes: a step takes %v, the formula says %v", nodes, got, want)
		}
	}
}

// TestAStarOfTwoIsTheFormulaAndItsMerges: one holder has no other to overlap with.
func TestAStarOfTwoIsTheFormulaAndItsMerges(t *testing.T) {
	for _, mode := range []placement.Mode{placement.Pooled, placement.Ring} {
		c := cluster{nodes: 2, mode: mode}.config(t)
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		got, formula := s.decode(t, tokens, 1).Median, c.Cost.Step(tokens).Seconds()
		if !near(got, formula+merges(c, 1)) {
			t.Errorf("%v: a step takes %v, the formula with merges says %v", mode, got, formula+merges(c, 1))
		}
		if !within(got, formula, 0.01) {
			t.Errorf("%v: a step takes %v, the formula says %v", mode, got, formula)
		}
	}
}

// TestAFewNodesAreWithinAPercentOfTheFormula, where the bytes of an exchange are little beside its latency, so
// that their overlap is too.
func TestAFewNodesAreWithinAPercentOfTheFormula(t *testing.T) {
	for _, mode := range []placement.Mode{placement.Pooled, placement.Ring} {
		for _, nodes := range []int{1, 2, 4, 8} {
			c := cluster{nodes: nodes, mode: mode, link: Link{Link: placement.Link{Latency: 30e-6, Bandwidth: 50e9}}}.config(t)
			s, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := s.decode(t, tokens, 1).Median, c.Cost.Step(tokens).Seconds(); !within(got, want, 0.01) {
				t.Errorf("%v, %d nodes: a step takes %v, the formula says %v", mode, nodes, got, want)
			}
		}
	}
}

// TestAStarOfEqualNodesQueuesInTheOwnersPort: the queries leave one after another, and so the answers come; a
// partial result is the larger of the two, so all but the first query's bytes are hidden by them.
func TestAStarOfEqualNodesQueuesInTheOwnersPort(t *testing.T) {
	for _, perMessage := range []float64{0, 2e-6} {
		const nodes = 17
		link := fast
		link.PerMessage = perMessage
		c := cluster{nodes: nodes, mode: placement.Ring, context: nodes * 256, link: link}.config(t)
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		step, w := c.Cost.Step(nodes*256), c.Cost.Work()
		exchange := 2*link.Latency + link.occupies(float64(w.QueryBytes)) + (nodes-1)*link.occupies(float64(w.PartialBytes))
		want := step.Weights + step.KV + 32*exchange + merges(c, 1)
		got := s.decode(t, nodes*256, 1)
		if !near(got.Median, want) {
			t.Errorf("a step takes %v, want %v", got.Median, want)
		}
		if port := 32 * (nodes - 1) * link.occupies(float64(w.PartialBytes)); !near(got.Parts[OwnerPort], port) {
			t.Errorf("of it the owner's port takes %v, want %v", got.Parts[OwnerPort], port)
		}
	}
}

// TestASenderIsBusyForItsShareOfTheLatency: each query leaves that much later, and so answers come.
func TestASenderIsBusyForItsShareOfTheLatency(t *testing.T) {
	const nodes = 17
	took := func(sending float64) float64 {
		link := fast
		link.Sending = sending
		return cluster{nodes: nodes, mode: placement.Ring, context: nodes * 256, link: link}.simulation(t).decode(t, nodes*256, 1).Median
	}
	const sending = 20e-6 // more than a message is in a port
	w := cluster{nodes: 1, mode: placement.Ring}.config(t).Cost.Work()
	more := (nodes-2)*(sending+fast.occupies(float64(w.QueryBytes))) - (nodes-2)*fast.occupies(float64(w.PartialBytes))
	if got := took(sending) - took(0); !within(got, 32*more, 1e-6) {
		t.Errorf("a step takes %v longer, want %v", got, 32*more)
	}
}

func TestATreeOfTwoLevelsIsCountedByHand(t *testing.T) {
	const nodes = 7
	c := cluster{nodes: nodes, mode: placement.Ring, context: nodes * 256, arity: 2}.config(t)
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	step, w := c.Cost.Step(nodes*256), c.Cost.Work()
	q, p := fast.occupies(float64(w.QueryBytes)), fast.occupies(float64(w.PartialBytes))
	// Member 1 has the query after q, its first child 2q after that began; both children's answers queue at it, and then
	// its own and its sibling's at the owner.
	exchange := 4*fast.Latency + 2*q + 4*p
	want := step.Weights + step.KV + 32*exchange + merges(c, 2)
	if got := s.decode(t, nodes*256, 1).Median; !near(got, want) {
		t.Errorf("a step takes %v, want %v", got, want)
	}
}

// TestTheFormulaBoundsAStar: whatever the nodes are, the formula has one after another what can overlap.
func TestTheFormulaBoundsAStar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := cluster{nodes: rapid.IntRange(1, 12).Draw(t, "nodes"), mode: rapid.SampledFrom([]placement.Mode{placement.Pooled, placement.Ring}).Draw(t, "mode")}
		for range k.nodes {
			k.speeds = append(k.speeds, rapid.Float64Range(50e9, 1000e9).Draw(t, "bandwidth"))
		}
		k.link = Link{Link: placement.Link{Latency: rapid.Float64Range(0, 1e-3).Draw(t, "latency"), Bandwidth: rapid.Float64Range(1e8, 1e11).Draw(t, "link")}}
		at := rapid.IntRange(k.nodes*256, tokens).Draw(t, "context") // a block for each: a simulation asks all holders at any context
		c := k.config(t)
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		got, step := s.decode(t, at, 1), c.Cost.Step(at)
		if high := step.Seconds() + merges(c, k.nodes-1); got.Median > high*(1+1e-9) {
			t.Fatalf("a step takes %v, more than the formula and all merges, %v", got.Median, high)
		}
		if low := step.Seconds() - step.Exchange; got.Median < low*(1-1e-9) {
			t.Fatalf("a step takes %v, less than what it reads, %v", got.Median, low)
		}
		if !near(got.Parts.Seconds(), got.Median) {
			t.Fatalf("the parts of a step sum to %v of %v", got.Parts.Seconds(), got.Median)
		}
	})
}

func TestTheShapeOfTheTreeDecidesOnlyTheExchange(t *testing.T) {
	for _, arity := range []int{Star, 2, 3, 8, 99} {
		r := cluster{nodes: 20, mode: placement.Pooled, arity: arity}.simulation(t).decode(t, tokens, 1)
		if want := (cluster{nodes: 20, mode: placement.Pooled}).simulation(t).decode(t, tokens, 1); !near(r.Parts[Weights], want.Parts[Weights]) || !near(r.Parts[HandOver], want.Parts[HandOver]) {
			t.Errorf("arity %d: weights take %v, hand-overs %v; in a star %v, %v", arity, r.Parts[Weights], r.Parts[HandOver], want.Parts[Weights], want.Parts[HandOver])
		} else if arity == 99 && r != want {
			t.Errorf("a tree of one level takes %+v, a star %+v", r, want)
		}
	}
}

func TestWithoutNoiseAllStepsAreAlike(t *testing.T) {
	r := cluster{nodes: 5, mode: placement.Pooled}.simulation(t).decode(t, tokens, 7)
	if one := (cluster{nodes: 5, mode: placement.Pooled}).simulation(t).decode(t, tokens, 1); r.Median != r.P99 || r.Median != one.Median {
		t.Errorf("seven steps take %v and %v, one %v", r.Median, r.P99, one.Median)
	}
	if r.Parts[Stragglers] != 0 || r.Parts[Jitter] != 0 {
		t.Errorf("noise takes %v", r.Parts)
	}
}

// noisy has everything that is drawn.
func noisy(nodes, arity int, seed uint64) cluster {
	link := fast
	link.Jitter = 5e-6
	return cluster{nodes: nodes, mode: placement.Pooled, link: link, arity: arity, seed: seed, noise: Noise{Stragglers: 0.1, Slowdown: 1.5, Uneven: 0.02}}
}

func TestASeedDecidesEverything(t *testing.T) {
	for _, arity := range []int{Star, 4} {
		s := noisy(24, arity, 7).simulation(t)
		first := s.decode(t, tokens, 20)
		if again := s.decode(t, tokens, 20); again != first {
			t.Errorf("the same simulation gives %+v, then %+v", first, again)
		}
		if again := noisy(24, arity, 7).simulation(t).decode(t, tokens, 20); again != first {
			t.Errorf("the same seed gives %+v, then %+v", first, again)
		}
		if other := noisy(24, arity, 8).simulation(t).decode(t, tokens, 20); other == first {
			t.Error("another seed gives the same")
		}
		if first.P99 <= first.Median {
			t.Errorf("the median is %v, the 99th percentile %v", first.Median, first.P99)
		}
		if a, b := s.read(t, 20000), s.read(t, 20000); a != b {
			t.Errorf("prefill gives %+v, then %+v", a, b)
		}
	}
}

// TestAStepIsTheSumOfItsParts, with noise too: the path that decided is whole.
func TestAStepIsTheSumOfItsParts(t *testing.T) {
	for _, arity := range []int{Star, 2, 8} {
		r := noisy(24, arity, 1).simulation(t).decode(t, tokens, 1)
		if !near(r.Parts.Seconds(), r.Median) {
			t.Errorf("arity %d: a step takes %v, its parts %v", arity, r.Median, r.Parts.Seconds())
		}
		if r.Parts[Stragglers] <= 0 || r.Parts[Jitter] <= 0 {
			t.Errorf("arity %d: noise takes nothing: %v", arity, r.Parts)
		}
	}
}

func TestIfAllAreStragglersAllComputingTakesLonger(t *testing.T) {
	calm := cluster{nodes: 8, mode: placement.Pooled}.simulation(t).decode(t, tokens, 1)
	slow := cluster{nodes: 8, mode: placement.Pooled, noise: Noise{Stragglers: 1, Slowdown: 3}}.simulation(t).decode(t, tokens, 1)
	computing := calm.Parts[Weights] + calm.Parts[KV] + calm.Parts[Merge]
	if !near(slow.Median, calm.Median+2*computing) || !near(slow.Parts[Stragglers], 2*computing) {
		t.Errorf("a step takes %v, of it stragglers %v; without %v, of which %v is computing", slow.Median, slow.Parts[Stragglers], calm.Median, computing)
	}
}

// TestOneStragglerHoldsUpAll: pooled waits for the slowest holder in every layer, pipeline for it in its own
// layers only.
func TestOneStragglerHoldsUpAll(t *testing.T) {
	lost := map[placement.Mode]float64{}
	for _, mode := range []placement.Mode{placement.Pipeline, placement.Pooled} {
		calm := cluster{nodes: 8, mode: mode}.simulation(t).decode(t, tokens, 1)
		slow := cluster{nodes: 8, mode: mode, noise: Noise{Stragglers: 0.125, Slowdown: 2}}.simulation(t).decode(t, tokens, 1)
		lost[mode] = slow.Median/calm.Median - 1
		if kv := calm.Parts[KV]; mode == placement.Pooled && slow.Parts[Stragglers] < kv {
			t.Errorf("a straggler of factor 2 adds %v to %v of attention", slow.Parts[Stragglers], kv)
		}
	}
	if !within(lost[placement.Pipeline], 1./8, 0.05) {
		t.Errorf("in pipeline one of eight nodes adds %v", lost[placement.Pipeline])
	}
}

func TestAWindowIsNotExchanged(t *testing.T) {
	windows := make([]int, 32)
	for l := range windows {
		windows[l] = 128
	}
	c := cluster{nodes: 8, mode: placement.Pooled, windows: windows}.config(t)
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := s.decode(t, tokens, 1)
	if r.Parts[Latency] != 0 || r.Parts[OwnerPort] != 0 || !near(r.Median, c.Cost.Step(tokens).Seconds()) {
		t.Errorf("a step takes %+v, the formula says %v", r, c.Cost.Step(tokens).Seconds())
	}
}

// TestAThousandNodesStopAtTheOwnersPort, and a tree takes that away.
func TestAThousandNodesStopAtTheOwnersPort(t *testing.T) {
	k := noisy(1024, Star, 1)
	k.context = 1 << 20
	star := k.simulation(t).decode(t, k.context, 3)
	if star.Parts.Largest() != OwnerPort {
		t.Errorf("a star of 1,024 waits most for %v: %v", star.Parts.Largest(), star.Parts)
	}
	arity, err := BestArity(t.Context(), k.config(t), k.context, 1)
	if err != nil {
		t.Fatal(err)
	}
	k.arity = arity
	tree := k.simulation(t).decode(t, k.context, 3)
	t.Logf("star %.1f ms, tree of %d %.1f ms", 1e3*star.Median, arity, 1e3*tree.Median)
	if tree.Median > star.Median/2 || tree.Parts[OwnerPort] > star.Parts[OwnerPort]/5 {
		t.Errorf("a tree of %d takes %v: %v", arity, tree.Median, tree.Parts)
	}
}

// TestAStarIsFastestAtTheSquareRootOfItsCacheOverItsPort: N nodes read the cache in K/N and queue N messages of p in
// each of L layers, so the sum is least at N = sqrt(K/(L p)), whatever the latency is.
func TestAStarIsFastestAtTheSquareRootOfItsCacheOverItsPort(t *testing.T) {
	const context = 1 << 19
	for _, latency := range []float64{5e-6, 200e-6} {
		k := cluster{nodes: 1, mode: placement.Ring, context: context, link: Link{Link: placement.Link{Latency: latency, Bandwidth: 5e9}, PerMessage: 1e-6}}
		c := k.config(t)
		port := 32 * k.link.occupies(float64(c.Cost.Work().PartialBytes))
		best := int(math.Sqrt(c.Cost.Step(context).KV / port))
		took := func(nodes int) float64 {
			k.nodes = nodes
			return k.simulation(t).decode(t, context, 1).Median
		}
		if at := took(best); at > took(best*3/4) || at > took(best*4/3) {
			t.Errorf("with a latency of %v: %d nodes take %v, %d %v, %d %v", latency, best, at, best*3/4, took(best*3/4), best*4/3, took(best*4/3))
		}
	}
}

func TestTheBestArityIsBest(t *testing.T) {
	k := cluster{nodes: 40, mode: placement.Ring}
	best, err := BestArity(t.Context(), k.config(t), tokens, 1)
	if err != nil {
		t.Fatal(err)
	}
	k.arity = best
	least := k.simulation(t).decode(t, tokens, 1).Median
	for _, k.arity = range arities(40) {
		if took := k.simulation(t).decode(t, tokens, 1).Median; took < least {
			t.Errorf("with arity %d a step takes %v, with the best, %d, %v", k.arity, took, best, least)
		}
	}
}

func TestBadConfigsAreNamed(t *testing.T) {
	good := cluster{nodes: 2, mode: placement.Pooled}.config(t)
	for want, change := range map[string]func(*Config){
		"needs a Cost":         func(c *Config) { c.Cost = nil },
		"need a link":          func(c *Config) { c.Links = nil },
		"negative time":        func(c *Config) { c.Links = []Link{{Link: fast.Link, Jitter: -1}} },
		"arity of -1":          func(c *Config) { c.Arity = -1 },
		"share of stragglers":  func(c *Config) { c.Noise.Stragglers = 1.5 },
		"take 0.5 times as":    func(c *Config) { c.Noise = Noise{Stragglers: 0.5, Slowdown: 0.5} },
		"uneven -0.1 is not 0": func(c *Config) { c.Noise.Uneven = -0.1 },
		"no bandwidth":         func(c *Config) { c.Links = []Link{{}} },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, arity := range []int{Star, 8} {
		b.Run(fmt.Sprintf("1024 nodes, arity %d", arity), func(b *testing.B) {
			k := noisy(1024, arity, 1)
			k.context = 1 << 20
			s := k.simulation(b)
			b.ReportAllocs()
			for b.Loop() {
				s.decode(b, k.context, 1)
			}
		})
	}
}
