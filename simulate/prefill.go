package simulate

import (
	"context"
	"slices"
)

// Prefill is how fast a prompt is read.
type Prefill struct {
	Rate float64 // tokens/s
	Load Load    // of what is busiest meanwhile
}

// Load is how busy something is.
type Load struct {
	What  string  // "matrix products", "attention", "merge" or "ports"
	Node  int     // whose
	Share float64 // of the time
}

var useNames = [numUses]string{products: "matrix products", attention: "attention", merging: "merge", receiving: "ports", sending: "ports"}

// Prefill simulates the reading of a prompt of so many tokens, at least one. In ring mode that is all of
// its rounds. Otherwise it is chunks in the middle of it, while all owners have one in work and more follow:
// the time of a chunk grows linearly with its place, so it is there what it is on average. The error is
// that of ctx.
func (s *Simulation) Prefill(ctx context.Context, tokens int) (Prefill, error) {
	s.begin()
	if s.ring() {
		return s.rounds(ctx, tokens)
	}
	const settle, counted = 8, 24 // chunks that leave the last owner before those that count, and these
	n := min(s.cost.Chunk(), tokens)
	f := flow{Simulation: s, earlier: (tokens - n) / 2, tokens: n, steps: settle + counted}
	var before []node
	var since float64
	f.onDone = func(now float64) {
		if f.done == settle {
			before, since = slices.Clone(s.nodes), now
		}
	}
	if err := f.run(ctx); err != nil {
		return Prefill{}, err
	}
	took := f.end - since
	return Prefill{float64(counted*n) / took, s.busiest(before, took)}, nil
}

// busiest finds what was busy for the largest share of some seconds; what had been done before them does not
// count. A node computes one thing at a time, so that is one load, which is named for most of it.
func (s *Simulation) busiest(before []node, seconds float64) Load {
	var most Load
	for i := range s.nodes {
		busy := s.nodes[i].busy
		for u := range busy {
			busy[u] -= before[i].busy[u]
		}
		computing, largest := 0.0, products
		for u := products; u <= merging; u++ {
			computing += busy[u]
			if busy[u] > busy[largest] {
				largest = u
			}
		}
		for _, l := range []Load{
			{useNames[largest], i, computing / seconds},
			{useNames[receiving], i, busy[receiving] / seconds},
			{useNames[sending], i, busy[sending] / seconds},
		} {
			l.Share = min(l.Share, 1) // what is asked for counts at once
			if l.Share > most.Share {
				most = l
			}
		}
	}
	return most
}
