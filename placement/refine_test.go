package placement

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// predictor predicts plans of r with all nodes linked alike.
func predictor(r Request, l Link) func(*Plan) (*Cost, error) {
	links, work := mesh(len(r.Nodes), l), workOf(r.Model)
	return func(p *Plan) (*Cost, error) { return NewCost(r, p, work, links, 1) }
}

// refined is r as it is placed by bandwidth, and refined.
func refined(t *testing.T, r Request, of Mode) (before, after *Reservation) {
	t.Helper()
	before = placeAll(t, r)
	after, err := before.Refine(of, predictor(r, thunderbolt))
	if err != nil {
		t.Fatal(err)
	}
	return before, after
}

// fastestStep is a step at a context in the fastest of the modes that nodes keep memory for, or in one of them.
func fastestStep(t interface{ Fatal(...any) }, res *Reservation, load, of Mode, context int, predict func(*Plan) (*Cost, error)) float64 {
	kept := &Reservation{Plans: maps.Clone(res.Plans), Refused: maps.Clone(res.Refused), f: res.f}
	kept.Promises(load)
	least := math.Inf(1)
	for m, p := range kept.Plans {
		if of != 0 && m != of {
			continue
		}
		c, err := predict(p)
		if err != nil {
			t.Fatal(err)
		}
		least = min(least, c.Step(context).Seconds())
	}
	return least
}

// TestANodeShortOfMemoryGivesUpLayersForTokens: of a model of experts, whose layers take much memory and little time.
func TestANodeShortOfMemoryGivesUpLayersForTokens(t *testing.T) {
	r := quick(Pooled, 150*gib, 24*gib)
	work, links := workOf(r.Model), mesh(3, thunderbolt)
	for l := range r.Model.LayerBytes {
		r.Model.LayerBytes[l] *= 4
		work.ReadBytes[l] /= 4
		work.TokenFLOPs[l] /= 4
	}
	before := placeAll(t, r)
	for _, of := range []Mode{0, Pooled} {
		after, err := before.Refine(of, func(p *Plan) (*Cost, error) { return NewCost(r, p, work, links, 1) })
		if err != nil {
			t.Fatal(err)
		}
		was, is := before.Plans[Pooled].Shares[2], after.Plans[Pooled].Shares[2]
		if is.Layers.Len() == 0 || is.Layers.Len() >= was.Layers.Len() || is.Blocks <= was.Blocks {
			t.Errorf("for mode %d the small node has %d layers and %d blocks, by bandwidth %d and %d", of, is.Layers.Len(), is.Blocks, was.Layers.Len(), was.Blocks)
		}
		fits(t, after.Plans[Pooled])
	}
}

func TestAMuchSlowerNodeGivesUpItsLayers(t *testing.T) {
	r := quick(Pipeline, 300*gib, 300*gib)
	r.Nodes = r.Nodes[1:]
	r.Nodes[1].Bandwidth, r.Nodes[1].FLOPS = 50e9, 50e9
	before, after := refined(t, r, 0)
	if before.Plans[Pipeline].Shares[1].Layers.Len() == 0 || after.Plans[Pipeline].Shares[1].Layers.Len() != 0 {
		t.Errorf("by bandwidth:\n%srefined:\n%s", before.Plans[Pipeline].Table(), after.Plans[Pipeline].Table())
	}
}

func TestEqualNodesKeepTheirLayersWhateverIsMeasured(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		r := request(Pipeline, 100*gib, 100*gib)
		for i := range r.Nodes {
			n := &r.Nodes[i]
			n.Bandwidth, n.Rates = 100e9, rated(100e9*(0.95+0.1*rng.Float64()), 400e9)
		}
		for _, of := range []Mode{0, Pipeline, Pooled} {
			if before, after := refined(t, r, of); after != before {
				t.Errorf("seed %d, mode %d: layers moved:\n%s%s", seed, of, before.Plans[Pipeline].Table(), after.Plans[Pipeline].Table())
			}
		}
	}
}

func TestRefiningKeepsGivenLayers(t *testing.T) {
	r := quick(Pooled, 100*gib, 16*gib)
	r.Overrides = map[string]Range{"macbook": {70, 80}, "studio1": {0, 50}}
	if before, after := refined(t, r, 0); after != before {
		t.Errorf("layers moved:\n%s", after.Plans[Pooled].Table())
	}
	r.Overrides = map[string]Range{"macbook": {72, 80}}
	if _, after := refined(t, r, 0); after.Plans[Pooled].Shares[2].Layers != r.Overrides["macbook"] {
		t.Errorf("layers moved:\n%s", after.Plans[Pooled].Table())
	}
}

func TestRingAndLargeClustersAreNotRefined(t *testing.T) {
	r := quick(Pooled, 100*gib, 16*gib)
	if before, after := refined(t, r, Ring); after != before {
		t.Error("layers moved for ring")
	}
	r.Nodes = nil
	for i := range 200 {
		n := quick(Pooled, 100*gib, 16*gib).Nodes[i%3]
		n.Name = fmt.Sprint(i)
		r.Nodes = append(r.Nodes, n)
	}
	before := placeAll(t, r)
	after, err := before.Refine(0, func(*Plan) (*Cost, error) { return nil, fmt.Errorf("asked") })
	if after != before || err != nil {
		t.Errorf("a large cluster: %v", err)
	}
}

func TestARefinementNeedsPredictions(t *testing.T) {
	res := placeAll(t, quick(Pooled, 100*gib, 16*gib))
	wrong := fmt.Errorf("not known")
	if _, err := res.Refine(0, func(*Plan) (*Cost, error) { return nil, wrong }); err != wrong {
		t.Errorf("error %v", err)
	}
}

// predictable is a small request with what predictions need.
func predictable(t *rapid.T) (Request, func(*Plan) (*Cost, error)) {
	r := small(t)
	for i := range r.Nodes {
		r.Nodes[i].FLOPS = rapid.Float64Range(1, 99).Draw(t, "FLOPS")
	}
	latency, bandwidth := rapid.Float64Range(0, 2).Draw(t, "latency"), rapid.Float64Range(1, 1e6).Draw(t, "link")
	return r, predictor(r, Link{Latency: latency, Bandwidth: bandwidth})
}

func TestRefinedLayersFitAndAreNoSlower(t *testing.T) {
	moved := 0
	rapid.Check(t, func(t *rapid.T) {
		r, predict := predictable(t)
		before, err := PlaceAll(r, []Mode{Pipeline, Pooled, Ring})
		if err != nil {
			t.Skip(err)
		}
		of := Mode(rapid.IntRange(0, 3).Draw(t, "of"))
		if of != 0 {
			of = r.Mode
		}
		after, err := before.Refine(of, predict)
		if err != nil {
			t.Fatal(err)
		}
		again, err := before.Refine(of, predict)
		if err != nil || !reflect.DeepEqual(again.Plans, after.Plans) {
			t.Fatalf("refined once:\n%v\nand again, %v:\n%v", after.Plans, err, again.Plans)
		}
		if len(after.Plans)+len(after.Refused) != 3 {
			t.Fatalf("%d modes fit and %d are refused", len(after.Plans), len(after.Refused))
		}
		for mode, p := range before.Plans {
			q := after.Plans[mode]
			if q == nil {
				t.Fatalf("%v does not fit any more", mode)
			}
			fits(t, q)
			sum := 0
			for i, s := range q.Shares {
				if s.Needs() != takes(&r, mode, i, s.Layers, s.Blocks) || s.Needs() > r.Nodes[i].Memory {
					t.Fatalf("%s in %s mode needs %d of %d", s.Node, mode, s.Needs(), s.Has)
				}
				if o, given := r.Overrides[s.Node]; given && mode != Ring && o.Len() != s.Layers.Len() {
					t.Fatalf("%s was given layers %v and has %v", s.Node, o, s.Layers)
				}
				sum += s.Blocks - p.Shares[i].Blocks
				if mode == Pipeline && s.Layers == p.Shares[i].Layers && s != p.Shares[i] {
					t.Fatalf("%s has the same layers and needs %+v, before %+v", s.Node, s, p.Shares[i])
				}
			}
			if sum != 0 || mode == Ring && !reflect.DeepEqual(p, q) {
				t.Fatalf("%v moved blocks that it should not have:\n%s%s", mode, p.Table(), q.Table())
			}
		}
		for _, context := range []int{r.Context / 2, r.Context} {
			was, is := fastestStep(t, before, r.Mode, of, context, predict), fastestStep(t, after, r.Mode, of, context, predict)
			if is > was*(1+1e-12) {
				t.Fatalf("a step at %d of %d tokens takes %g, before %g", context, r.Context, is, was)
			}
		}
		if after != before {
			moved++
		}
		checkKept(t, &r, after)
	})
	if moved == 0 {
		t.Error("no layers moved: the test shows nothing")
	}
}

// uneven is a model of some layers on two to four nodes, with memory about what is needed and unlike in all.
func uneven(rng *rand.Rand) Request {
	r := request(Mode(1+rng.IntN(2)), 0, 0)
	r.Context = 1 << (10 + rng.IntN(8))
	layers := 4 + rng.IntN(9)
	r.Model.LayerBytes, r.Model.KVBytesPerToken = slices.Clone(r.Model.LayerBytes[:layers]), r.Model.KVBytesPerToken[:layers]
	for l := range layers {
		r.Model.LayerBytes[l] <<= rng.IntN(2)
	}
	r.Nodes = nil
	for i := range 2 + rng.IntN(3) {
		bandwidth := 100e9 * math.Pow(2, 3*rng.Float64())
		r.Nodes = append(r.Nodes, Node{Name: fmt.Sprint(i), Memory: int64((0.5 + 8*rng.Float64()) * gib), Bandwidth: bandwidth, FLOPS: bandwidth * 10 * math.Pow(2, 3*rng.Float64())})
	}
	return r
}

// TestTheBestSplitIsFound holds the split of few layers against all there are, and that of many, to which single moves lead,
// against the best in most cases: where memory is short no move that fits may lead there.
func TestTheBestSplitIsFound(t *testing.T) {
	const cases = 400
	placed, climbed := 0, 0
	for seed := range uint64(cases) {
		rng := rand.New(rand.NewPCG(seed, 1))
		r := uneven(rng)
		res, err := PlaceAll(r, []Mode{Pipeline, Pooled, Ring})
		if err != nil {
			continue
		}
		predict := predictor(r, Link{Latency: 5e-4 * rng.Float64(), Bandwidth: 1e9})
		look := func() *refinement {
			s, err := res.refinement(Mode(seed%3), predict)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := look()
		if s == nil {
			continue
		}
		placed++
		if _, err := s.best(); err != nil {
			t.Fatal(err)
		}
		best := 0.0
		every(len(r.Nodes), len(r.Model.LayerBytes), func(layers []int) {
			gain, err := look().gain(layers)
			if err != nil {
				t.Fatal(err)
			}
			best = max(best, gain)
		})
		if s.most < best-moreGain {
			t.Errorf("seed %d: %v gains %.3f, the best %.3f", seed, s.found, s.most, best)
		}
		s = look()
		if err := s.climb(); err != nil {
			t.Fatal(err)
		}
		if s.most >= best-0.02 {
			climbed++
		}
	}
	if placed < cases/2 || climbed < placed*9/10 {
		t.Errorf("of %d cases moves led within two hundredths of the best in %d", placed, climbed)
	}
}

// every visits all ways to give layers to nodes.
func every(nodes, layers int, visit func([]int)) {
	if nodes == 1 {
		visit([]int{layers})
		return
	}
	for n := range layers + 1 {
		every(nodes-1, layers-n, func(rest []int) { visit(append([]int{n}, rest...)) })
	}
}

func TestAPromptsPaceIsThatOfItsPrefill(t *testing.T) {
	for _, mode := range []Mode{Pipeline, Pooled, Ring} {
		for _, small := range []int64{20, 300} {
			if mode == Ring && small < 300 {
				continue
			}
			r := quick(mode, 300*gib, small*gib)
			c := costOf(t, r, workOf(r.Model), mesh(3, thunderbolt), 0.5)
			for _, tokens := range []int{300, 512, 4096, 32000, 204800} {
				want := c.Prefill(tokens).Seconds * float64(min(r.Chunk, tokens)) / float64(tokens)
				if got := c.pace(tokens); math.Abs(got/want-1) > 0.04 {
					t.Errorf("%v, %d tokens: a chunk takes %g, by the prefill of all %g", mode, tokens, got, want)
				}
			}
		}
	}
}

func BenchmarkRefine(b *testing.B) {
	for _, nodes := range []int{3, 8, 32, 1024} {
		r := quick(Pipeline, 200*gib, 20*gib)
		for range 20 {
			r.Model.LayerBytes, r.Model.KVBytesPerToken = append(r.Model.LayerBytes, 460<<20), append(r.Model.KVBytesPerToken, 4096)
		}
		r.Nodes = nil
		for i := range nodes {
			n := quick(Pipeline, 200*gib, 20*gib).Nodes[i%3]
			n.Name, n.Rates = fmt.Sprint(i), rated(n.Bandwidth, 4*n.Bandwidth)
			r.Nodes = append(r.Nodes, n)
		}
		res, err := PlaceAll(r, []Mode{Pipeline, Pooled, Ring})
		if err != nil {
			b.Fatal(err)
		}
		predict := predictor(r, thunderbolt)
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			for range b.N {
				if _, err := res.Refine(0, predict); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
