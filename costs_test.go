package orrery_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/placement"
)

func TestNodesMeasureTheWaysBetweenThem(t *testing.T) {
	nodes := startNodes(t, 1e9, 2e9, 1e9)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	links, err := nodes[1].MeasureLinks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(links) != 3 {
		t.Fatalf("%d links: %+v", len(links), links)
	}
	for _, l := range links {
		if l.From >= l.To || l.Guessed || l.Busy <= 0 || l.Paused <= 0 || !(l.Rate > 0) {
			t.Errorf("%+v", l)
		}
	}
	again, err := nodes[1].MeasureLinks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range links {
		if again[i] != links[i] {
			t.Errorf("measured again at once: %+v, then %+v", links[i], again[i])
		}
	}
	matrix, err := nodes[1].Links(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := matrix[2][0], (placement.Link{Latency: links[1].Paused.Seconds() / 2, Bandwidth: links[1].Rate, Sending: min(links[1].Sending.Seconds(), links[1].Paused.Seconds()/2)}); got != want {
		t.Errorf("n2 to n0 is %+v, want %+v", got, want)
	}
}

func TestAPairThatCannotBeMeasuredIsNamed(t *testing.T) {
	nodes := startNodes(t, 1e9, 1e9)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := nodes[0].Links(ctx); err == nil || !strings.Contains(err.Error(), "from n0 to n1") {
		t.Errorf("error %v", err)
	}
}

func TestALoadedModelHasACostForEachMode(t *testing.T) {
	var curve placement.Curve
	for i, size := range placement.CurveSizes {
		curve[i] = 1e-6 + size/10e9
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, err := orrery.Start(ctx, orrery.Config{Name: "a", Memory: 1 << 30, Bandwidth: 1e10, Threads: 1, Rates: ratesOf(curve), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	m, err := a.Load(ctx, "recall", orrery.LoadOptions{Context: 32768})
	if err != nil {
		t.Fatal(err)
	}
	costs, err := m.Costs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ways, err := a.Ways(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []orrery.Mode{orrery.Pipeline, orrery.Pooled, orrery.Ring} {
		if costs[mode] == nil {
			t.Fatalf("no cost of %v", mode)
		}
		short, long := costs[mode].Step(1000), costs[mode].Step(33000)
		if got, want := long.KV-short.KV, 32000*3072/10e9; math.Abs(got-want) > 1e-9 {
			t.Errorf("%v: 32000 tokens of 3072 bytes take %v s, want %v", mode, got, want)
		}
		if short.HandOver != ways[0].Telling {
			t.Errorf("%v: a step waits for the token of the one before for more than it takes to tell of it, %v s: %+v", mode, ways[0].Telling, short)
		}
		if want := 11.5e6 / 10e9; math.Abs(short.Weights/want-1) > 0.01 {
			t.Errorf("%v: weights take %v s, want about %v", mode, short.Weights, want)
		}
	}
}

func TestCostsCanBeOfWhatNodesDoNow(t *testing.T) {
	var curve placement.Curve
	for i := range curve {
		curve[i] = float64(1 + i) // s: no machine is so slow
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, err := orrery.Start(ctx, orrery.Config{Name: "a", Memory: 1 << 30, Bandwidth: 1e10, Threads: 1, Rates: ratesOf(curve), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	m, err := a.Load(ctx, "recall", orrery.LoadOptions{Context: 1024})
	if err != nil {
		t.Fatal(err)
	}
	known, err := m.Costs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	now, err := m.CostsNow(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []orrery.Mode{orrery.Pipeline, orrery.Pooled, orrery.Ring} {
		if was, is := known[mode].Step(100), now[mode].Step(100); was.Weights == is.Weights || was.KV == is.KV || is.Weights <= 0 {
			t.Errorf("%v: %+v, and measured now %+v", mode, was, is)
		}
	}
	again, err := m.Costs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if was, is := known[orrery.Pipeline].Step(100), again[orrery.Pipeline].Step(100); was.Weights != is.Weights {
		t.Errorf("what the node said of itself has changed: %+v, then %+v", was, is)
	}
}

func TestNoCostWithoutRatesAndTheNodeIsNamed(t *testing.T) {
	nodes := startNodes(t, 1e9)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := nodes[0].Load(ctx, "recall", orrery.LoadOptions{Context: 1024})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Costs(ctx); err == nil || !strings.Contains(err.Error(), "node n0") {
		t.Errorf("error %v", err)
	}
}

func TestHowLongItTakesToHandOutAStepIsMeasured(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, bandwidths := range [][]float64{{1e9}, {1e9, 1e9}} {
		nodes := startNodes(t, bandwidths...)
		turn, err := nodes[len(nodes)-1].MeasureTurn(ctx)
		if err != nil || !(turn > 0 && turn < 1) {
			t.Errorf("%d nodes: %v s, %v", len(nodes), turn, err)
		}
	}
}

// ratesOf are those of a node whose operations all take what a curve says.
func ratesOf(c placement.Curve) placement.Rates {
	k := placement.Kernels{Layer: c, Product: c, Attend: c, Intense: [3]float64{1, 1, 1}}
	return placement.Rates{Memory: k, Cache: k, PrefillProduct: 1e11, PrefillAttend: 1e11, Crowd: [3]float64{1, 1, 1}, Packed: [2]float64{1, 1}}
}

// TestLayersGoWhereTheyAreFastOnceLinksAreKnown: two nodes whose memory is as fast, of which one's kernels are not.
func TestLayersGoWhereTheyAreFastOnceLinksAreKnown(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var fast, slow placement.Curve
	for i, size := range placement.CurveSizes {
		fast[i] = 1e-6 + size/10e9
		slow[i] = 100 * fast[i]
	}
	crawls := ratesOf(slow)
	crawls.PrefillProduct /= 100
	crawls.PrefillAttend /= 100
	var nodes []*orrery.Cluster
	for i, rates := range []placement.Rates{ratesOf(fast), crawls} {
		cfg := orrery.Config{Name: string(rune('a' + i)), Memory: 1 << 30, Bandwidth: 1e10, Threads: 1, Rates: rates, Logger: quiet()}
		if i > 0 {
			cfg.Join = []string{nodes[0].Addr()}
		}
		n, err := orrery.Start(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		nodes = append(nodes, n)
	}
	if err := nodes[0].WaitNodes(ctx, 2); err != nil {
		t.Fatal(err)
	}
	layers := func(mode orrery.Mode) int {
		t.Helper()
		m, err := nodes[0].Load(ctx, "recall", orrery.LoadOptions{Mode: mode, Context: 4096})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		return m.Plans().Plans[orrery.Pipeline].Shares[1].Layers.Len()
	}
	if layers(orrery.Pipeline) == 0 {
		t.Error("loading measured links, or did without")
	}
	if _, err := nodes[0].MeasureLinks(ctx); err != nil {
		t.Fatal(err)
	}
	if n := layers(orrery.Pipeline); n != 0 {
		t.Errorf("the slow node has %d layers", n)
	}
	if layers(orrery.Ring) == 0 {
		t.Error("layers moved for the sake of ring, which has none to move")
	}
}
