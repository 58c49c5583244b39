package placement

import (
	"math"
	"testing"
)

// sharing is that of nodes that take so many times longer, find such a share in the caches of all that they read, and read it at 1e9 bytes/s.
func sharing(slower, keys, weights float64) Sharing {
	s := Sharing{Slower: slower}
	for i := range s.Bytes {
		s.Bytes[i] = float64(i+1) * (8 << 20)
		s.Cached[i], s.Weights[i], s.Every[i] = keys, weights, s.Bytes[i]/1e9
	}
	return s
}

// neighbouring is a plan of three nodes of a machine, on processors of their own, with memory of 1e9 bytes/s and caches of twice that.
func neighbouring(t *testing.T, mode Mode, together Together) *Cost {
	t.Helper()
	same := rated(1e9, 2e9)
	r, w := fourLayers(mode, same, same, same)
	r.Context = 3840
	for i := range r.Nodes {
		r.Nodes[i].Machine, r.Nodes[i].CPUs = "x", string(rune('0'+i))
	}
	c := costOf(t, r, w, mesh(3, thunderbolt), 1)
	if err := c.ShareMemory([]Together{together, together, together}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNodesOfAMachineReadAsWasMeasuredOfThemTogether(t *testing.T) {
	const context = 3840
	turn, once := sharing(1.25, 0.5, 0.25), sharing(2.5, 0.75, 0)
	weights, keys := 5*float64(1<<20)/1e9, context*4*1024/1e9 // from memory, alone
	for _, c := range []struct {
		name          string
		mode          Mode
		together      Together
		weights, keys float64 // in those
	}{
		{"in turn", Pipeline, Together{Turn: turn, Once: once}, 0.25/2 + 0.75, 0.5/2 + 0.5*1.25},
		{"at once", Pooled, Together{Turn: turn, Once: once}, 1, (0.75/2 + 0.25*2.5) / 3},
		{"in ring", Ring, Together{Turn: turn, Once: turn, Ring: once}, 1, (0.75/2 + 0.25*2.5) / 3},
		{"in turn alone is known", Pooled, Together{Turn: turn}, 0.25/2 + 0.75, (0.5/2 + 0.5*1.25) / 3},
	} {
		s := neighbouring(t, c.mode, c.together).Step(context)
		if !near(s.Weights, c.weights*weights) {
			t.Errorf("%s: weights take %v s, want %v", c.name, s.Weights, c.weights*weights)
		}
		if !near(s.KV, c.keys*keys) {
			t.Errorf("%s: keys and values take %v s, want %v", c.name, s.KV, c.keys*keys)
		}
	}
	if before, after := neighbouring(t, Pooled, Together{}).Step(context), neighbouring(t, Pooled, Together{Turn: turn, Once: once}).Step(context); !near(before.Exchange, after.Exchange) || !near(before.HandOver, after.HandOver) {
		t.Errorf("exchanges and hand-overs were %+v, and are %+v", before, after)
	}
}

func TestWhoReadsMoreOftenThanWasMeasuredFindsMoreInTheCaches(t *testing.T) {
	turn := sharing(1, 0, 0)
	for i := range turn.Bytes { // from all to nothing over 20 MiB
		left := float64(i) / float64(len(turn.Bytes)-1)
		turn.Cached[i] = 1 - left
		turn.Bytes[i] = 1<<20 + left*(19<<20)
		turn.Every[i] = turn.Bytes[i] / 1e9
	}
	c := among(&turn, turn.Cached[:])
	c.pass(1e9)
	measured := c.share(10<<20, 0)
	if got := c.share(10<<20, float64(10<<20)/1e9); !near(got, measured) {
		t.Errorf("as often as was measured %v is there, and was %v", got, measured)
	}
	if more, less := c.share(10<<20, 5e-3), c.share(10<<20, 20e-3); !(more > measured+0.1 && less < measured-0.1) {
		t.Errorf("every 5 ms %v is there, every 10 ms %v and every 20 ms %v", more, measured, less)
	}
}

func TestWhatNoNodesMeasureTogetherIsRefused(t *testing.T) {
	good := Together{Turn: sharing(1, 1, 1), Once: sharing(2, 0.5, 0)}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(t *Together){
		"faster":                func(t *Together) { t.Turn.Slower = 0.9 },
		"no number":             func(t *Together) { t.Once.Slower = math.NaN() },
		"absurd":                func(t *Together) { t.Once.Slower = 1e9 },
		"not known, and cached": func(t *Together) { t.Once.Slower = 0 },
		"more than all":         func(t *Together) { t.Turn.Cached[3] = 1.5 },
		"more than all weights": func(t *Together) { t.Turn.Weights[3] = math.Inf(1) },
		"less bytes":            func(t *Together) { t.Turn.Bytes[3] = 1 },
		"no bytes":              func(t *Together) { t.Turn.Bytes[0] = 0 },
		"no time in ring":       func(t *Together) { t.Ring.Slower = 1 },
		"no time":               func(t *Together) { t.Once.Every[0] = 0 },
		"no time that is one":   func(t *Together) { t.Once.Every[0] = math.NaN() },
	} {
		bad := good
		if spoil(&bad); bad.Check() == nil {
			t.Errorf("%s is accepted: %+v", name, bad)
		}
	}
	c := neighbouring(t, Pooled, good)
	if c.ShareMemory([]Together{good, good}) == nil {
		t.Error("what two of three nodes measured is accepted")
	}
	good.Turn.Every[2] = -1
	if c.ShareMemory([]Together{good, good, good}) == nil {
		t.Error("less than no time is accepted")
	}
}
