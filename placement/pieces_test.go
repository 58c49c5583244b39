package placement

import "testing"

func TestPiecesMakeAStep(t *testing.T) {
	const context = 50000
	for _, mode := range []Mode{Pipeline, Ring} {
		r := quick(mode, 300*gib, 300*gib)
		work := workOf(r.Model)
		c := costOf(t, r, work, mesh(3, thunderbolt), 0.5)
		weights, kv := 0.0, 0.0
		for _, st := range c.Stages() {
			for l := st.Layers.First; l < st.Layers.End; l++ {
				weights += c.Products(st.Node, l, 1)
				kv += c.Attention(st.Node, l, context, context)
			}
			if st.Head {
				weights += c.Head(st.Node)
			}
		}
		step := c.Step(context)
		if !near(weights, step.Weights) || mode == Pipeline && !near(kv, step.KV) {
			t.Errorf("%v: the pieces take %v and %v, the step %+v", mode, weights, kv, step)
		}
		if got, want := c.Merge(0, 7), 7*float64(work.PartialBytes)/(r.Nodes[0].Bandwidth*0.5); !near(got, want) {
			t.Errorf("merging 7 tokens' partial results takes %v, reading them %v", got, want)
		}
	}
}

func TestARoundIsAChunkForTheLargestShareAndTwoBlocksForEach(t *testing.T) {
	r := quick(Ring, 300*gib, 300*gib)
	c := costOf(t, r, workOf(r.Model), mesh(3, thunderbolt), 1)
	largest := 0.0
	for _, s := range c.Plan().Shares {
		largest = max(largest, s.TokenWeight)
	}
	if got, want := c.Round(), max(int(float64(r.Chunk)/largest), 6*r.BlockTokens); got != want {
		t.Errorf("a round has %d tokens, want %d", got, want)
	}
	r.Chunk = 1
	if got := costOf(t, r, workOf(r.Model), mesh(3, thunderbolt), 1).Round(); got != 6*r.BlockTokens {
		t.Errorf("with small chunks a round has %d tokens, want %d", got, 6*r.BlockTokens)
	}
}
