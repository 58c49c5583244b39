package batching

import (
	"slices"

	"github.com/orrery-ai/orrery/residence"
)

// Prompts says whose prompt goes on, for the sequences of one loaded model: by a part, a step of some tokens, or by a
// round of ring prefill, beside which nothing else runs. Feed it events, then take what begins with Next and NextRound.
type Prompts struct {
	readers map[uint64]*reader
	queues  []*queue // as many as the layers have splits, of which there are few
	rounds  []uint64 // sequences that want to begin one, in the order of becoming ready
	round   uint64   // the sequence whose round is in flight, or 0
	resting bool     // the others have their turn before the next round
}

// reader is a sequence that has a prompt.
type reader struct {
	waits  *queue // for a part of it; nil: it does not
	flies  *queue // of its parts in flight
	flight int    // of them
}

// queue is the parts that go from node to node alike.
type queue struct {
	owners  []residence.Owner
	window  int // parts that may be in flight
	waiting []uint64
	flight  int
}

// NewPrompts begins without any.
func NewPrompts() *Prompts { return &Prompts{readers: map[uint64]*reader{}} }

// Ready says that a sequence's next step is a part of its prompt, which may begin, and whose layers these are: the same
// as those of its parts in flight. One that was ready keeps its turn.
func (p *Prompts) Ready(id uint64, owners []residence.Owner) {
	r := p.readers[id]
	if r == nil {
		r = &reader{}
		p.readers[id] = r
	}
	q := p.queueOf(owners)
	if r.waits == q {
		return
	}
	p.Withdraw(id)
	r.waits = q
	q.waiting = append(q.waiting, id)
}

// ReadyRound says that a sequence's next step is a round, which may begin once no other step is in flight. One that was ready keeps its turn.
func (p *Prompts) ReadyRound(id uint64) {
	if !slices.Contains(p.rounds, id) {
		p.Withdraw(id)
		p.rounds = append(p.rounds, id)
	}
}

// Withdraw says that a sequence is not ready any more. What is in flight of it stays there.
func (p *Prompts) Withdraw(id uint64) {
	if r := p.readers[id]; r != nil && r.waits != nil {
		i := slices.Index(r.waits.waiting, id)
		r.waits.waiting = slices.Delete(r.waits.waiting, i, i+1)
		r.waits = nil
	}
	if i := slices.Index(p.rounds, id); i >= 0 {
		p.rounds = slices.Delete(p.rounds, i, i+1)
	}
}

// Done says that a part of a sequence's prompt, or its round, is over.
func (p *Prompts) Done(id uint64) {
	if p.round == id {
		p.round, p.resting = 0, true
	} else if r := p.readers[id]; r != nil && r.flight > 0 {
		r.flight--
		r.flies.flight--
	}
}

// Gone says that a sequence is no more.
func (p *Prompts) Gone(id uint64) {
	p.Withdraw(id)
	if p.round == id {
		p.Done(id)
	}
	if r := p.readers[id]; r != nil && r.flight > 0 {
		r.flies.flight -= r.flight
	}
	delete(p.readers, id)
}

// Open reports whether steps that are no round may begin: neither is one in flight, nor does any wait for the steps that are.
func (p *Prompts) Open() bool { return p.round == 0 && (p.resting || len(p.rounds) == 0) }

// Next is the sequence of whose prompt a part begins now, or 0. Open must hold.
func (p *Prompts) Next() uint64 {
	for _, q := range p.queues {
		if len(q.waiting) == 0 || q.flight >= q.window {
			continue
		}
		id := q.waiting[0]
		q.waiting = slices.Delete(q.waiting, 0, 1)
		q.flight++
		r := p.readers[id]
		r.waits, r.flies = nil, q
		r.flight++
		return id
	}
	return 0
}

// NextRound is the sequence whose round begins now, while so many other steps are in flight, or 0. What Next and others
// may begin has begun: from now on the first round that waits stops them.
func (p *Prompts) NextRound(inFlight int) uint64 {
	p.resting = false
	if p.round != 0 || len(p.rounds) == 0 || inFlight > 0 {
		return 0
	}
	p.round = p.rounds[0]
	p.rounds = slices.Delete(p.rounds, 0, 1)
	return p.round
}

func (p *Prompts) queueOf(owners []residence.Owner) *queue {
	for _, q := range p.queues {
		if slices.Equal(q.owners, owners) {
			return q
		}
	}
	q := &queue{owners: slices.Clone(owners), window: nodesOf(owners) + 1}
	p.queues = append(p.queues, q)
	return q
}
