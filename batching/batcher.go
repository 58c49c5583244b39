package batching

import (
	"slices"

	"github.com/orrery-ai/orrery/residence"
)

// Batcher puts the sequences of one loaded model together. Feed it events, then take what begins with Next.
type Batcher struct {
	most    int // sequences of a step
	members map[uint64]*member
	ways    []*way // as many as the layers have splits, of which there are few
}

// member is a sequence.
type member struct {
	way    *way // nil: it neither waits nor is in flight
	flight int  // the step that it is in, or 0: it waits
}

// way is the steps that go from node to node alike.
type way struct {
	owners  []residence.Owner
	nodes   int      // among the owners
	waiting []uint64 // in the order of becoming ready
	flights []flight
	last    int // the number of the last flight
}

// flight is a step that has begun.
type flight struct {
	number int
	left   int // sequences whose result has not come
}

// New makes steps of at most so many sequences.
func New(most int) *Batcher { return &Batcher{most: max(1, most), members: map[uint64]*member{}} }

// Ready says that a sequence's next step is one token, which may begin, and whose layers these are. One that was ready keeps its turn.
func (b *Batcher) Ready(id uint64, owners []residence.Owner) {
	m := b.members[id]
	switch {
	case m == nil:
		m = &member{}
		b.members[id] = m
	case m.way == nil:
	case m.flight != 0 || slices.Equal(m.way.owners, owners):
		return
	default:
		b.Withdraw(id)
	}
	m.way = b.wayOf(owners)
	m.way.waiting = append(m.way.waiting, id)
}

// Withdraw says that a sequence is not ready any more. One that is in flight stays there.
func (b *Batcher) Withdraw(id uint64) {
	if m := b.members[id]; m != nil && m.way != nil && m.flight == 0 {
		i := slices.Index(m.way.waiting, id)
		m.way.waiting = slices.Delete(m.way.waiting, i, i+1)
		m.way = nil
	}
}

// Done says that the step that a sequence is in is over for it.
func (b *Batcher) Done(id uint64) {
	m := b.members[id]
	if m == nil || m.flight == 0 {
		return
	}
	i := slices.IndexFunc(m.way.flights, func(f flight) bool { return f.number == m.flight })
	if m.way.flights[i].left--; m.way.flights[i].left == 0 {
		m.way.flights = slices.Delete(m.way.flights, i, i+1)
	}
	*m = member{}
}

// Gone says that a sequence is no more.
func (b *Batcher) Gone(id uint64) {
	b.Withdraw(id)
	b.Done(id)
	delete(b.members, id)
}

// Next appends to ids the sequences whose next tokens are to be computed in a step that begins now. If there is none it is ids.
func (b *Batcher) Next(ids []uint64) []uint64 {
	for _, w := range b.ways {
		if len(w.waiting) == 0 || len(w.flights) >= w.nodes {
			continue
		}
		all := len(w.waiting)
		for _, f := range w.flights {
			all += f.left
		}
		n := min(b.most, (all+w.nodes-1)/w.nodes, len(w.waiting))
		w.last++
		for _, id := range w.waiting[:n] {
			b.members[id].flight = w.last
		}
		w.flights = append(w.flights, flight{w.last, n})
		ids = append(ids, w.waiting[:n]...)
		w.waiting = slices.Delete(w.waiting, 0, n)
		break
	}
	return ids
}

func (b *Batcher) wayOf(owners []residence.Owner) *way {
	for _, w := range b.ways {
		if slices.Equal(w.owners, owners) {
			return w
		}
	}
	w := &way{owners: slices.Clone(owners), nodes: nodesOf(owners)}
	b.ways = append(b.ways, w)
	return w
}

// nodesOf is how many nodes own layers.
func nodesOf(owners []residence.Owner) (n int) {
	for i, o := range owners {
		if !slices.ContainsFunc(owners[:i], func(p residence.Owner) bool { return p.Node == o.Node }) {
			n++
		}
	}
	return n
}
