package actors

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/placement"
)

func TestStepsFeedEverythingWithinTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := limits{chunk: rapid.IntRange(1, 50).Draw(t, "chunk"), block: rapid.IntRange(1, 9).Draw(t, "block"), nodes: rapid.IntRange(1, 5).Draw(t, "nodes")}
		l.round = l.block * rapid.IntRange(2*l.nodes, 40).Draw(t, "blocks of a round")
		l.asking = rapid.IntRange(1, l.chunk).Draw(t, "asking")
		position, remaining := rapid.IntRange(0, 500).Draw(t, "position"), rapid.IntRange(1, 500).Draw(t, "tokens")
		mode := rapid.SampledFrom(modes).Draw(t, "mode")
		single := rapid.Bool().Draw(t, "single")
		n, round := l.nextStep(mode, position, remaining, single)
		switch {
		case n < 1 || n > remaining:
			t.Fatalf("%d of %d tokens", n, remaining)
		case single && (n != 1 || round):
			t.Fatalf("%d tokens, round %v, where one at a time is asked for", n, round)
		case round && (mode != placement.Ring || l.nodes == 1 || position/l.round != (position+n-1)/l.round || (position+n)%l.block != 0):
			t.Fatalf("a round of %d tokens from %d in %v over %d nodes, rounds are of %d", n, position, mode, l.nodes, l.round)
		case !round && (n > l.chunk || position > 0 && n > l.asking):
			t.Fatalf("%d tokens from %d in a chunk of %d, or %d that ask", n, position, l.chunk, l.asking)
		}
	})
	if window(3, true) != 1 || window(3, false) != 4 {
		t.Error("decode has one step in flight, prefill one for each owner and one that waits")
	}
}
