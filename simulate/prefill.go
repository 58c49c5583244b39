package simulate

import "context"

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
	// Until as many chunks as there are owners have gone through, some have not met the slowest owner. What
	// counts after that is layers, of any chunk, for chunks leave the last owner in bursts. Owners that are
	// hardly faster than the slowest take long to be held up by it; the error of that is a percent or two.
	const counted = 24 // chunks
	all := s.cost.Layers()
	settled := (len(s.stages) + 8) * all
	n := min(s.cost.Chunk(), tokens)
	f := flow{Simulation: s, earlier: (tokens - n) / 2, tokens: n, wanted: settled + counted*all}
	var before []spent
	var since float64
	f.onLayer = func() {
		if f.layers == settled {
			before, since = s.done(f.now), f.now
		}
	}
	if err := f.run(ctx); err != nil {
		return Prefill{}, err
	}
	return Prefill{float64(counted*n) / (f.now - since), busiest(before, s.done(f.now), f.now-since)}, nil
}

// done is what all nodes have done until now. Of what they have been asked for, some is still to come: of
// computing it is taken to be made up as all that was asked for.
func (s *Simulation) done(now float64) []spent {
	all := make([]spent, len(s.nodes))
	for i := range all {
		n, w := &s.nodes[i], &all[i]
		*w = n.asked
		w[receiving] -= max(0, n.in.free-now)
		w[sending] -= max(0, n.out.free-now)
		if computing := w.computing(); computing > 0 {
			left := 1 - max(0, n.compute.free-now)/computing
			for u := products; u <= merging; u++ {
				w[u] *= left
			}
		}
	}
	return all
}

// busiest finds what was busy for the largest share of some seconds, by what had been done before and after
// them. A node computes one thing at a time, so that is one load, which is named for most of it.
func busiest(before, after []spent, seconds float64) Load {
	var most Load
	for i := range after {
		did := after[i]
		for u := range did {
			did[u] -= before[i][u]
		}
		largest := products
		for u := products; u <= merging; u++ {
			if did[u] > did[largest] {
				largest = u
			}
		}
		for _, l := range []Load{
			{useNames[largest], i, did.computing() / seconds},
			{useNames[receiving], i, did[receiving] / seconds},
			{useNames[sending], i, did[sending] / seconds},
		} {
			if l.Share > most.Share {
				most = l
			}
		}
	}
	return most
}
