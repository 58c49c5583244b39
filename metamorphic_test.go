package orrery_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model/modeltest"
)

// TestAnySplitAnyModeAnySwitchGivesTheSameTokens draws models, clusters, modes, chunk sizes and switches at
// random, and holds each against one node that computes everything in one go: the same greedy tokens, and
// logits within 1e-4 of their spread, if keys and values are stored as singles. ORRERY_METAMORPHIC sets the number of cases, ORRERY_SEED the seed.
func TestAnySplitAnyModeAnySwitchGivesTheSameTokens(t *testing.T) {
	few := 12
	if testing.Short() {
		few = 4
	}
	cases := envInt(t, "ORRERY_METAMORPHIC", few)
	seed := envInt(t, "ORRERY_SEED", 1)
	for i := range cases {
		c := drawCase(rand.New(rand.NewPCG(uint64(seed), uint64(i))))
		t.Run(fmt.Sprintf("%d", i), func(t *testing.T) {
			t.Logf("seed %d case %d: %+v", seed, i, c)
			c.run(t)
		})
	}
}

func envInt(t *testing.T, name string, def int) int {
	s := os.Getenv(name)
	if s == "" {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// metamorphicCase is one random situation.
type metamorphicCase struct {
	Model      modeltest.Options
	Prompt     int // tokens
	Decode     int // of the prompt's tokens, computed one at a time; and as many are generated
	Bandwidths []float64
	Mode       orrery.Mode
	KV         orrery.KVFormat
	Chunk      int
	Block      int
	Switches   []orrery.SwitchAt
	Beside     []int // other sequences that decode at the same time: how many of the prompt's tokens each has for its own
}

func drawCase(r *rand.Rand) metamorphicCase {
	pick := func(vs ...int) int { return vs[r.IntN(len(vs))] }
	modes := []orrery.Mode{orrery.Pipeline, orrery.Pooled, orrery.Ring}
	kv := pick(1, 2, 3)
	c := metamorphicCase{
		Model: modeltest.Options{ModelType: []string{"llama", "qwen3", "qwen3_moe", "mixtral"}[r.IntN(4)], Experts: 2 + r.IntN(9), Layers: 1 + r.IntN(7), Hidden: pick(32, 48, 64), Intermediate: pick(48, 96),
			KVHeads: kv, Heads: kv * pick(1, 2, 4), HeadDim: pick(8, 16, 32, 32, 64), Vocab: pick(64, 200), MaxPositions: 1024,
			Format: []device.Format{device.F32, device.F16, device.BF16}[r.IntN(3)], Tied: r.IntN(2) == 0, Seed: r.Uint64()},
		Prompt: 1 + r.IntN(300), Decode: r.IntN(40), Mode: modes[r.IntN(3)], Chunk: pick(1, 5, 16, 33, 64, 256), Block: pick(1, 4, 7, 16, 64),
	}
	c.Decode = min(c.Decode, c.Prompt)
	c.KV = []orrery.KVFormat{orrery.KVF32, orrery.KVQ8, orrery.KVQ4}[r.IntN(3)]
	if strings.HasSuffix(c.Model.ModelType, "_moe") || c.Model.ModelType == "mixtral" { // rounded keys may make a token go to another expert
		c.Model.Active = 1 + r.IntN(min(3, c.Model.Experts))
		c.KV = orrery.KVF32
	}
	if c.Model.HeadDim%16 != 0 {
		c.KV = orrery.KVF32
	}
	for range 1 + r.IntN(5) {
		c.Bandwidths = append(c.Bandwidths, (0.2+r.Float64())*1e10)
	}
	for range r.IntN(4) {
		c.Switches = append(c.Switches, orrery.SwitchAt{Token: r.IntN(c.Prompt + 1), Mode: modes[r.IntN(3)]})
	}
	slices.SortFunc(c.Switches, func(a, b orrery.SwitchAt) int { return a.Token - b.Token })
	for range r.IntN(4) {
		c.Beside = append(c.Beside, 1+r.IntN(c.Prompt))
	}
	return c
}

func (c metamorphicCase) run(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	dir := t.TempDir()
	if err := modeltest.Write(dir, c.Model); err != nil {
		t.Fatal(err)
	}
	ids := make([]int32, c.Prompt)
	r := rand.New(rand.NewPCG(c.Model.Seed, 7))
	for i := range ids {
		ids[i] = int32(r.IntN(c.Model.Vocab))
	}
	alone := startNodes(t, 1e10)[0]
	whole, err := alone.Load(ctx, dir, orrery.LoadOptions{Context: 1024, Chunk: 512, KV: c.KV})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := logitsOf(t, ctx, whole, ids, orrery.LogitsOptions{})
	wantTokens, _ := greedy(t, ctx, whole, ids, orrery.GenerateOptions{MaxTokens: 24})

	nodes := startNodes(t, c.Bandwidths...)
	m, err := nodes[len(nodes)-1].Load(ctx, dir, orrery.LoadOptions{Context: 1024, Mode: c.Mode, Chunk: c.Chunk, BlockTokens: c.Block, KV: c.KV, Sequences: 2 + len(c.Beside)})
	if err != nil {
		t.Fatal(err)
	}
	got, switches := logitsOf(t, ctx, m, ids, orrery.LogitsOptions{Decode: c.Decode, SwitchAt: c.Switches})
	checkSwitches(t, c.Switches, switches)
	diff, at := largestDifference(got, want)
	t.Logf("logits differ by at most %.2g of their spread", diff/spread(want))
	// Sums in another order differ in their last bits, and then an element may be rounded to the step beside.
	limit := map[orrery.KVFormat]float64{orrery.KVF32: 1e-4, orrery.KVQ8: 1e-2, orrery.KVQ4: 1e-1}[c.KV]
	if !(diff <= limit*spread(want)) {
		t.Errorf("logits differ by %g at position %d, which is %g of their spread", diff, at/c.Model.Vocab, diff/spread(want))
	}
	var late []orrery.SwitchAt
	for _, s := range c.Switches {
		late = append(late, orrery.SwitchAt{Token: s.Token % 24, Mode: s.Mode})
	}
	slices.SortFunc(late, func(a, b orrery.SwitchAt) int { return a.Token - b.Token })
	beside := c.beside(t, ctx, whole, m, ids)
	tokens, switches := greedy(t, ctx, m, ids, orrery.GenerateOptions{MaxTokens: 24, SwitchAt: late})
	checkSwitches(t, late, switches)
	if !slices.Equal(tokens, wantTokens) {
		t.Errorf("tokens %v, on one node %v", tokens, wantTokens)
	}
	beside()
}

// beside begins to generate in the other sequences, each in a mode of its own, and returns what waits for them and
// holds their tokens against those of one node. The last of several is given up midway.
func (c metamorphicCase) beside(t *testing.T, ctx context.Context, whole, m *orrery.Model, ids []int32) (check func()) {
	const most = 32
	var want [][]int32
	for _, n := range c.Beside {
		tokens, _ := greedy(t, ctx, whole, ids[:n], orrery.GenerateOptions{MaxTokens: most})
		want = append(want, tokens)
	}
	var all sync.WaitGroup
	for i, n := range c.Beside {
		s, err := m.NewSession(ctx, orrery.SessionOptions{Mode: orrery.Pipeline + orrery.Mode(i)%3})
		if err != nil {
			t.Fatal(err)
		}
		upTo := most
		if i > 0 && i == len(c.Beside)-1 {
			upTo = most / 2
		}
		all.Go(func() {
			defer s.Close()
			g, err := s.GenerateIDs(ctx, ids[:n], orrery.GenerateOptions{MaxTokens: most, IgnoreEOS: true})
			if err != nil {
				t.Error(err)
				return
			}
			var got []int32
			for token, err := range g.Tokens() {
				if err != nil {
					t.Error(err)
					return
				}
				if token.ID >= 0 {
					got = append(got, token.ID)
				}
				if len(got) == upTo {
					break
				}
			}
			if !slices.Equal(got, want[i][:upTo]) {
				t.Errorf("sequence %d of those beside: tokens %v, on one node %v", i, got, want[i][:upTo])
			}
		})
	}
	return all.Wait
}

// checkSwitches holds the reports against what was asked for. The last may be missing: a switch is not
// begun before the one before it has ended, and not after the last step.
func checkSwitches(t *testing.T, asked []orrery.SwitchAt, got []orrery.SwitchReport) {
	t.Helper()
	if len(got) > len(asked) {
		t.Fatalf("%d reports of %d switches", len(got), len(asked))
	}
	for i, s := range got {
		if s.Err != nil || s.To != asked[i].Mode {
			t.Errorf("switch %d to %v: %+v", i, asked[i].Mode, s)
		}
	}
}

// logitsOf collects the logits of every token, [tokens][vocabulary].
func logitsOf(t *testing.T, ctx context.Context, m *orrery.Model, ids []int32, o orrery.LogitsOptions) ([]float32, []orrery.SwitchReport) {
	t.Helper()
	all := make([]float32, len(ids)*m.Vocab())
	seen := make([]int, len(ids))
	var mu sync.Mutex
	switches, err := m.Logits(ctx, ids, o, func(first int, rows []float32) error {
		mu.Lock()
		defer mu.Unlock()
		copy(all[first*m.Vocab():], rows)
		for i := range len(rows) / m.Vocab() {
			seen[first+i]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range seen {
		if n != 1 {
			t.Fatalf("the logits of token %d came %d times", i, n)
		}
	}
	return all, switches
}

func greedy(t *testing.T, ctx context.Context, m *orrery.Model, ids []int32, o orrery.GenerateOptions) ([]int32, []orrery.SwitchReport) {
	t.Helper()
	s, err := m.NewSession(ctx, orrery.SessionOptions{Mode: o.Mode})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o.IgnoreEOS = true
	g, err := s.GenerateIDs(ctx, ids, o)
	if err != nil {
		t.Fatal(err)
	}
	var tokens []int32
	for tok, err := range g.Tokens() {
		if err != nil {
			t.Fatal(err)
		}
		if tok.ID >= 0 {
			tokens = append(tokens, tok.ID)
		}
	}
	return tokens, g.Stats().Switches
}

func largestDifference(a, b []float32) (largest float64, at int) {
	for i := range a {
		if d := math.Abs(float64(a[i]) - float64(b[i])); !(d <= largest) {
			largest, at = d, i
		}
	}
	return largest, at
}

// spread is the standard deviation.
func spread(v []float32) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range v {
		sum += float64(x)
		squares += float64(x) * float64(x)
	}
	n := float64(len(v))
	return math.Sqrt(squares/n - sum/n*sum/n)
}
