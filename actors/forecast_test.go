package actors

import (
	"math"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/placement"
)

// costsOf are those of four layers on two described nodes, in the modes that steps go through both of them or through one.
func costsOf(t *testing.T) map[placement.Mode]*placement.Cost {
	t.Helper()
	layer := func(n int64) []int64 { return slices.Repeat([]int64{n}, 4) }
	m := placement.Model{Name: "small", LayerBytes: layer(1 << 20), KVBytesPerToken: layer(1 << 10), HeadBytes: 1 << 20}
	w := placement.Work{ReadBytes: m.LayerBytes, HeadRead: m.HeadBytes, TokenFLOPs: slices.Repeat([]float64{1 << 21}, 4), HeadFLOPs: 1 << 21,
		PairFLOPs: slices.Repeat([]float64{1 << 11}, 4), HiddenBytes: 1 << 12, QueryBytes: 1 << 13, PartialBytes: 1 << 13}
	costs := map[placement.Mode]*placement.Cost{}
	for _, mode := range []placement.Mode{placement.Pipeline, placement.Ring} {
		r := placement.Request{Model: m, Mode: mode, Context: 256, Sequences: 1, Chunk: 8, BlockTokens: 4}
		for _, name := range []string{"a", "b"} {
			r.Nodes = append(r.Nodes, placement.Node{Name: name, Memory: 1 << 30, Bandwidth: 1e9, FLOPS: 1e11})
		}
		p, err := placement.Place(r)
		if err != nil {
			t.Fatal(err)
		}
		link := placement.Link{Latency: 1e-5, Bandwidth: 1e9}
		if costs[mode], err = placement.NewCost(r, p, w, [][]placement.Link{{link, link}, {link, link}}, 0.5); err != nil {
			t.Fatal(err)
		}
	}
	return costs
}

func TestAForecastIsWhatIsPredictedOfABatch(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	costs := costsOf(t)
	f, err := c.Forecast(costs, [][]placement.Link{{{Bandwidth: 1e9}, {Bandwidth: 1e9}}, {{Bandwidth: 1e9}, {Bandwidth: 1e9}}})
	if err != nil {
		t.Fatal(err)
	}
	for mode, cost := range costs {
		want := func(sequences, context int) float64 {
			return cost.Batch(slices.Repeat([]int{context}, sequences)).Seconds()
		}
		near := func(sequences, context int, want float64) {
			t.Helper()
			if got := f.Step(mode, sequences, context); math.Abs(got/want-1) > 1e-9 {
				t.Errorf("%v: a token of each of %d takes %v at %d, want %v", mode, sequences, got, context, want)
			}
		}
		for _, context := range []int{0, 16, 112, 256} {
			for _, sequences := range []int{1, 2, 3, 4, 6, 8, 16, 64} {
				near(sequences, context, want(sequences, context))
			}
			near(5, context, (want(4, context)+want(6, context))/2)
			near(9, context, (3*want(8, context)+want(12, context))/4)
			near(96, context, 1.5*want(64, context))
		}
		near(1, 1<<20, want(1, 256))
		near(4, 120, (want(4, 112)+want(4, 128))/2)
	}
	if got := f.Step(placement.Pooled, 2, 100); got != 0 {
		t.Errorf("of a mode that is not possible it says %v", got)
	}
}
