package placement

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestABatchOfOneIsAStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		c := d.cost(t, d.plan(t, d.r.Mode))
		context := rapid.IntRange(0, 60).Draw(t, "context")
		if b, s := c.Batch([]int{context}), c.Step(context); b.Step != s || b.Seconds() != s.Seconds() || b.Rows != 1 {
			t.Fatalf("%+v, want %+v", b, s)
		}
	})
}

// Together they are done no later than one after the other, and one more in as many steps makes nobody faster.
func TestSequencesTogetherAreFasterThanOneByOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		c := d.cost(t, d.plan(t, d.r.Mode))
		all := len(c.order) * c.block // from there on every holder has a block
		contexts := rapid.SliceOfN(rapid.IntRange(all, all+60), 1, 20).Draw(t, "contexts")
		b, alone := c.Batch(contexts), 0.0
		for _, context := range contexts {
			alone += c.Step(context).Seconds()
		}
		if !noSlower(b.Seconds(), alone) {
			t.Fatalf("together a round takes %v s, one after the other %v: %+v", b.Seconds(), alone, b)
		}
		same := slices.Repeat(contexts[:1], len(contexts))
		before, after := c.Batch(same), c.Batch(append(same, contexts[0]))
		if before.Steps == after.Steps && !noSlower(before.Seconds(), after.Seconds()) {
			t.Fatalf("a round of %d sequences takes %v s, and of one more %v", len(same), before.Seconds(), after.Seconds())
		}
		if b.Steps*BatchRows < len(contexts) || b.Flights > len(c.owners) || b.Flights > b.Steps || !near(b.Rows*float64(b.Steps), float64(len(contexts))) {
			t.Fatalf("%+v of %d sequences on %d nodes", b, len(contexts), len(c.owners))
		}
	})
}

// The formulas of package batching: W + N A on one node, and W + N A/K on K that have as much to do.
func TestARoundIsTheFormulaOfBatching(t *testing.T) {
	for _, nodes := range []int{1, 2, 4} {
		rates := slices.Repeat([]Rates{rated(1e9, 1e9)}, nodes)
		r, w := fourLayers(Pipeline, rates...)
		r.Model.HeadBytes, w.HeadRead = 0, 0
		c := costOf(t, r, w, mesh(nodes, Link{Bandwidth: 1e15}), 1)
		const context, n = 2000, 8
		weights, attention := 4.0*(1<<20)/1e9, 4*context*1024/1e9
		b := c.Batch(slices.Repeat([]int{context}, n))
		if got, want := b.Seconds(), weights+n*attention/float64(nodes); math.Abs(got/want-1) > 1e-6 || b.Flights != nodes {
			t.Errorf("on %d nodes a round takes %v s with %d steps in flight, want %v", nodes, got, b.Flights, want)
		}
		if got, want := b.Rate(), n/b.Seconds(); got != want {
			t.Errorf("%v tokens/s, want %v", got, want)
		}
	}
}

// With several sequences every node has something to do in pipeline, too, and pooled only adds exchanges.
func TestPooledGainsNothingWhereAllNodesAreBusy(t *testing.T) {
	step := func(mode Mode, contexts []int) float64 {
		r, w := fourLayers(mode, rated(1e9, 1e9), rated(1e9, 1e9))
		c := costOf(t, r, w, mesh(2, Link{Latency: 1e-5, Bandwidth: 1e9}), 1)
		b := c.Batch(contexts)
		return b.Seconds()
	}
	one, four := []int{4000}, []int{4000, 4000, 4000, 4000}
	if a, b := step(Pipeline, one), step(Pooled, one); !(b < a) {
		t.Errorf("one sequence takes %v s in pipeline and %v in pooled", a, b)
	}
	if a, b := step(Pipeline, four), step(Pooled, four); !(b > a*(1-1e-9)) {
		t.Errorf("four sequences take %v s in pipeline and %v in pooled", a, b)
	}
}

func TestProductsOfSeveralTokensTakeAsLongAsReadingOrComputing(t *testing.T) {
	rates := rated(1e9, 4e9)
	rates.Cached = [7]float64{} // all comes from memory
	rates.Rows = [7]float64{8, 16}
	r, w := fourLayers(Pipeline, rates)
	weights := func(n int) float64 {
		c := costOf(t, r, w, mesh(1, Link{}), 1)
		return c.Batch(slices.Repeat([]int{0}, n)).Step.Weights
	}
	one := 5.0 * (1 << 20) / 1e9
	for n, want := range map[int]float64{1: one, 2: one, 4: one, 8: 2 * one} { // from the caches one takes a quarter, and eight eight times as long
		if got := weights(n); !near(got, want) {
			t.Errorf("with %d tokens weights take %v s, want %v", n, got, want)
		}
	}
	w.HeadIn = map[string]int64{"Q8_0": w.HeadRead}
	for l := range w.ReadBytes {
		w.ReadIn = append(w.ReadIn, map[string]int64{"Q8_0": w.ReadBytes[l]})
	}
	if got := weights(8); !near(got, 4*one) {
		t.Errorf("in Q8_0 weights take %v s, want %v", got, 4*one)
	}
	rates.Rows = [7]float64{}
	r, _ = fourLayers(Pipeline, rates)
	if got := weights(8); !near(got, one) {
		t.Errorf("where it is not known how long computing takes, weights take %v s, want %v", got, one)
	}
}

func TestTokensGoToOtherExperts(t *testing.T) {
	r, w := fourLayers(Pipeline, rated(1e9, 1e9))
	w.HeadRead = 0
	w.ExpertShare = make([]float64, 4)
	for l := range w.ReadBytes {
		w.ReadBytes[l], w.ExpertShare[l] = 1<<19, 0.25 // a third of the layer is not routed
	}
	c := costOf(t, r, w, mesh(1, Link{}), 1)
	read := func(n int) float64 { return c.Batch(slices.Repeat([]int{0}, n)).Step.Weights * 1e9 / 4 }
	for n, want := range map[int]float64{1: 1 << 19, 2: 1<<19 + (1<<19)*0.25, 3: 1<<19 + (1<<19)*(1-0.75*0.75)} {
		if got := read(n); !near(got, want) {
			t.Errorf("%d tokens read %v bytes of a layer, want %v", n, got, want)
		}
	}
	w.ExpertShare[2] = 2
	if _, err := NewCost(r, c.plan, w, mesh(1, Link{}), 1); err == nil {
		t.Error("a token goes to twice as many experts as there are")
	}
}

func TestStepsThatAreInFlightTogetherShareMemory(t *testing.T) {
	r, w := fourLayers(Pipeline, rated(1e9, 1e9), rated(1e9, 1e9))
	for i := range r.Nodes {
		r.Nodes[i].Machine, r.Nodes[i].CPUs = "x", string(rune('0'+i))
	}
	contexts := []int{4000, 4000}
	c := costOf(t, r, w, mesh(2, Link{Bandwidth: 1e9}), 1)
	alone, one := c.Batch(contexts), c.Step(4000)
	sharing := Sharing{Slower: 1}
	for i := range sharing.Bytes {
		sharing.Bytes[i], sharing.Every[i] = float64(i+1)*(1<<20), float64(i+1)*1e-3
	}
	once := sharing
	once.Slower = 2
	if err := c.ShareMemory(slices.Repeat([]Together{{Turn: sharing, Once: once, Ring: once}}, 2)); err != nil {
		t.Fatal(err)
	}
	if s := c.Step(4000); !near(s.Seconds(), one.Seconds()) {
		t.Errorf("one sequence takes %v s, and %v where several would share memory", one.Seconds(), s.Seconds())
	}
	if b := c.Batch(contexts); !near(b.Step.Weights+b.Step.KV, 2*(alone.Step.Weights+alone.Step.KV)) {
		t.Errorf("reading takes %v s with memory that is half as fast for two, %v with one of their own", b.Step.Weights+b.Step.KV, alone.Step.Weights+alone.Step.KV)
	}
	for i := range r.Nodes {
		r.Nodes[i].CPUs = "0"
	}
	c = costOf(t, r, w, mesh(2, Link{Bandwidth: 1e9}), 1)
	if b := c.Batch(contexts); b.Seconds() < 2*(b.Step.Weights+b.Step.KV) {
		t.Errorf("nodes on the same processors take %v s for a round of two steps of %v", b.Seconds(), b.Step.Weights+b.Step.KV)
	}
}
