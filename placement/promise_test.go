package placement

import (
	"slices"
	"strings"
	"testing"
)

// tight is a model of 10 GiB and a context of 8 GiB on two nodes, the second of which computes most layers.
func tight(mode Mode, memory int64) Request {
	m := Model{Name: "m", EmbedBytes: gib, HeadBytes: gib}
	for range 8 {
		m.LayerBytes = append(m.LayerBytes, gib)
		m.KVBytesPerToken = append(m.KVBytesPerToken, 64<<10)
	}
	return Request{Model: m, Mode: mode, Context: 16384, Sequences: 1, Chunk: 256, BlockTokens: 256,
		Overrides: map[string]Range{"a": {0, 1}, "b": {1, 8}},
		Nodes:     []Node{{Name: "a", Memory: 24 * gib, Bandwidth: 3e9}, {Name: "b", Memory: memory, Bandwidth: 1e9}}}
}

// Node b needs 8 GiB of weights and 7 GiB of cache in pipeline, 10 GiB and 2 GiB in ring: 15 GiB and a little
// in each mode, and 17 GiB when one sequence is in ring and another in pipeline.
func TestModesThatFitOnlyByThemselvesAreGivenUp(t *testing.T) {
	for load, given := range map[Mode][]Mode{Pipeline: {Ring}, Ring: {Pipeline}} {
		res := placeAll(t, tight(load, 16*gib))
		if len(res.Plans) != 3 {
			t.Fatalf("one by one %d modes fit, refused are %v", len(res.Plans), res.Refused)
		}
		promises, _ := res.Promises(load)
		for _, m := range []Mode{Pipeline, Pooled, Ring} {
			refusal := res.Refused[m]
			if want := slices.Contains(given, m); want != (refusal != nil) || want == (res.Plans[m] != nil) {
				t.Errorf("loaded in %v: %v is refused with %v", load, m, refusal)
			} else if want && (!strings.Contains(refusal.Error(), "beside "+load.String()) || refusal.Rows[1].Lacks == 0 || refusal.MaxContext == 0) {
				t.Errorf("loaded in %v: %v", load, refusal)
			}
		}
		if p := promises[1]; p.Fixed+p.KV > 16*gib {
			t.Errorf("loaded in %v: node b promises %+v", load, p)
		}
	}
	res := placeAll(t, tight(Pipeline, 18*gib))
	if _, _ = res.Promises(Pipeline); len(res.Plans) != 3 {
		t.Errorf("with enough memory %v are refused", res.Refused)
	}
}

// The refusal's advice is held: at the context that it names nothing is given up.
func TestAContextAtWhichModesFitTogether(t *testing.T) {
	r := tight(Pipeline, 16*gib)
	res := placeAll(t, r)
	res.Promises(Pipeline)
	for _, c := range []struct{ context, modes int }{{res.Refused[Ring].MaxContext, 3}, {res.Refused[Ring].MaxContext + 1, 2}} {
		r.Context = c.context
		at := placeAll(t, r)
		if at.Promises(Pipeline); len(at.Plans) != c.modes {
			t.Errorf("with a context of %d %d modes fit together", c.context, len(at.Plans))
		}
	}
}

func TestStagingIsAsLargeAsMemoryAllows(t *testing.T) {
	_, most := placeAll(t, tight(Pipeline, 100*gib)).Promises(Pipeline)
	if want := 7; most != want { // six chunks, of a block each, and the open one
		t.Errorf("%d blocks are staged where there is room, want %d", most, want)
	}

	pooled := func(memory int64) (p Promise, blocks, staged int) {
		res, err := PlaceAll(tight(Pooled, memory), []Mode{Pooled})
		if err != nil {
			t.Fatal(err)
		}
		promises, staged := res.Promises(Pooled)
		return promises[1], res.Plans[Pooled].Shares[1].Blocks, staged
	}
	enough, holds, staged := pooled(100 * gib)
	memory := enough.Fixed + enough.KV
	for want := staged; want >= 2; want-- {
		p, blocks, staged := pooled(memory)
		if blocks != holds || staged != want || p.Fixed+p.KV > memory {
			t.Fatalf("with %d bytes %d blocks are held, %d staged and %+v promised, want %d and %d", memory, blocks, staged, p, holds, want)
		}
		memory -= 7 * 16 << 20 // a block of the 7 layers
	}
}

func TestWhatIsPromisedToOthersIsNotThere(t *testing.T) {
	r := tight(Pipeline, 16*gib)
	need := place(t, r).Shares[1].Needs()
	r.Nodes[1].Memory, r.Nodes[1].Promised = 20*gib, 20*gib-need
	if p := place(t, r); p.Shares[1].Has != need || p.Shares[1].Memory != 20*gib {
		t.Errorf("%+v", p.Shares[1])
	}
	r.Nodes[1].Promised++
	_, err := Place(r)
	refusal, _ := err.(*Refusal)
	if refusal == nil || refusal.Rows[1].Lacks != 1 {
		t.Fatalf("with a byte less: %v", err)
	}
	refusal.Rows[1].Taken = "promised are 5.0 GiB to llama of x"
	if text := refusal.Error(); !strings.Contains(text, "GiB of 20.0 GiB free, promised are 5.0 GiB to llama of x)") || strings.Contains(text, "\n") {
		t.Errorf("%q", text)
	}
	if table := refusal.Table(); !strings.Contains(table, " of 20.0 GiB") || !strings.Contains(table, "node b: promised are 5.0 GiB to llama of x\n") {
		t.Errorf("%s", table)
	}
	r.Nodes[1].Promised = 21 * gib
	if _, err := Place(r); err == nil || !strings.Contains(err.Error(), "node b") {
		t.Errorf("more is promised than there is: %v", err)
	}
}
