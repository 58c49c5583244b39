package placement

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func placeAll(t *testing.T, r Request) *Reservation {
	t.Helper()
	res, err := PlaceAll(r, []Mode{Pipeline, Pooled, Ring})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestSwitchableModesShareTheirLayersAndReserveTheMost(t *testing.T) {
	res := placeAll(t, request(Pipeline, 300*gib, 300*gib))
	if len(res.Plans) != 3 || len(res.Refused) != 0 {
		t.Fatalf("%d modes fit", len(res.Plans))
	}
	promises, _ := res.Promises(Pipeline)
	for i, kept := range promises {
		pipeline, pooled, ring := res.Plans[Pipeline].Shares[i], res.Plans[Pooled].Shares[i], res.Plans[Ring].Shares[i]
		if pipeline.Layers != pooled.Layers {
			t.Errorf("%s has layers %v and %v", pipeline.Node, pipeline.Layers, pooled.Layers)
		}
		if want := (Promise{ring.Weights + ring.Rest, max(pipeline.KV, pooled.KV, ring.KV)}); kept.Fixed != want.Fixed || kept.KV < want.KV {
			t.Errorf("%s keeps %+v, want %+v and perhaps more KV cache to stage", pipeline.Node, kept, want)
		}
	}
}

func TestAModeThatDoesNotFitIsRefusedBeforeItIsTried(t *testing.T) {
	res := placeAll(t, request(Pipeline, 64*gib, 20*gib))
	refusal := res.Refused[Ring]
	if refusal == nil || res.Plans[Pooled] == nil {
		t.Fatalf("refused: %v", res.Refused)
	}
	if err := res.Switch(Pipeline, Ring, 1000); !errors.Is(err, refusal) {
		t.Errorf("switching to ring gives %v", err)
	}
	_, err := PlaceAll(request(Ring, 64*gib, 20*gib), []Mode{Pipeline})
	if !errors.As(err, &refusal) || refusal.Mode != Ring {
		t.Errorf("loading in a mode that does not fit gives %v", err)
	}
	res, err = PlaceAll(request(Pipeline, 64*gib, 20*gib), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Switch(Pipeline, Pooled, 1000); err == nil || !strings.Contains(err.Error(), "not reserved") {
		t.Errorf("switching to a mode that was not asked for gives %v", err)
	}
}

func TestASwitchInOneGoIsRefusedWhenOldAndNewBlocksDoNotFit(t *testing.T) {
	res := placeAll(t, request(Pipeline, 64*gib, 20*gib))
	var refusal *Refusal
	err := res.Switch(Pipeline, Pooled, 204800)
	if !errors.As(err, &refusal) || refusal.From != Pipeline || refusal.MaxContext == 0 || refusal.MaxContext >= 204800 {
		t.Fatalf("at the full context: %v", err)
	}
	if !strings.Contains(err.Error(), "switching") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q", err)
	}
	if err := res.Switch(Pipeline, Pooled, refusal.MaxContext); err != nil {
		t.Errorf("at the context that fits: %v", err)
	}
	if err := res.Switch(Pipeline, Pooled, refusal.MaxContext+1); err == nil {
		t.Error("it fits at a longer context than the refusal says")
	}
	if err := res.Switch(Pooled, Pooled, 204800); err != nil {
		t.Errorf("staying: %v", err)
	}
	if err := res.Switch(Pipeline, Pooled, 204801); err == nil {
		t.Error("a context that was not reserved is accepted")
	}
}

// TestWhatASwitchHolds counts a small switch by hand: 2 layers of 1 byte a token on one node each, 4
// blocks of 2 tokens, chunks of 1 (so 4 tokens staged).
func TestWhatASwitchHolds(t *testing.T) {
	m := Model{Name: "m", LayerBytes: []int64{10, 10}, KVBytesPerToken: []int64{1, 1}}
	r := Request{Model: m, Mode: Pipeline, Context: 8, Sequences: 1, Chunk: 1, BlockTokens: 2,
		Nodes: []Node{{Name: "a", Memory: gib, Bandwidth: 1}, {Name: "b", Memory: gib, Bandwidth: 1}}}
	res := placeAll(t, r)
	for _, k := range []struct {
		from, to       Mode
		context        int
		weights, cache int64
	}{
		{Pipeline, Pooled, 8, 10, 8 + 4},   // all tokens of its layer, half the tokens of the other
		{Pooled, Pipeline, 8, 10, 8 + 4},   //
		{Pipeline, Pooled, 3, 10, 4 + 2},   // two blocks
		{Pipeline, Ring, 8, 20, 8 + 4 + 4}, // and the staging of the other layer
		{Pooled, Ring, 8, 20, 2*4 + 2*4},   // half the tokens of both layers, staging of both
	} {
		peak, ok := res.during(k.from, k.to, k.context)
		for _, row := range peak.Rows {
			if !ok || row.Weights != k.weights || row.KV != k.cache {
				t.Errorf("%v to %v at %d: %s holds %d + %d, want %d + %d", k.from, k.to, k.context, row.Node, row.Weights, row.KV, k.weights, k.cache)
			}
		}
	}
}

// searchBoth tries every split of the layers for one with which both pipeline and pooled fit.
func searchBoth(r *Request) bool {
	layers := len(r.Model.LayerBytes)
	var try func(node, layer int, split map[string]Range) bool
	try = func(node, layer int, split map[string]Range) bool {
		if node == len(r.Nodes) {
			given := *r
			given.Overrides = split
			return layer == layers && search(&given, Pipeline) && search(&given, Pooled)
		}
		n := r.Nodes[node].Name
		for end := layer; end <= layers; end++ {
			if o, ok := r.Overrides[n]; ok && o.Len() != end-layer {
				continue
			}
			split[n] = Range{layer, end}
			if try(node+1, end, split) {
				return true
			}
		}
		return false
	}
	return try(0, 0, map[string]Range{})
}

func TestReservationsHoldForEveryModeThatFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := small(t)
		res, err := PlaceAll(r, []Mode{Pipeline, Pooled, Ring})
		if err != nil {
			if _, alone := Place(r); alone == nil {
				t.Fatalf("Place places it, PlaceAll does not: %v", err)
			}
			return
		}
		if len(res.Plans)+len(res.Refused) != 3 || res.Plans[r.Mode] == nil {
			t.Fatalf("%d modes fit and %d are refused", len(res.Plans), len(res.Refused))
		}
		for mode, p := range res.Plans {
			fits(t, p)
			for i, s := range p.Shares {
				if s.Needs() != takes(&r, mode, i, s.Layers, s.Blocks) || s.Needs() > r.Nodes[i].Memory {
					t.Fatalf("%s in %s mode needs %d of %d", s.Node, mode, s.Needs(), s.Has)
				}
			}
		}
		if search(&r, Ring) != (res.Plans[Ring] != nil) {
			t.Fatal("ring mode: search does not agree")
		}
		if both := res.Plans[Pipeline] != nil && res.Plans[Pooled] != nil; both != searchBoth(&r) {
			t.Fatalf("pipeline and pooled fit together: %v; search does not agree", both)
		}
		// A peak is at least what either plan takes at the full context.
		for from, a := range res.Plans {
			for to, b := range res.Plans {
				if from == to {
					continue
				}
				peak, _ := res.during(from, to, r.Context)
				for i, row := range peak.Rows {
					if row.Needs() < max(a.Shares[i].Needs(), b.Shares[i].Needs()) {
						t.Fatalf("%v to %v: %s holds %d, less than a plan", from, to, row.Node, row.Needs())
					}
				}
			}
		}
		checkKept(t, &r, res)
	})
}

// checkKept holds what nodes keep against each mode that the model may still move to.
func checkKept(t *rapid.T, r *Request, res *Reservation) {
	alone := maps.Clone(res.Plans)
	kept, staged := res.Promises(r.Mode)
	if res.Plans[r.Mode] == nil || len(res.Plans)+len(res.Refused) != 3 {
		t.Fatalf("loaded in %v, kept for %d modes, refused are %d", r.Mode, len(res.Plans), len(res.Refused))
	}
	for mode, p := range res.Plans {
		for i, s := range p.Shares {
			s := res.f.staging(staged).share(mode, i, s.Layers, int64(s.Blocks))
			if s.Weights+s.Rest > kept[i].Fixed || s.KV > kept[i].KV || kept[i].Fixed+kept[i].KV > s.Has {
				t.Fatalf("%s keeps %+v of %d, and %v with %d staged blocks takes %+v", s.Node, kept[i], s.Has, mode, staged, s)
			}
		}
	}
	for mode := range alone {
		refusal := res.Refused[mode]
		if refusal == nil {
			continue
		}
		if !slices.Contains(refusal.Beside, r.Mode) || refusal.Missing <= 0 || refusal.MaxContext >= r.Context || !strings.Contains(refusal.Error(), "beside "+r.Mode.String()) {
			t.Fatalf("%v is refused with %+v", mode, refusal)
		}
		if at := refusal.MaxContext; at > 0 {
			f, plans := res.f.at(at), map[Mode]*Plan{}
			for _, m := range append(slices.Clone(refusal.Beside), mode) {
				if plans[m], _ = f.place(m); plans[m] == nil {
					t.Fatalf("at the context of %d, which the refusal advises, %v does not fit", at, m)
				}
			}
			if !f.fitTogether(plans, append(slices.Clone(refusal.Beside), mode)) {
				t.Fatalf("at the context of %d, which the refusal advises, %v does not fit beside %v", at, mode, refusal.Beside)
			}
		}
	}
}
