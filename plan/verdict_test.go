package plan

import (
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/simulate"
)

// step is a point whose step has these parts.
func step(nodes int, parts map[simulate.Part]float64) Point {
	p := Point{Nodes: nodes, Holders: nodes}
	for part, seconds := range parts {
		p.parts[part] = seconds
	}
	p.Median = p.parts.Seconds()
	p.Decode = 1 / p.Median
	return p
}

func TestAVerdictNamesWhatGrows(t *testing.T) {
	const kv, weights = 0.1, 0.001
	s := Series{Mode: "pooled", Exchange: star}
	for n := 1; n <= 64; n *= 2 {
		s.Points = append(s.Points, step(n, map[simulate.Part]float64{simulate.KV: kv / float64(n), simulate.Weights: weights, simulate.OwnerPort: 1e-3 * float64(n)}))
	}
	v := judge(&s)
	if v.Stops != 8 || v.Why != "the owner's port" {
		t.Errorf("%+v", v)
	}
	for _, want := range []string{"stops at 8 nodes", "16 nodes would save 6.2 ms of 21.5 ms and lose 8.0 ms, most of it to the owner's port", "69% of the step then"} {
		if !strings.Contains(v.Text, want) {
			t.Errorf("%q does not say %q", v.Text, want)
		}
	}
	if strings.Count(v.Text, "queue in it") != 1 {
		t.Errorf("%q says why twice", v.Text)
	}
}

func TestAVerdictNamesWhatIsNotShared(t *testing.T) {
	s := Series{Mode: "pooled", Exchange: star}
	for n := 1; n <= 1024; n *= 2 {
		s.Points = append(s.Points, step(n, map[simulate.Part]float64{simulate.KV: 0.1 / float64(n), simulate.Weights: 0.02}))
	}
	v := judge(&s)
	if v.Stops != 32 || v.Why != "weights" || !strings.Contains(v.Text, "Of the step 86% is weights: a layer's are read by its owner alone.") {
		t.Errorf("%+v", v)
	}
}

func TestAVerdictSaysWhenItDoesNotStop(t *testing.T) {
	s := Series{Mode: "pooled", Exchange: tree}
	if v := judge(&s); v.Stops != 0 || !strings.Contains(v.Text, "none") {
		t.Errorf("of nothing: %+v", v)
	}
	s.Points = append(s.Points, step(1, map[simulate.Part]float64{simulate.KV: 1}))
	if v := judge(&s); v.Stops != 0 || !strings.Contains(v.Text, "on one of these numbers of nodes: 1 node") {
		t.Errorf("of one number: %+v", v)
	}
	s.Points = append(s.Points, step(2, map[simulate.Part]float64{simulate.KV: 0.5}), step(4, map[simulate.Part]float64{simulate.KV: 0.25}))
	if v := judge(&s); v.Stops != 0 || !strings.Contains(v.Text, "pooled with a tree still gains at 4 nodes, 4.0 tokens/s; of the step 100% is KV read") {
		t.Errorf("of what is linear: %+v", v)
	}
}

// TestADipIsNotTheEnd: a straggler among so many nodes, which more nodes make up for.
func TestADipIsNotTheEnd(t *testing.T) {
	s := Series{Mode: "pooled", Exchange: star}
	for i, seconds := range []float64{1, 0.5, 0.6, 0.3} {
		s.Points = append(s.Points, step(1<<i, map[simulate.Part]float64{simulate.KV: seconds}))
	}
	if v := judge(&s); v.Stops != 0 {
		t.Errorf("%+v", v)
	}
}

func TestACacheOfFewBlocksIsSaid(t *testing.T) {
	s := Series{Mode: "pooled", Exchange: star}
	for n := 4; n <= 64; n *= 2 {
		p := step(n, map[simulate.Part]float64{simulate.KV: 1 / float64(min(n, 8)), simulate.Weights: 0.01})
		p.Holders = min(n, 8)
		s.Points = append(s.Points, p)
	}
	if v := judge(&s); v.Stops != 8 || !strings.Contains(v.Text, "More save nothing.") || !strings.Contains(v.Text, "Only 8 nodes get a block") {
		t.Errorf("%+v", v)
	}
}

// TestATreesExchangeIsJudgedAsOne: its arity changes, and moves time between latency and ports.
func TestATreesExchangeIsJudgedAsOne(t *testing.T) {
	s := Series{Mode: "pooled", Exchange: tree, Points: []Point{
		step(8, map[simulate.Part]float64{simulate.KV: 0.02, simulate.Weights: 0.05, simulate.Latency: 0.03, simulate.OwnerPort: 0.01}),
		step(16, map[simulate.Part]float64{simulate.KV: 0.01, simulate.Weights: 0.05, simulate.Latency: 0.01, simulate.OwnerPort: 0.039}),
	}}
	v := judge(&s)
	if v.Stops != 8 || v.Why != "the exchange" || !strings.Contains(v.Text, "save 10.0 ms of 110.0 ms and lose 9.0 ms, most of it to the exchange, 45%") {
		t.Errorf("%+v", v)
	}
}
