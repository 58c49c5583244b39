package attention

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// work is each node's part of the causal triangle: block b meets b blocks before it and half of itself.
func work(owner []int, nodes int) []int {
	w := make([]int, nodes)
	for b, node := range owner {
		w[node] += 2*b + 1
	}
	return w
}

func TestBalanceGivesEqualNodesEqualWork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.IntRange(1, 12).Draw(t, "nodes")
		blocks := 2 * nodes * rapid.IntRange(1, 20).Draw(t, "rounds")
		weights := make([]float64, nodes)
		for i := range weights {
			weights[i] = 1 / float64(nodes)
		}
		w := work(Balance(blocks, weights, nil, make([]float64, nodes)), nodes)
		for i := range w {
			if w[i] != w[0] {
				t.Fatalf("%d blocks over %d nodes: work %v", blocks, nodes, w)
			}
		}
	})
}

// drawWeights draws shares that sum to 1, some of them 0.
func drawWeights(t *rapid.T) []float64 {
	weights := rapid.SliceOfN(rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(0.01, 1000)), 1, 10).Draw(t, "weights")
	weights = append(weights, 1)
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	for i := range weights {
		weights[i] /= sum
	}
	return weights
}

func TestBalanceIsProportionalOverRounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blocks := rapid.IntRange(1, 60).Draw(t, "blocks")
		weights := drawWeights(t)
		credit := make([]float64, len(weights))
		got := make([]int, len(weights))
		total := 0
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			owner := Balance(blocks, weights, nil, credit)
			total += blocks
			for b, node := range owner {
				if weights[node] == 0 {
					t.Fatalf("block %d went to node %d, of weight zero", b, node)
				}
				if owner[blocks-1-b] != node {
					t.Fatalf("blocks %d and %d are not with one node", b, blocks-1-b)
				}
				got[node]++
			}
		}
		for i, n := range got {
			// Whoever is owed most is served: nobody is ahead by more than a pair, and what the others are
			// ahead by is all that one can be behind.
			if want := weights[i] * float64(total); float64(n) > want+2+1e-6 || float64(n) < want-2*float64(len(weights)) {
				t.Fatalf("node %d has %d blocks of %d, its share is %.2f", i, n, total, want)
			}
		}
	})
}

func TestBalanceExamples(t *testing.T) {
	for _, c := range []struct {
		blocks  int
		weights []float64
		want    []int
	}{
		{6, []float64{1. / 3, 1. / 3, 1. / 3}, []int{0, 1, 2, 2, 1, 0}},
		{8, []float64{.75, .25}, []int{0, 0, 1, 0, 0, 1, 0, 0}},
		{5, []float64{.5, .5}, []int{0, 1, 0, 1, 0}},
		{1, []float64{0, .7, .3}, []int{1}},
		{0, []float64{1}, []int{}},
	} {
		credit := make([]float64, len(c.weights))
		if got := Balance(c.blocks, c.weights, nil, credit); !slices.Equal(got, c.want) {
			t.Errorf("Balance(%d, %v) = %v, want %v", c.blocks, c.weights, got, c.want)
		}
		owed := 0.0
		for _, o := range credit {
			owed += o
		}
		if math.Abs(owed) > 1e-9 {
			t.Errorf("Balance(%d, %v) leaves a debt of %v", c.blocks, c.weights, owed)
		}
	}
}
