package simulate

import (
	"testing"

	"github.com/orrery-ai/orrery/placement"
)

// both gives a configuration and a simulation of it.
func (c cluster) both(t fatal) (Config, *Simulation) {
	t.Helper()
	config := c.config(t)
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return config, s
}

// formula is the speed of placement's formula over a whole prompt.
func formula(c Config, tokens int) float64 { return float64(tokens) / c.Cost.Prefill(tokens).Seconds }

const prompt = 1 << 18

// TestPrefillInPipelineIsTheFormula, which has besides the time until all owners have work.
func TestPrefillInPipelineIsTheFormula(t *testing.T) {
	for _, nodes := range []int{1, 2, 5} {
		c, s := cluster{nodes: nodes, mode: placement.Pipeline, context: prompt, speeds: []float64{400e9, 200e9, 300e9, 400e9, 100e9}[:nodes]}.both(t)
		got := s.read(t, prompt)
		if want := formula(c, prompt); !within(got.Rate, want, 0.03) {
			t.Errorf("%d nodes read %v tokens/s, the formula says %v", nodes, got.Rate, want)
		}
		slowest, where := 0.0, 0
		for _, st := range c.Cost.Stages() {
			took := 0.0
			for l := st.Layers.First; l < st.Layers.End; l++ {
				took += c.Cost.Products(st.Node, l, 1024) + c.Cost.Attention(st.Node, l, (prompt+1024)/2, placement.Pairs(1024, (prompt-1024)/2, 0))
			}
			if took > slowest {
				slowest, where = took, st.Node
			}
		}
		if !within(got.Rate, 1024/slowest, 0.02) || got.Load.Node != where || got.Load.Share < 0.99 {
			t.Errorf("%d nodes read %v tokens/s, the slowest, %d, %v; busiest is %+v", nodes, got.Rate, where, 1024/slowest, got.Load)
		}
	}
}

// TestPrefillInPooledIsNearTheFormula, which has a holder answer at once and bounds the pace by what the
// busiest node has to do; here holders answer when they have done what came before.
func TestPrefillInPooledIsNearTheFormula(t *testing.T) {
	for _, nodes := range []int{1, 2, 4} {
		c, s := cluster{nodes: nodes, mode: placement.Pooled, context: prompt}.both(t)
		got, want := s.read(t, prompt), formula(c, prompt)
		t.Logf("%d nodes: %.0f tokens/s, the formula says %.0f; busiest %+v", nodes, got.Rate, want, got.Load)
		if !within(got.Rate, want, 0.05) {
			t.Errorf("%d nodes read %v tokens/s, the formula says %v", nodes, got.Rate, want)
		}
	}
}

// TestPrefillInRingIsTheFormula, where computing hides transfers, and where it hides nothing. In between a hop
// takes the longer of the two, and the formula has all hops together hide behind all attention.
func TestPrefillInRingIsTheFormula(t *testing.T) {
	for name, k := range map[string]struct {
		link    Link
		what    string
		waiting bool
	}{
		"hidden": {Link{Link: placement.Link{Latency: 30e-6, Bandwidth: 50e9}}, "matrix products", false},
		"bare":   {Link{Link: placement.Link{Bandwidth: 2e7}}, "ports", true},
	} {
		for _, nodes := range []int{2, 4} {
			c, s := cluster{nodes: nodes, mode: placement.Ring, link: k.link}.both(t)
			for _, rounds := range []int{1, 8} {
				tokens := rounds * c.Cost.Round()
				got, want := s.read(t, tokens), formula(c, tokens)
				if !within(got.Rate, want, 0.01) {
					t.Errorf("%s, %d nodes, %d rounds: %v tokens/s, the formula says %v", name, nodes, rounds, got.Rate, want)
				}
				if rounds == 1 && (got.Load.What != k.what || got.Load.Share < 0.5 || c.Cost.Prefill(tokens).Waiting > 0 != k.waiting) {
					t.Errorf("%s, %d nodes: busiest is %+v, the formula waits %v s", name, nodes, got.Load, c.Cost.Prefill(tokens).Waiting)
				}
			}
		}
	}
}

// TestTheSlowestOwnerSetsThePace, also when it is the first of many, and all others have a chunk to begin with.
func TestTheSlowestOwnerSetsThePace(t *testing.T) {
	k := cluster{nodes: 30, mode: placement.Pipeline}
	c, s := k.both(t)
	slowest := 0.0
	for _, st := range c.Cost.Stages() {
		slowest = max(slowest, float64(st.Layers.Len())*(c.Cost.Products(st.Node, 0, 1024)+c.Cost.Attention(st.Node, 0, (1<<16+1024)/2, placement.Pairs(1024, (1<<16-1024)/2, 0))))
	}
	if first := c.Cost.Stages()[0]; first.Layers.Len() != 2 {
		t.Fatalf("the first of 30 owners has %d of 32 layers", first.Layers.Len())
	}
	if got := s.read(t, 1<<16); !within(got.Rate, 1024/slowest, 0.02) {
		t.Errorf("%v tokens/s are read, the slowest owner does %v", got.Rate, 1024/slowest)
	}
}

// TestNoPortCarriesMoreThanItCan: of each chunk an owner sends a query for each of its layers to all others,
// and answers all others' queries.
func TestNoPortCarriesMoreThanItCan(t *testing.T) {
	for _, nodes := range []int{20, 30, 48} {
		for _, arity := range []int{Star, 2, 8} {
			c, s := cluster{nodes: nodes, mode: placement.Pooled, arity: arity, link: Link{Link: placement.Link{Latency: 30e-6, Bandwidth: 1e9}}}.both(t)
			w := c.Cost.Work()
			all := 1024 * float64(w.QueryBytes+w.PartialBytes) * 32 * float64(nodes-1) // of all nodes together
			port := all / float64(nodes) / 1e9
			if arity == Star {
				for _, st := range c.Cost.Stages() {
					own := float64(st.Layers.Len())
					port = max(port, 1024*(own*float64(nodes-1)*float64(w.QueryBytes)+(32-own)*float64(w.PartialBytes))/1e9)
				}
			}
			got := s.read(t, 1<<16)
			if got.Rate > 1.05*1024/port || got.Load.Share > 1+1e-9 {
				t.Errorf("%d nodes, arity %d: %v tokens/s are read, and ports carry %v: %+v", nodes, arity, got.Rate, 1024/port, got.Load)
			}
		}
	}
}

func TestTheFirstTokensAskNobody(t *testing.T) {
	pooled := cluster{nodes: 4, mode: placement.Pooled}.simulation(t).read(t, 1024)
	if pipeline := (cluster{nodes: 4, mode: placement.Pipeline}).simulation(t).read(t, 1024); !near(pooled.Rate, pipeline.Rate) {
		t.Errorf("without earlier tokens pooled reads %v tokens/s, pipeline %v", pooled.Rate, pipeline.Rate)
	}
	if one := (cluster{nodes: 4, mode: placement.Pipeline}).simulation(t).read(t, 1); !(one.Rate > 0) {
		t.Errorf("a prompt of one token: %+v", one)
	}
}

// TestATreeSavesThePortsInPrefill: in a star all of a chunk's partial results go into the owner's port.
func TestATreeSavesThePortsInPrefill(t *testing.T) {
	k := cluster{nodes: 64, mode: placement.Pooled}
	star := k.simulation(t).read(t, 1<<16)
	k.arity = 2
	tree := k.simulation(t).read(t, 1<<16)
	t.Logf("star %.0f tokens/s, %+v; tree %.0f, %+v", star.Rate, star.Load, tree.Rate, tree.Load)
	if star.Load.What != "ports" || tree.Rate < 1.2*star.Rate {
		t.Errorf("a star reads %v tokens/s, waiting for %s, a tree %v", star.Rate, star.Load.What, tree.Rate)
	}
}

func TestStragglersSlowPrefill(t *testing.T) {
	for _, mode := range []placement.Mode{placement.Pipeline, placement.Pooled, placement.Ring} {
		k := cluster{nodes: 4, mode: mode}
		calm := k.simulation(t).read(t, 1<<16).Rate
		k.noise = Noise{Stragglers: 0.25, Slowdown: 2, Uneven: 0.05}
		if slow := calm / k.simulation(t).read(t, 1<<16).Rate; slow < 1.3 || slow > 2.5 {
			t.Errorf("%v: with a straggler of factor 2 it takes %v times as long", mode, slow)
		}
	}
}
