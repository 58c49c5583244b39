package sampling

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var inf = float32(math.Inf(1))

// probabilities is what Params leave of logits, straight from the definitions: sorted, cut, renormalised.
func probabilities(logits []float32, p Params) map[int32]float64 {
	type token struct {
		id    int32
		logit float64
		prob  float64
	}
	var tokens []token
	for id, v := range logits {
		tokens = append(tokens, token{int32(id), float64(v) / float64(p.Temperature), 0})
	}
	slices.SortStableFunc(tokens, func(a, b token) int { return cmp.Compare(b.logit, a.logit) })
	softmax := func() {
		total := 0.0
		for i := range tokens {
			tokens[i].prob = math.Exp(tokens[i].logit - tokens[0].logit)
			total += tokens[i].prob
		}
		for i := range tokens {
			tokens[i].prob /= total
		}
	}
	if k := p.TopK; k > 0 && k < len(tokens) {
		kth := tokens[k-1].logit
		tokens = slices.DeleteFunc(tokens, func(t token) bool { return t.logit < kth })
	}
	softmax()
	if p.TopP > 0 && p.TopP < 1 {
		before, n := 0.0, 0
		for n < len(tokens) && before < float64(p.TopP) {
			before += tokens[n].prob
			n++
		}
		tokens = tokens[:n]
		softmax()
	}
	if p.MinP > 0 {
		least := float64(p.MinP) * tokens[0].prob
		tokens = slices.DeleteFunc(tokens, func(t token) bool { return t.prob < least })
		softmax()
	}
	probs := map[int32]float64{}
	for _, t := range tokens {
		probs[t.id] = t.prob
	}
	return probs
}

func sample(t testing.TB, logits []float32, p Params, position int) int32 {
	t.Helper()
	var s Sampler
	id, err := s.Sample(logits, p, position)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestGreedyIsTheLowestIDWithTheLargestLogit(t *testing.T) {
	for _, c := range []struct {
		logits []float32
		want   int32
	}{
		{[]float32{1}, 0},
		{[]float32{1, 3, 2}, 1},
		{[]float32{-2, -1, -1, -1}, 1},
		{[]float32{-inf, -5, -inf}, 1},
		{[]float32{0, float32(math.Copysign(0, -1))}, 0},
	} {
		for seed := range uint64(5) {
			if got := sample(t, c.logits, Params{TopK: 2, TopP: 0.5, Seed: seed}, 3); got != c.want {
				t.Errorf("%v: %d, want %d", c.logits, got, c.want)
			}
		}
	}
}

func TestDrawsFollowTheDefinitionsOfTheFilters(t *testing.T) {
	const draws = 20000
	logits := []float32{2, 1, 0.5, 2, -1, -inf, 0.9, 1, -3, 1.7}
	for _, p := range []Params{
		{Temperature: 1},
		{Temperature: 0.5},
		{Temperature: 2, TopP: 1},
		{Temperature: 1, TopK: 1}, // two tokens are the largest
		{Temperature: 1, TopK: 4},
		{Temperature: 1, TopK: 100},
		{Temperature: 1, TopP: 0.01},
		{Temperature: 1, TopP: 0.6},
		{Temperature: 1, TopP: 0.95},
		{Temperature: 1, MinP: 0.4},
		{Temperature: 1, MinP: 1},
		{Temperature: 1.5, TopK: 6, TopP: 0.8, MinP: 0.3},
	} {
		p.Seed = 42
		want := probabilities(logits, p)
		counts := map[int32]int{}
		var s Sampler
		for i := range draws {
			id, err := s.Sample(logits, p, i)
			if err != nil {
				t.Fatal(err)
			}
			counts[id]++
		}
		for id := range counts {
			if want[id] == 0 {
				t.Errorf("%+v: drew %d, which the filters remove", p, id)
			}
		}
		for id, q := range want {
			// Five standard deviations of the count; the seed is fixed, so this does not flicker.
			if off := math.Abs(float64(counts[id]) - q*draws); off > 5*math.Sqrt(draws*q*(1-q))+1e-9 {
				t.Errorf("%+v: drew %d %d times, want about %.0f", p, id, counts[id], q*draws)
			}
		}
	}
}

func TestNothingThatTheFiltersRemoveIsDrawn(t *testing.T) {
	var s Sampler
	rapid.Check(t, func(t *rapid.T) {
		// Coarse logits, so that there are ties, and some removed beforehand.
		logits := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float32 {
			if v := rapid.IntRange(-9, 8).Draw(t, "v"); v > -9 {
				return float32(v) * 0.75
			}
			return -inf
		}), 1, 300).Draw(t, "logits")
		logits[rapid.IntRange(0, len(logits)-1).Draw(t, "i")] = 1
		p := Params{
			Temperature: rapid.Float32Range(0.05, 3).Draw(t, "temperature"),
			TopK:        rapid.IntRange(0, 40).Draw(t, "top-k"),
			TopP:        rapid.Float32Range(0, 1).Draw(t, "top-p"),
			MinP:        rapid.Float32Range(0, 1).Draw(t, "min-p"),
			Seed:        rapid.Uint64().Draw(t, "seed"),
		}
		before := slices.Clone(logits)
		want := probabilities(logits, p)
		for position := range 20 {
			id, err := s.Sample(logits, p, position)
			if err != nil {
				t.Fatal(err)
			}
			// A token on the very edge of a filter may fall on either side by rounding.
			if want[id] == 0 && probabilities(logits, eased(p))[id] == 0 {
				t.Fatalf("%+v: drew %d of %v", p, id, logits)
			}
		}
		if !slices.Equal(logits, before) {
			t.Fatal("the logits were changed")
		}
	})
}

// eased is p with slightly wider filters.
func eased(p Params) Params {
	if p.TopP > 0 {
		p.TopP = min(1, p.TopP+1e-6)
	}
	p.MinP = max(0, p.MinP-1e-6)
	return p
}

func TestTheDrawDependsOnSeedAndPositionOnly(t *testing.T) {
	logits := make([]float32, 1000)
	p := Params{Temperature: 1, Seed: 7}
	var fresh, used Sampler
	if _, err := used.Sample(make([]float32, 5000), Params{Temperature: 2, TopP: 0.5, TopK: 9}, 1); err != nil {
		t.Fatal(err)
	}
	same := 0
	for position := range 100 {
		a, errA := fresh.Sample(logits, p, position)
		b, errB := used.Sample(logits, p, position)
		if errA != nil || errB != nil || a != b {
			t.Fatalf("position %d: %d and %d, %v, %v", position, a, b, errA, errB)
		}
		other := p
		other.Seed++
		if sample(t, logits, other, position) == a {
			same++
		}
	}
	if same > 5 {
		t.Errorf("%d of 100 tokens are the same with another seed", same)
	}
}

// The random numbers of neighbouring seeds and positions must be as good as any.
func TestRandomNumbersAreUniformAndUncorrelated(t *testing.T) {
	const n, cells = 1 << 16, 64
	for name, at := range map[string]func(i int) float64{
		"positions":              func(i int) float64 { return uniform(1, i) },
		"seeds":                  func(i int) float64 { return uniform(uint64(i), 1) },
		"both":                   func(i int) float64 { return uniform(uint64(i), i) },
		"seeds of high bits":     func(i int) float64 { return uniform(uint64(i)<<48, 5) },
		"positions a page apart": func(i int) float64 { return uniform(0, i*4096) },
	} {
		var counts [cells]float64
		var pairs [8][8]float64
		for i := range n {
			u := at(i)
			if u < 0 || u >= 1 {
				t.Fatalf("%s: %v", name, u)
			}
			counts[int(u*cells)]++
			pairs[int(u*8)][int(at(i+1)*8)]++
		}
		chi := 0.0
		for _, c := range counts {
			chi += (c - n/cells) * (c - n/cells) / (n / cells)
		}
		chiPairs := 0.0
		for _, row := range pairs {
			for _, c := range row {
				chiPairs += (c - n/64) * (c - n/64) / (n / 64)
			}
		}
		// 63 degrees of freedom: above 120 once in 10⁵ times.
		if chi > 120 || chiPairs > 120 {
			t.Errorf("%s: χ² of values %.0f, of neighbouring pairs %.0f", name, chi, chiPairs)
		}
	}
}

func TestBadLogitsAreErrors(t *testing.T) {
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		logits []float32
		want   string
	}{
		"none":     {nil, "no logits"},
		"NaN":      {[]float32{1, nan, 2}, "logit 1 is NaN"},
		"NaN only": {[]float32{nan}, "logit 0 is NaN"},
		"NaN last": {[]float32{inf, nan}, "logit 1 is NaN"},
		"+Inf":     {[]float32{1, inf}, "+Inf"},
		"all -Inf": {[]float32{-inf, -inf}, "-Inf"},
	} {
		for _, p := range []Params{{}, {Temperature: 1}, {Temperature: 1, TopK: 1, TopP: 0.5, MinP: 0.1}} {
			var s Sampler
			if _, err := s.Sample(c.logits, p, 0); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %+v: %v", name, p, err)
			}
		}
	}
}

func TestBadParamsAreRefusedByName(t *testing.T) {
	nan := float32(math.NaN())
	for want, bad := range map[string][]Params{
		"temperature": {{Temperature: -1}, {Temperature: nan}, {Temperature: inf}},
		"top_k":       {{TopK: -1}},
		"top_p":       {{TopP: -0.1}, {TopP: 1.1}, {TopP: nan}},
		"min_p":       {{MinP: -0.1}, {MinP: 1.1}, {MinP: nan}},
	} {
		for _, p := range bad {
			if err := p.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%+v: %v", p, err)
			}
			var s Sampler
			if _, err := s.Sample([]float32{1}, p, 0); err == nil {
				t.Errorf("%+v: sampled", p)
			}
		}
	}
	for _, p := range []Params{{}, {Temperature: 2, TopK: 1 << 30, TopP: 1, MinP: 1, Seed: math.MaxUint64}} {
		if err := p.Validate(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestExtremeTemperaturesHaveTheirLimits(t *testing.T) {
	logits := []float32{-1e30, 3, 2.9999, 3e-30}
	for position := range 50 {
		if got := sample(t, logits, Params{Temperature: 1e-40}, position); got != 1 {
			t.Fatalf("cold: %d", got)
		}
	}
	seen := map[int32]bool{}
	for position := range 200 {
		seen[sample(t, []float32{1, 2, 3}, Params{Temperature: 1e30}, position)] = true
	}
	if len(seen) != 3 {
		t.Errorf("hot: only %v", seen)
	}
}

// vocabulary is logits as a model gives them: a bell with a few that stand out.
func vocabulary(n int) []float32 {
	rng := rand.New(rand.NewPCG(3, 4))
	logits := make([]float32, n)
	for i := range logits {
		logits[i] = float32(rng.NormFloat64() * 2.5)
	}
	for range 20 {
		logits[rng.IntN(n)] += 12
	}
	return logits
}

var benchParams = map[string]Params{
	"greedy":      {},
	"temperature": {Temperature: 0.8},
	"top-k":       {Temperature: 0.8, TopK: 50},
	"top-p":       {Temperature: 0.8, TopP: 0.95},
	"min-p":       {Temperature: 0.8, MinP: 0.05},
	"all":         {Temperature: 0.8, TopK: 50, TopP: 0.95, MinP: 0.05},
}

func TestSamplingAllocatesNothing(t *testing.T) {
	logits := vocabulary(20000)
	for name, p := range benchParams {
		var s Sampler
		position := 0
		if n := testing.AllocsPerRun(20, func() {
			position++
			if _, err := s.Sample(logits, p, position); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkSample(b *testing.B) {
	logits := vocabulary(150_000)
	for _, name := range []string{"greedy", "temperature", "top-k", "top-p", "min-p", "all"} {
		b.Run(name, func(b *testing.B) {
			var s Sampler
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.Sample(logits, benchParams[name], i); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
