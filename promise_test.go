package orrery

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
)

// TestWhatIsPromisedCoversWhateverSequencesCanComeTo places random models on random nodes, and holds what is
// promised against what sequences of the full context may store in any mode, by the count that admits them and
// that no step may exceed (package residence). Nobody promises more than it has.
func TestWhatIsPromisedCoversWhateverSequencesCanComeTo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const pairBytes = 512
		layers := rapid.IntRange(1, 12).Draw(t, "layers")
		r := placement.Request{Mode: rapid.SampledFrom([]Mode{Pipeline, Pooled, Ring}).Draw(t, "mode"), Context: rapid.IntRange(1, 5000).Draw(t, "context"),
			Sequences: rapid.IntRange(1, 4).Draw(t, "sequences"), Chunk: rapid.IntRange(1, 600).Draw(t, "chunk"), BlockTokens: rapid.IntRange(1, 300).Draw(t, "block"),
			Model: placement.Model{Name: "m", EmbedBytes: 1 << 20, HeadBytes: 1 << 20, Tied: rapid.Bool().Draw(t, "tied")}}
		for range layers {
			r.Model.LayerBytes = append(r.Model.LayerBytes, 1<<18)
			r.Model.KVBytesPerToken = append(r.Model.KVBytesPerToken, pairBytes)
		}
		var nodes []cluster.Node
		for i := range rapid.IntRange(1, 5).Draw(t, "nodes") {
			n := cluster.Node{Name: fmt.Sprint(i), Memory: placement.RuntimeBytes + rapid.Int64Range(0, 40<<20).Draw(t, "memory"), Bandwidth: rapid.Float64Range(1e9, 9e9).Draw(t, "bandwidth")}
			n.Promised = rapid.Int64Range(0, n.Memory/8).Draw(t, "promised")
			nodes = append(nodes, n)
			r.Nodes = append(r.Nodes, placement.Node{Name: n.Name, Memory: n.Memory, Promised: n.Withheld(), Bandwidth: n.Bandwidth})
		}
		plans, err := placement.PlaceAll(r, []Mode{Pipeline, Pooled, Ring})
		var refusal *placement.Refusal
		if errors.As(err, &refusal) {
			t.Skip("it does not fit")
		} else if err != nil {
			t.Fatal(err)
		}
		promises, staged := plans.Promises(r.Mode)
		if plans.Plans[r.Mode] == nil {
			t.Fatalf("%v, in which it is to be loaded, was given up", r.Mode)
		}
		l := residence.Layout{Layers: layers, BlockTokens: r.BlockTokens, Chunk: r.Chunk, RingOwner: fastest(nodes),
			Weights: tokenShares(plans, nodes), Blocks: tokenBlocks(plans), Staged: staged}
		for n, span := range layersOf(plans, len(nodes), layers) {
			if span.Len() > 0 {
				l.Pipeline = append(l.Pipeline, residence.Owner{Layers: span, Node: n})
			}
		}
		p, err := residence.NewPolicy(l)
		if err != nil {
			t.Fatal(err)
		}
		for mode := Pipeline; mode <= Ring; mode++ {
			if (plans.Plans[mode] == nil) == (plans.Refused[mode] == nil) {
				t.Fatalf("%v is neither possible nor refused, or both", mode)
			}
			if plans.Plans[mode] == nil {
				if text := plans.Refused[mode].Error(); text == "" {
					t.Fatal("refused without a word")
				}
				continue
			}
			for n, pairs := range p.Demand(mode, r.Context) {
				if need := int64(r.Sequences) * int64(pairs) * pairBytes; need > promises[n].KV {
					t.Fatalf("%v: node %d may have to store %d bytes, %d are promised", mode, n, need, promises[n].KV)
				}
				if s := plans.Plans[mode].Shares[n]; s.Weights+s.Rest > promises[n].Fixed || s.KV > promises[n].KV {
					t.Fatalf("%v: node %d is promised %+v, its plan is %+v", mode, n, promises[n], s)
				}
			}
		}
		for n, p := range promises {
			if p.Fixed+p.KV > nodes[n].Memory-nodes[n].Promised {
				t.Fatalf("node %d promises %+v, it has %d and %d of that is promised already", n, p, nodes[n].Memory, nodes[n].Promised)
			}
		}
	})
}
