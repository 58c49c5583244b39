package simulate

import (
	"context"
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

// parcelTokens is how many tokens' keys and values go round the ring at a time, as package engine has it.
const parcelTokens = 1024

// ring reports whether prompts are read in rounds.
func (s *Simulation) ring() bool {
	return s.cost.Plan().Mode == placement.Ring && len(s.nodes) > 1
}

// rounds reads a prompt in rounds, each of which begins when all nodes have ended the one before. Within a
// layer no two nodes wait for the same thing, so it needs no queue: when a node has a parcel depends only on
// itself and on the node before it.
func (s *Simulation) rounds(ctx context.Context, tokens int) (Prefill, error) {
	for i := range s.nodes {
		s.nodes[i].reset()
	}
	before := s.done(0)
	b := belt{Simulation: s, at: make([]float64, len(s.nodes)), arrives: make([]float64, len(s.nodes)), own: make([]float64, len(s.nodes))}
	now := 0.0
	for p, round := 0, s.cost.Round(); p < tokens; p += round {
		for j := range b.at {
			b.at[j] = now
		}
		if err := b.round(ctx, p, min(round, tokens-p)); err != nil {
			return Prefill{}, err
		}
		now = slices.Max(b.at)
	}
	return Prefill{float64(tokens) / now, busiest(before, s.done(now), now)}, nil
}

// belt is the parcels of a layer, on their way round the ring.
type belt struct {
	*Simulation
	at      []float64 // when each node is ready for the next thing
	arrives []float64 // when its next parcel is there
	own     []float64 // tokens of each node that go round
}

// round takes n tokens after p earlier ones through all layers.
func (b *belt) round(ctx context.Context, p, n int) error {
	for l := range b.cost.Layers() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for j := range b.nodes {
			b.work(j, products, b.cost.Products(j, l, int(float64(n)*b.shares[j].TokenWeight+0.5)))
		}
		b.layer(l, p, n)
	}
	return nil
}

// work makes a node do what should take so many seconds.
func (b *belt) work(j int, u use, seconds float64) {
	takes := seconds * b.nodes[j].slow * (1 + b.drawn(b.uneven))
	b.nodes[j].asked[u] += takes
	b.at[j] += takes
}

// layer attends to all tokens of a layer. In each rotation a parcel of every node makes one trip: at each hop
// a node attends to the parcel that it has while it passes that on, then takes the next from the node before.
func (b *belt) layer(l, p, n int) {
	nodes := len(b.nodes)
	window := b.cost.Window(l)
	passing := p + n
	if window > 0 {
		passing = min(passing, window+b.cost.Chunk())
	}
	most := 0.0
	for j, share := range b.shares {
		b.own[j] = float64(passing) * share.TokenWeight
		most = max(most, b.own[j])
	}
	pairs := placement.Pairs(n, p, window) / float64(passing) // of all queries with one passing key
	for first := 0.0; first < most; first += parcelTokens {
		for hop := range nodes {
			for j := range nodes {
				origin := (j - hop + nodes) % nodes
				keys := min(max(b.own[origin]-first, 0), parcelTokens)
				begin := b.at[j]
				b.work(j, attention, b.cost.Attention(j, l, keys, keys*pairs*b.shares[j].TokenWeight))
				if hop == nodes-1 {
					continue
				}
				next := (j + 1) % nodes
				link := b.link(int32(j), int32(next))
				takes := link.occupies(keys * b.cost.KVBytes(l))
				b.nodes[j].asked[sending] += takes
				b.nodes[next].asked[receiving] += takes
				b.at[j] = max(b.at[j], begin+takes)
				b.arrives[next] = begin + takes + link.Latency + b.drawn(link.Jitter)
			}
			if hop < nodes-1 {
				for j := range nodes {
					b.at[j] = max(b.at[j], b.arrives[j])
				}
			}
		}
	}
}
