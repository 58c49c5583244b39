package engine

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/residence"
)

// TestNoRoundIsLargerThanWhatTheFootprintAllows holds the pieces of ring rounds against the rows that memory
// was promised for.
func TestNoRoundIsLargerThanWhatTheFootprintAllows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunk, block := rapid.IntRange(1, 2048).Draw(t, "chunk"), rapid.IntRange(1, 512).Draw(t, "block")
		weights := rapid.SliceOfN(rapid.Float64Range(0.01, 1), 1, 8).Draw(t, "weights")
		sum := 0.0
		for _, w := range weights {
			sum += w
		}
		for i := range weights {
			weights[i] /= sum
		}
		var blocks []int // of the full context, where a plan gives them
		if rapid.Bool().Draw(t, "exact") {
			total := 0
			for range weights {
				blocks = append(blocks, rapid.IntRange(1, 100).Draw(t, "blocks"))
				total += blocks[len(blocks)-1]
			}
			for i, b := range blocks {
				weights[i] = float64(b) / float64(total)
			}
		}
		p, err := residence.NewPolicy(residence.Layout{Layers: 1, BlockTokens: block, Chunk: chunk, Weights: weights, Blocks: blocks,
			Pipeline: []residence.Owner{{Layers: residence.Span{First: 0, End: 1}}}})
		if err != nil {
			t.Fatal(err)
		}
		if rows := max(chunk, p.MaxPiece()); rows > maxRows(chunk, block, len(weights)) {
			t.Fatalf("a node computes %d tokens, memory is for %d", rows, maxRows(chunk, block, len(weights)))
		}
	})
}
