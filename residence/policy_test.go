package residence

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/placement"
)

func TestPiecesTileAnySpan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		p, err := NewPolicy(l)
		if err != nil {
			t.Fatal(err)
		}
		s := Span{First: rapid.IntRange(0, 500).Draw(t, "first")}
		s.End = (s.First/l.BlockTokens + rapid.IntRange(1, 100).Draw(t, "blocks")) * l.BlockTokens
		next := s.First
		for _, piece := range p.Pieces(s) {
			if piece.Tokens.First != next || piece.Tokens.Len() < 1 || piece.Tokens.End%l.BlockTokens != 0 {
				t.Fatalf("%v: piece %+v, expected to begin at %d", s, piece, next)
			}
			if l.Weights[piece.Node] == 0 {
				t.Fatalf("%+v is on a node without a share", piece)
			}
			next = piece.Tokens.End
		}
		if next != s.End {
			t.Fatalf("the pieces of %v end at %d", s, next)
		}
	})
}

func TestMaxPieceBoundsWhatANodeGetsInAnyRound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		p, err := NewPolicy(l)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Weights) == 1 {
			t.Skip("a single node has no rounds")
		}
		for first := 0; first < len(p.spread)*l.BlockTokens; {
			// A round ends where the policy's rounds do, or earlier.
			n := rapid.IntRange(1, min(p.Round()-first%p.Round(), len(p.spread)*l.BlockTokens-first)/l.BlockTokens).Draw(t, "blocks") * l.BlockTokens
			got := make([]int, len(l.Weights))
			for _, piece := range p.Pieces(Span{first, first + n}) {
				got[piece.Node] += piece.Tokens.Len()
			}
			for node, tokens := range got {
				if tokens > p.MaxPiece() {
					t.Fatalf("node %d gets %d of tokens %d-%d, MaxPiece is %d", node, tokens, first, first+n, p.MaxPiece())
				}
			}
			first += n
		}
	})
}

func TestLongContextsAreSpreadByWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		p, err := NewPolicy(l)
		if err != nil {
			t.Fatal(err)
		}
		blocks := len(p.spread)
		tokens := make([]int, len(l.Weights))
		for _, h := range p.target(placement.Pooled, blocks*l.BlockTokens) {
			tokens[h.Node] += h.Tokens.Len()
		}
		for n, w := range l.Weights {
			// The credit of attention.Balance keeps every node within two pairs of its due.
			if off := math.Abs(float64(tokens[n])/float64(l.BlockTokens) - w*float64(blocks)); off > 4 {
				t.Fatalf("node %d of share %v has %d of %d tokens", n, w, tokens[n], blocks*l.BlockTokens)
			}
		}
	})
}

func TestExactBlocksAreHeldExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		if l.Blocks == nil {
			t.Skip("by weight")
		}
		p, err := NewPolicy(l)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]int, len(l.Blocks))
		for _, n := range p.spread {
			got[n]++
		}
		if !slices.Equal(got, l.Blocks) {
			t.Fatalf("the spread has %v blocks, the plan %v", got, l.Blocks)
		}
	})
}

// A shorter sequence never needs more, and all nodes together at least what it stores.
func TestDemandGrowsWithTheTokens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		p, err := NewPolicy(l)
		if err != nil {
			t.Fatal(err)
		}
		tokens, mode := rapid.IntRange(1, mostTokens).Draw(t, "tokens"), drawMode(t)
		less, more := p.Demand(mode, tokens-1), p.Demand(mode, tokens)
		sum := 0
		for n := range more {
			sum += more[n]
			if less[n] > more[n] {
				t.Fatalf("%d tokens need %v, one more %v", tokens-1, less, more)
			}
		}
		whole := (tokens + l.BlockTokens - 1) / l.BlockTokens * l.BlockTokens * l.Layers
		if sum < whole || mode == placement.Pipeline && sum != whole {
			t.Fatalf("%v pairs for %d tokens, which are %d in whole blocks", more, tokens, whole)
		}
		for n, most := range p.Most([]placement.Mode{placement.Pipeline, placement.Pooled, placement.Ring}, tokens) {
			if most < more[n] {
				t.Fatalf("node %d: the most of all modes is %d, %v needs %d", n, most, mode, more[n])
			}
		}
	})
}

// Memory for activations is counted by the function, before anybody has a share.
func TestNoNodeComputesMoreInARoundThanMemoryIsCountedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		p, err := NewPolicy(l)
		if err != nil {
			t.Fatal(err)
		}
		most := placement.MaxPiece(l.Chunk, l.BlockTokens)
		if len(l.Weights) > 1 && p.MaxPiece() > most {
			t.Fatalf("pieces of up to %d tokens, memory is for %d", p.MaxPiece(), most)
		}
		whole := len(p.spread) * l.BlockTokens
		position := rapid.IntRange(0, (whole-1)/p.Round()).Draw(t, "rounds") * p.Round()
		end := position + rapid.IntRange(1, min(p.Round(), whole-position)/l.BlockTokens).Draw(t, "blocks")*l.BlockTokens
		tokens := map[int]int{}
		for _, piece := range p.Pieces(Span{position, end}) {
			tokens[piece.Node] += piece.Tokens.Len()
		}
		for n, computes := range tokens {
			if len(l.Weights) > 1 && computes > most {
				t.Fatalf("node %d computes %d tokens, memory is for %d", n, computes, most)
			}
		}
	})
}

// What a node has after a switch is what it had, less what it sent, and what it got.
func TestTrafficMakesOneModeOfAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		p, err := NewPolicy(l)
		if err != nil {
			t.Fatal(err)
		}
		tokens, from, to := rapid.IntRange(0, 300).Draw(t, "tokens"), drawMode(t), drawMode(t)
		has := make([]int, len(l.Weights))
		for _, h := range p.target(from, tokens) {
			has[h.Node] += h.Area()
		}
		for i, row := range p.Traffic(from, to, tokens) {
			for j, pairs := range row {
				if pairs < 0 || i == j && pairs > 0 {
					t.Fatalf("%d pairs from %d to %d", pairs, i, j)
				}
				has[i] -= pairs
				has[j] += pairs
			}
		}
		for _, h := range p.target(to, tokens) {
			has[h.Node] -= h.Area()
		}
		if slices.ContainsFunc(has, func(n int) bool { return n != 0 }) {
			t.Fatalf("from %v to %v, %d tokens: nodes are off by %v", from, to, tokens, has)
		}
	})
}

func TestBothSpreadingModesWantTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		p, err := NewPolicy(l)
		if err != nil {
			t.Fatal(err)
		}
		end := rapid.IntRange(0, 300).Draw(t, "tokens")
		if moves := p.moves(placement.Ring, p.target(placement.Pooled, end)); len(moves) > 0 {
			t.Fatalf("from pooled to ring: %v", moves)
		}
		for _, m := range []placement.Mode{placement.Pipeline, placement.Pooled, placement.Ring} {
			if moves := p.moves(m, p.target(m, end)); len(moves) > 0 {
				t.Fatalf("%v is not where it wants to be: %v", m, moves)
			}
			if err := (&Epoch{Owners: p.Owners(m), Covered: end, Held: p.target(m, end)}).Validate(l.Layers, len(l.Weights)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestNewPolicyRefusesNonsense(t *testing.T) {
	good := func() Layout {
		return Layout{Layers: 4, BlockTokens: 4, Chunk: 8, Pipeline: []Owner{{Span{0, 2}, 0}, {Span{2, 4}, 1}}, Weights: []float64{0.5, 0.5}}
	}
	if _, err := NewPolicy(good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Layout){
		"no layers":                 func(l *Layout) { l.Layers = 0 },
		"no block":                  func(l *Layout) { l.BlockTokens = 0 },
		"negative chunk":            func(l *Layout) { l.Chunk = -1 },
		"no nodes":                  func(l *Layout) { l.Weights = nil },
		"ring owner absent":         func(l *Layout) { l.RingOwner = 2 },
		"ring owner negative":       func(l *Layout) { l.RingOwner = -1 },
		"layers missing":            func(l *Layout) { l.Pipeline = l.Pipeline[:1] },
		"layers twice":              func(l *Layout) { l.Pipeline[1].Layers.First = 1 },
		"layers beyond the model":   func(l *Layout) { l.Pipeline[1].Layers.End = 5 },
		"layers of an absent node":  func(l *Layout) { l.Pipeline[1].Node = 2 },
		"shares of more than all":   func(l *Layout) { l.Weights = []float64{0.7, 0.7} },
		"shares of less than all":   func(l *Layout) { l.Weights = []float64{0.2, 0.2} },
		"negative share":            func(l *Layout) { l.Weights = []float64{1.5, -0.5} },
		"share that is no number":   func(l *Layout) { l.Weights = []float64{math.NaN(), 1} },
		"nothing but NaN":           func(l *Layout) { l.Weights = []float64{math.NaN(), math.NaN()} },
		"all shares zero":           func(l *Layout) { l.Weights = []float64{0, 0} },
		"blocks of other nodes":     func(l *Layout) { l.Blocks = []int{4} },
		"negative blocks":           func(l *Layout) { l.Blocks = []int{4, -1} },
		"no blocks at all":          func(l *Layout) { l.Blocks = []int{0, 0} },
		"blocks without a share":    func(l *Layout) { l.Weights, l.Blocks = []float64{1, 0}, []int{4, 1} },
		"share that is not bounded": func(l *Layout) { l.Weights = []float64{math.Inf(1), 0} },
	} {
		l := good()
		if spoil(&l); func() bool { _, err := NewPolicy(l); return err == nil }() {
			t.Errorf("%s: accepted %+v", name, l)
		}
	}
}
