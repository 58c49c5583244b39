package plan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/simulate"
)

// describedIn reads one of the clusters of research.
func describedIn(t testing.TB, file string) *Cluster {
	t.Helper()
	b, err := os.ReadFile("../research/" + file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCluster(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func scaling(t testing.TB, name, cluster string, o ScalingOptions) *Scaling {
	t.Helper()
	o.Name = name
	s, err := Scale(t.Context(), arch(t, name), describedIn(t, cluster), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// series is the one of a mode and a kind of exchange.
func (r *Scaling) series(t testing.TB, mode placement.Mode, exchange string) *Series {
	t.Helper()
	for i := range r.Series {
		if s := &r.Series[i]; s.Mode == mode.String() && s.Exchange == exchange {
			return s
		}
	}
	t.Fatalf("there is no series of %v with %q", mode, exchange)
	return nil
}

// TestASimulationOfAFewNodesAgreesWithThePlan: the same placement, and a step within a percent of the formula.
func TestASimulationOfAFewNodesAgreesWithThePlan(t *testing.T) {
	const context = 180000
	s := scaling(t, "MiniMax-M2", "m4-cluster.yaml", ScalingOptions{Options: Options{Context: context}, Counts: []int{3}})
	r := report(t, "MiniMax-M2", Options{Context: context})
	for i, mode := range []placement.Mode{placement.Pipeline, placement.Pooled} {
		p := s.series(t, mode, exchanges(mode)[0]).Points[0]
		speeds := r.Modes[i].Speeds
		if want := speeds[len(speeds)-1].Step.Seconds(); !alike(p.Formula, want) || math.Abs(p.Median/want-1) > 0.01 {
			t.Errorf("%v: a step is simulated to take %v, by the formula %v; the plan says %v", mode, p.Median, p.Formula, want)
		}
	}
}

// TestTheStarStopsBeforeTheTreeAndPipelineAtOnce, on the cluster of docs/scaling.md.
func TestTheStarStopsBeforeTheTreeAndPipelineAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long under the race detector, and shares no data that others do not")
	}
	s := scaling(t, "MiniMax-M2", "m4-scale.yaml", ScalingOptions{Options: Options{Context: 1000000}, Counts: []int{4, 16, 32, 64, 128, 256}, Calm: true})
	for _, k := range []struct {
		mode     placement.Mode
		exchange string
		stops    int
		why      string
	}{{placement.Pipeline, "", 4, "KV read"}, {placement.Pooled, star, 32, "the owner's port"}, {placement.Pooled, tree, 128, "the exchange"}} {
		v := s.series(t, k.mode, k.exchange).Verdict
		t.Log(v.Text)
		if v.Stops != k.stops || v.Why != k.why || !strings.Contains(v.Text, k.why) {
			t.Errorf("%v %s stops at %d because of %q, want %d and %q", k.mode, k.exchange, v.Stops, v.Why, k.stops, k.why)
		}
	}
	if ring := s.series(t, placement.Ring, star); len(ring.Points) != 0 || len(ring.Short) != 6 || !strings.Contains(ring.Verdict.Text, "none") {
		t.Errorf("ring fits on %+v, but a Studio cannot hold all weights", ring)
	}
}

// TestAThousandNodes are placed and simulated, where lanes between all pairs take nearly a hundred times what those of a group do.
func TestAThousandNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long under the race detector, and shares no data that others do not")
	}
	o := ScalingOptions{Options: Options{Context: 131072, Mode: placement.Pooled}, Counts: []int{1024}, Calm: true}
	s := scaling(t, "gpt-oss-120b", "m4-scale.yaml", o)
	p := s.series(t, placement.Pooled, star).Points[0]
	if p.Holders != 512 || p.Nodes != 1024 {
		t.Errorf("%d of %d nodes hold tokens, of a cache of %d blocks", p.Holders, p.Nodes, s.Blocks)
	}
	if part, share := p.Largest(); part != "owner's port" || share < 0.5 {
		t.Errorf("the step waits most for %s, %v of it", part, share)
	}
	if better := s.series(t, placement.Pooled, tree).Points[0]; better.Median > p.Median/2 {
		t.Errorf("a tree takes %v, a star %v", better.Median, p.Median)
	}
	if l := s.Lanes; l.Members != 8 || l.Bytes > 1<<30 || l.Present < 90*l.Bytes || l.MostFits != 1024 {
		t.Errorf("lanes: %+v", l)
	}
}

func TestCalmLeavesOutWhatIsDrawn(t *testing.T) {
	o := ScalingOptions{Options: Options{Context: 100000, Mode: placement.Pooled}, Counts: []int{40}, Steps: 20}
	noisy := scaling(t, "gpt-oss-120b", "m4-scale.yaml", o)
	o.Calm = true
	calm := scaling(t, "gpt-oss-120b", "m4-scale.yaml", o)
	a, b := noisy.Series[0].Points[0], calm.Series[0].Points[0]
	if a.P99 <= a.Median || b.P99 != b.Median || a.Median <= b.Median {
		t.Errorf("steps take %v and %v, calm ones %v and %v", a.Median, a.P99, b.Median, b.P99)
	}
	if a.Waits["stragglers"] == 0 || a.Waits["jitter"] == 0 || b.Waits["stragglers"] != 0 || b.Waits["jitter"] != 0 || calm.Wire.Jitter != 0 || calm.Noise != (simulate.Noise{}) {
		t.Errorf("steps wait for %v, calm ones for %v", a.Waits, b.Waits)
	}
}

func TestASweepIsRepeatable(t *testing.T) {
	o := ScalingOptions{Options: Options{Context: 32768}, Counts: []int{16, 2, 4, 2}, Contexts: []int{32768, 8000}, Steps: 10, Seed: 3}
	last, total := 0, 0
	o.Progress = func(d, n int) {
		if d <= last {
			t.Errorf("progress goes from %d to %d", last, d)
		}
		last, total = d, n
	}
	first := scaling(t, "gpt-oss-120b", "m4-scale.yaml", o)
	if last != total || last == 0 {
		t.Errorf("progress ends at %d of %d", last, total)
	}
	o.Progress = nil
	a, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := json.Marshal(scaling(t, "gpt-oss-120b", "m4-scale.yaml", o)); err != nil || !bytes.Equal(a, b) {
		t.Errorf("%v, or the second sweep differs:\n%s\n%s", err, a, b)
	}
	if len(first.Series) != 2*5 || first.Series[0].Context != 8000 || len(first.Series[0].Points) != 3 || first.Series[0].Points[0].Nodes != 2 {
		t.Errorf("the series are %s", a)
	}
	for _, s := range first.Series {
		for _, p := range s.Points {
			sum := 0.0
			for _, v := range p.Waits {
				sum += v
			}
			if p.Linear > 1+1e-9 || !(p.Prefill > 0) || math.Abs(sum/p.Median-1) > 0.05 {
				t.Errorf("%s %s: %+v, waits of %v", s.Mode, s.Exchange, p, sum)
			}
		}
	}
}

// TestASweepEndsWithItsContext, in the middle of what would take hours.
func TestASweepEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	o := ScalingOptions{Options: Options{Context: 131072, Name: "m"}, Counts: []int{1, 2, 256}, Steps: maxSimulated}
	if _, err := Scale(ctx, arch(t, "gpt-oss-120b"), describedIn(t, "m4-scale.yaml"), o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it ends with %v", err)
	}
}

func TestFurtherNodesAreTheDescribedOnesOverAndOver(t *testing.T) {
	c, err := ParseCluster([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.network("", false)
	if err != nil {
		t.Fatal(err)
	}
	nodes := n.nodes(8)
	var names []string
	for i, node := range nodes {
		names = append(names, node.Name)
		if want := c.Nodes[i%3]; node.Bandwidth != want.Bandwidth || node.Memory != want.Memory || i < 3 && node != want {
			t.Errorf("node %d is %+v, not like %+v", i, node, want)
		}
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != 8 {
		t.Errorf("names are used twice: %v", names)
	}
	// big-1 (0, 3, 6) and little (2, 5) have a slow link; copies of one node the default one.
	links := n.matrix(8)
	for _, k := range []struct {
		from, to int
		latency  float64
	}{{0, 1, 30e-6}, {0, 2, 0.2e-3}, {5, 3, 0.2e-3}, {6, 2, 0.2e-3}, {0, 3, 30e-6}, {1, 5, 30e-6}} {
		if got := links[k.from][k.to].Latency; !alike(got, k.latency) {
			t.Errorf("from node %d to %d it takes %v, want %v", k.from, k.to, got, k.latency)
		}
	}
	if n, err = c.network("slow", false); err != nil || !alike(n.matrix(2)[0][1].Latency, 0.2e-3) {
		t.Errorf("with another link: %v", err)
	}
}

func TestBadScalingOptionsAreNamed(t *testing.T) {
	a, c := arch(t, "gpt-oss-120b"), describedIn(t, "m4-scale.yaml")
	alone, err := ParseCluster([]byte("nodes: [{name: a, memory: 100GiB, bandwidth: 1GB/s, flops: 1GFLOPS}]"))
	if err != nil {
		t.Fatal(err)
	}
	for want, k := range map[string]struct {
		cluster *Cluster
		o       ScalingOptions
	}{
		"0 nodes":         {c, ScalingOptions{Options: Options{Context: 1000}, Counts: []int{0}}},
		"1025 nodes":      {c, ScalingOptions{Options: Options{Context: 1000}, Counts: []int{1025}}},
		"context of 2000": {c, ScalingOptions{Options: Options{Context: 1000}, Contexts: []int{2000}}},
		"-1 steps":        {c, ScalingOptions{Options: Options{Context: 1000}, Steps: -1}},
		"pigeon":          {c, ScalingOptions{Options: Options{Context: 1000, Link: "pigeon"}}},
		"layers of":       {c, ScalingOptions{Options: Options{Context: 1000, Layers: map[string]placement.Range{"studio": {End: 1}}}}},
		"efficiency 2":    {c, ScalingOptions{Options: Options{Context: 1000, Efficiency: 2}, Counts: []int{1}}},
		"no default_link": {alone, ScalingOptions{Options: Options{Context: 1000}}},
	} {
		if _, err := Scale(t.Context(), a, k.cluster, k.o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestThePictureOfASweepHasACurveForEachSeries(t *testing.T) {
	s := scaling(t, "MiniMax-M2", "m4-scale.yaml", ScalingOptions{Options: Options{Context: 100000}, Counts: []int{2, 4, 8}, Calm: true})
	var svg bytes.Buffer
	if err := s.Draw(&svg, "svg"); err != nil {
		t.Fatal(err)
	}
	for legend, there := range map[string]bool{"pipeline, 100000 tokens": true, "pooled, star, 100000 tokens": true, "pooled, tree, 100000 tokens": true, "ring, star, 100000 tokens": false} {
		if strings.Contains(svg.String(), legend) != there {
			t.Errorf("%q is in the picture: %v", legend, !there)
		}
	}
	one := scaling(t, "MiniMax-M2", "m4-scale.yaml", ScalingOptions{Options: Options{Context: 1000}, Counts: []int{2}, Calm: true})
	if err := one.Draw(&svg, "png"); err != nil {
		t.Errorf("a picture of one number of nodes: %v", err)
	}
	none := scaling(t, "DeepSeek-V3", "m4-scale.yaml", ScalingOptions{Options: Options{Context: 1000}, Counts: []int{1}, Calm: true})
	if err := none.Draw(&svg, "svg"); err == nil || none.Fits() {
		t.Error("a picture of nothing is drawn")
	}
}
