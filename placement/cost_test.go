package placement

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// workOf is the work of a dense model of the same sizes: all weights are read, two operations each.
func workOf(m Model) Work {
	w := Work{HeadRead: m.HeadBytes, HeadFLOPs: 2 * float64(m.HeadBytes), HiddenBytes: 1 << 14, QueryBytes: 1 << 15, PartialBytes: 1<<15 + 512}
	for l, b := range m.LayerBytes {
		w.ReadBytes = append(w.ReadBytes, b)
		w.TokenFLOPs = append(w.TokenFLOPs, 2*float64(b))
		w.PairFLOPs = append(w.PairFLOPs, 8*float64(m.KVBytesPerToken[l]))
	}
	return w
}

// mesh links all nodes alike.
func mesh(n int, l Link) [][]Link {
	links := make([][]Link, n)
	for i := range links {
		links[i] = slices.Repeat([]Link{l}, n)
	}
	return links
}

var thunderbolt = Link{Latency: 30e-6, Bandwidth: 6e9}

// costOf predicts r's own mode.
func costOf(t interface{ Fatal(...any) }, r Request, w Work, links [][]Link, efficiency float64) *Cost {
	p, err := Place(r)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCost(r, p, w, links, efficiency)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// quick gives studios FLOPS enough that decode is reading.
func quick(mode Mode, big, small int64) Request {
	r := request(mode, big, small)
	for i := range r.Nodes {
		r.Nodes[i].FLOPS = r.Nodes[i].Bandwidth * 40
	}
	return r
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b), 1e-30) }

func TestAStepIsTheFormulaOfTheDesign(t *testing.T) {
	const context, efficiency = 104000, 0.47
	m := llama()
	work := workOf(m)
	a := thunderbolt.Latency + float64(work.HiddenBytes)/thunderbolt.Bandwidth
	exchange := 2*thunderbolt.Latency + 2*float64(work.QueryBytes+work.PartialBytes)/thunderbolt.Bandwidth
	const fast, slow = 546e9 * efficiency, 273e9 * efficiency
	layer, head, kv := float64(m.LayerBytes[0]), float64(m.HeadBytes), 80*4096.0
	split := 64*layer/fast + (16*layer+head)/slow
	for mode, want := range map[Mode]Step{
		Pipeline: {Weights: split, KV: context * kv * (0.8/fast + 0.2/slow), HandOver: 3 * a},
		Pooled:   {Weights: split, KV: context * kv / (2*fast + slow), Exchange: 80 * exchange, HandOver: 3 * a},
		Ring:     {Weights: (80*layer + head) / fast, KV: context * kv / (2*fast + slow), Exchange: 80 * exchange},
	} {
		got := costOf(t, quick(mode, 300*gib, 300*gib), work, mesh(3, thunderbolt), efficiency).Step(context)
		if !near(got.Weights, want.Weights) || !near(got.KV, want.KV) || !near(got.Exchange, want.Exchange) || !near(got.HandOver, want.HandOver) {
			t.Errorf("%v takes %+v, want %+v", mode, got, want)
		}
	}
}

func TestOneNodeExchangesNothing(t *testing.T) {
	for _, mode := range []Mode{Pipeline, Pooled, Ring} {
		r := quick(mode, 300*gib, 300*gib)
		r.Nodes = r.Nodes[:1]
		c := costOf(t, r, workOf(r.Model), mesh(1, Link{}), 1)
		if s := c.Step(1000); s.Exchange != 0 || s.HandOver != 0 || c.Exchange() != 0 || !(s.KV > 0) {
			t.Errorf("%v takes %+v", mode, s)
		}
		if p := c.Prefill(5000); p.Waiting != 0 || !(p.Seconds > 0) {
			t.Errorf("%v prefill takes %+v", mode, p)
		}
	}
}

func TestAWindowedLayerReadsNoMoreThanItsWindow(t *testing.T) {
	r := quick(Pooled, 300*gib, 300*gib)
	work := workOf(r.Model)
	full := costOf(t, r, work, mesh(3, thunderbolt), 1)
	r.Model.Windows = make([]int, 80)
	for l := 0; l < 80; l += 2 {
		r.Model.Windows[l] = 128
	}
	half := costOf(t, r, work, mesh(3, thunderbolt), 1)
	a, b := full.Step(100128).KV-full.Step(128).KV, half.Step(100128).KV-half.Step(128).KV
	if !near(a, 2*b) {
		t.Errorf("beyond the window the context costs %v of %v, want half", b, a)
	}
	if x, y := full.Step(1).Exchange, half.Step(1).Exchange; !near(x, 2*y) {
		t.Errorf("exchanges take %v of %v, want half: windows stay with the owner", y, x)
	}
	if half.Prefill(50000).Seconds >= full.Prefill(50000).Seconds {
		t.Error("prefill is no faster with windows")
	}
}

func TestAttentionThatComputesMoreThanItReadsIsBoundByComputing(t *testing.T) {
	r := quick(Pipeline, 300*gib, 300*gib)
	work := workOf(r.Model)
	for l := range work.PairFLOPs {
		work.PairFLOPs[l] = 400 * 4096 // ten times what a node of 40 operations a byte does meanwhile
	}
	slow := costOf(t, r, work, mesh(3, thunderbolt), 1).Step(1000).KV
	fast := costOf(t, r, workOf(r.Model), mesh(3, thunderbolt), 1).Step(1000).KV
	if !near(slow, 10*fast) {
		t.Errorf("attention takes %v, want ten times %v", slow, fast)
	}
}

// TestPassKVIsHiddenWhenTheRoundIsLongEnough holds the ring against the published condition,
// T >= N F n_kv e / (2 n_h BW), which is on the safe side of ours.
func TestPassKVIsHiddenWhenTheRoundIsLongEnough(t *testing.T) {
	const heads, kvHeads, headDim, nodes, speed, wire = 64, 8, 128, 4, 20e12, 2e9
	m := Model{Name: "one", LayerBytes: []int64{1}, KVBytesPerToken: []int64{2 * kvHeads * headDim * 2}}
	work := Work{ReadBytes: []int64{1}, TokenFLOPs: []float64{1}, PairFLOPs: []float64{4 * heads * headDim}}
	enough := int(math.Ceil(nodes * speed * kvHeads * 2 / (2 * heads * wire)))
	for _, k := range []struct {
		round  int
		hidden bool
	}{{enough, true}, {enough / 2, false}} {
		r := Request{Model: m, Mode: Ring, Context: 1 << 20, Sequences: 1, Chunk: k.round / nodes, BlockTokens: 1}
		for i := range nodes {
			r.Nodes = append(r.Nodes, Node{Name: string(rune('a' + i)), Memory: 100 * gib, Bandwidth: 1e15, FLOPS: speed})
		}
		c := costOf(t, r, work, mesh(nodes, Link{Bandwidth: wire}), 1)
		// The rounds after the first, whose own triangle is small beside what came before.
		p, first := c.Prefill(1<<20), c.Prefill(1<<16)
		if waited := p.Waiting - first.Waiting; (waited < 1e-6*p.Seconds) != k.hidden {
			t.Errorf("with rounds of %d tokens, waiting is %v of %v s; hidden should be %v", k.round, waited, p.Seconds, k.hidden)
		}
	}
}

// drawn is a request that fits, with its work, links and efficiency.
type drawn struct {
	r          Request
	w          Work
	links      [][]Link
	efficiency float64
}

func draw(t *rapid.T) drawn {
	d := drawn{r: small(t), efficiency: rapid.Float64Range(0.1, 1).Draw(t, "efficiency")}
	d.r.Overrides = nil
	bytes := rapid.Int64Range(0, 100)
	for _, b := range d.r.Model.LayerBytes {
		d.w.ReadBytes = append(d.w.ReadBytes, rapid.Int64Range(0, b).Draw(t, "read"))
		d.w.TokenFLOPs = append(d.w.TokenFLOPs, rapid.Float64Range(0, 100).Draw(t, "operations"))
		d.w.PairFLOPs = append(d.w.PairFLOPs, rapid.Float64Range(0, 20).Draw(t, "pair"))
	}
	d.w.HeadRead, d.w.HiddenBytes = bytes.Draw(t, "head"), bytes.Draw(t, "hidden")
	d.w.QueryBytes, d.w.PartialBytes = bytes.Draw(t, "query"), bytes.Draw(t, "partial")
	n := len(d.r.Nodes)
	for i := range n {
		d.r.Nodes[i].Memory = gib
		d.r.Nodes[i].FLOPS = rapid.Float64Range(1, 99).Draw(t, "speed")
		d.links = append(d.links, make([]Link, n))
		for j := range n {
			d.links[i][j] = Link{Latency: rapid.Float64Range(0, 5).Draw(t, "latency"), Bandwidth: rapid.Float64Range(1, 99).Draw(t, "wire")}
		}
	}
	return d
}

func (d *drawn) cost(t *rapid.T, p *Plan) *Cost {
	c, err := NewCost(d.r, p, d.w, d.links, d.efficiency)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (d *drawn) plan(t *rapid.T, mode Mode) *Plan {
	r := d.r
	r.Mode = mode
	p, err := Place(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// noSlower allows for rounding.
func noSlower(a, b float64) bool { return a <= b*(1+1e-12) }

func TestALongerContextIsNeverFaster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		c := d.cost(t, d.plan(t, d.r.Mode))
		a := rapid.IntRange(1, 60).Draw(t, "context")
		b := a + rapid.IntRange(1, 60).Draw(t, "more")
		byWeight := func(context int) float64 { return c.stepOf(context, true).Seconds() }
		if !noSlower(byWeight(a), byWeight(b)) {
			t.Fatalf("a step takes %v s at %d and %v s at %d", byWeight(a), a, byWeight(b), b)
		}
		// Before there is a block for each holder one more token can let another one attend, too.
		if all := len(c.order) * c.block; a >= all && !noSlower(c.Step(a).Seconds(), c.Step(b).Seconds()) {
			t.Fatalf("a step takes %v at %d and %v at %d", c.Step(a), a, c.Step(b), b)
		}
		if !noSlower(c.Prefill(a).Seconds, c.Prefill(b).Seconds) {
			t.Fatalf("prefill takes %v at %d and %v at %d", c.Prefill(a), a, c.Prefill(b), b)
		}
		if p := c.Prefill(b); !noSlower(p.Waiting, p.Seconds) || p.Waiting < 0 {
			t.Fatalf("of %v s, %v are waiting", p.Seconds, p.Waiting)
		}
	})
}

func TestFasterHardwareIsNeverSlowerForThePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		p := d.plan(t, d.r.Mode)
		before := d.cost(t, p)
		n := len(d.r.Nodes)
		i, j := rapid.IntRange(0, n-1).Draw(t, "node"), rapid.IntRange(0, n-1).Draw(t, "peer")
		factor := rapid.Float64Range(1, 9).Draw(t, "factor")
		d.r.Nodes = slices.Clone(d.r.Nodes)
		switch rapid.IntRange(0, 4).Draw(t, "what") {
		case 0:
			d.r.Nodes[i].Bandwidth *= factor
		case 1:
			d.r.Nodes[i].FLOPS *= factor
		case 2:
			d.links[i][j].Bandwidth *= factor
		case 3:
			d.links[i][j].Latency /= factor
		case 4:
			d.efficiency = min(1, d.efficiency*factor)
		}
		after := d.cost(t, p)
		context := rapid.IntRange(1, 60).Draw(t, "context")
		if a, b := after.Step(context).Seconds(), before.Step(context).Seconds(); !noSlower(a, b) {
			t.Fatalf("a step took %v and now takes %v", b, a)
		}
		if a, b := after.Prefill(context).Seconds, before.Prefill(context).Seconds; !noSlower(a, b) {
			t.Fatalf("prefill took %v and now takes %v", b, a)
		}
	})
}

func TestCrossoverIsWhereTheCurvesCross(t *testing.T) {
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		modes := []Mode{Pipeline, Pooled, Ring}
		from := d.cost(t, d.plan(t, rapid.SampledFrom(modes).Draw(t, "from")))
		to := d.cost(t, d.plan(t, rapid.SampledFrom(modes).Draw(t, "to")))
		slower := func(s int) bool { return to.stepOf(s, true).Seconds() > from.stepOf(s, true).Seconds() }
		s, ok := Crossover(from, to, 1)
		if !ok {
			if !slower(rapid.IntRange(0, 1000).Draw(t, "context")) {
				t.Fatal("there is a crossover")
			}
			return
		}
		if slower(s) || s > 0 && !slower(s-1) {
			t.Fatalf("at %d: %v to %v; before: %v to %v", s, from.Step(s).Seconds(), to.Step(s).Seconds(), from.Step(s-1).Seconds(), to.Step(s-1).Seconds())
		}
		if s > 0 {
			found++
		}
	})
	if found == 0 {
		t.Error("no crossover was drawn: the test shows nothing")
	}
}

func TestCrossoverIsTheFormulaOfTheDesign(t *testing.T) {
	work := workOf(llama())
	pipeline := costOf(t, quick(Pipeline, 300*gib, 300*gib), work, mesh(3, thunderbolt), 1)
	pooled := costOf(t, quick(Pooled, 300*gib, 300*gib), work, mesh(3, thunderbolt), 1)
	exchange := 2*thunderbolt.Latency + 2*float64(work.QueryBytes+work.PartialBytes)/thunderbolt.Bandwidth
	want := 80 * exchange / (80 * 4096 * (0.8/546e9 + 0.2/273e9 - 1/1365e9))
	if got, ok := Crossover(pipeline, pooled, 1); !ok || math.Abs(float64(got)-want) > 1 {
		t.Errorf("crossover at %d, want %v", got, want)
	}
}

// TestMovingBytesBetweenEqualNodesChangesNothing swaps what two equal nodes hold.
func TestMovingBytesBetweenEqualNodesChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		n := len(d.r.Nodes)
		if n < 2 {
			t.Skip("one node")
		}
		for i := range n { // all alike
			d.r.Nodes[i].Bandwidth, d.r.Nodes[i].FLOPS = d.r.Nodes[0].Bandwidth, d.r.Nodes[0].FLOPS
			for j := range n {
				d.links[i][j] = Link{Latency: 1, Bandwidth: 7}
			}
		}
		p := d.plan(t, d.r.Mode)
		before := d.cost(t, p)
		moved := *p
		moved.Shares = slices.Clone(p.Shares)
		a, b := &moved.Shares[0], &moved.Shares[1]
		a.Blocks, b.Blocks = b.Blocks, a.Blocks
		a.TokenWeight, b.TokenWeight = b.TokenWeight, a.TokenWeight
		after := d.cost(t, &moved)
		context := n*d.r.BlockTokens + rapid.IntRange(0, 60).Draw(t, "context") // a block for each
		x, y := before.Step(context), after.Step(context)
		if x.Weights != y.Weights || !near(x.KV, y.KV) || x.HandOver != y.HandOver {
			t.Fatalf("moving tokens changes %+v to %+v", x, y)
		}
		if d.r.Mode == Pipeline {
			if x != y || before.Prefill(context) != after.Prefill(context) {
				t.Fatalf("tokens count in pipeline: %+v, %+v", x, y)
			}
			// A layer to the neighbour: the same bytes are read, at the same speed.
			if a.Layers.Len() > 1 && b.Layers.Len() > 0 {
				a.Layers.End--
				b.Layers.First--
				z := d.cost(t, &moved).Step(context)
				if !near(x.Weights, z.Weights) || !near(x.KV, z.KV) || x.HandOver != z.HandOver {
					t.Fatalf("moving a layer changes %+v to %+v", x, z)
				}
			}
		}
	})
}

func TestPairsAreACausalTriangle(t *testing.T) {
	for _, k := range []struct {
		n, p, window int
		want         float64
	}{{3, 0, 0, 6}, {3, 5, 0, 21}, {3, 0, 2, 5}, {3, 5, 2, 6}, {1, 1, 4, 2}, {4, 2, 4, 15}} {
		if got := pairs(k.n, k.p, k.window); got != k.want {
			t.Errorf("%d tokens after %d with a window of %d make %v pairs, want %v", k.n, k.p, k.window, got, k.want)
		}
	}
}

func TestBadCostsNameTheField(t *testing.T) {
	for want, spoil := range map[string]func(*Request, *Work, [][]Link, *float64){
		"efficiency 0":   func(_ *Request, _ *Work, _ [][]Link, e *float64) { *e = 0 },
		"efficiency NaN": func(_ *Request, _ *Work, _ [][]Link, e *float64) { *e = math.NaN() },
		"node macbook: no rates were measured of it, and FLOPS 0": func(r *Request, _ *Work, _ [][]Link, _ *float64) { r.Nodes[2].FLOPS = 0 },
		"macbook to studio1: bandwidth":                           func(_ *Request, _ *Work, l [][]Link, _ *float64) { l[2][0].Bandwidth = 0 },
		"latency -1":                                              func(_ *Request, _ *Work, l [][]Link, _ *float64) { l[0][1].Latency = -1 },
		"links to 1 of 3":                                         func(_ *Request, _ *Work, l [][]Link, _ *float64) { l[0] = l[0][:1] },
		"PairFLOPs is of 79":                                      func(_ *Request, w *Work, _ [][]Link, _ *float64) { w.PairFLOPs = w.PairFLOPs[1:] },
		"ReadBytes":                                               func(_ *Request, w *Work, _ [][]Link, _ *float64) { w.ReadBytes[7]++ },
		"TokenFLOPs -1":                                           func(_ *Request, w *Work, _ [][]Link, _ *float64) { w.TokenFLOPs[7] = -1 },
		"QueryBytes -1":                                           func(_ *Request, w *Work, _ [][]Link, _ *float64) { w.QueryBytes = -1 },
		"HeadFLOPs NaN":                                           func(_ *Request, w *Work, _ [][]Link, _ *float64) { w.HeadFLOPs = math.NaN() },
		"Context 0":                                               func(r *Request, _ *Work, _ [][]Link, _ *float64) { r.Context = 0 },
	} {
		r := quick(Pooled, 300*gib, 300*gib)
		p := place(t, r)
		w, links, efficiency := workOf(r.Model), mesh(3, thunderbolt), 0.5
		spoil(&r, &w, links, &efficiency)
		if _, err := NewCost(r, p, w, links, efficiency); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
