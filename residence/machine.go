package residence

import "github.com/orrery-ai/orrery/placement"

// Machine is the state of one sequence's residence. Feed it events, then take its actions with Ready.
type Machine struct {
	policy *Policy
	nodes  int

	epoch    *Epoch         // in force for new steps
	number   uint64         // the last number given to an epoch or a batch
	length   int            // tokens whose keys and values are in the cache, by finished steps
	reach    int            // tokens that the steps in flight lead to
	inFlight map[uint64]int // steps begun and not finished, by epoch
	steps    int            // sum of inFlight
	round    bool           // a ring round is in flight
	pieces   []Piece        // of the round
	retired  uint64         // epochs before this are gone

	loaded  map[int]bool // nodes that have every layer
	goal    *goal
	batch   *batch
	next    *announcement
	holdOff int // after a failed routine copy: try again beyond this length

	room     []int     // pairs that each node has room for; nil: no bound
	releases []release // memory that nodes have been told to give back
	fits     int       // blocks for which there is known to be room, as things are

	actions []Action
}

// NewMachine starts a sequence in a mode, in epoch 1, without tokens. loaded[i] says whether node i has
// the weights of every layer, as ring needs.
func NewMachine(p *Policy, nodes int, mode placement.Mode, loaded []bool) *Machine {
	m := &Machine{policy: p, nodes: nodes, number: 1, retired: 1, inFlight: map[uint64]int{}, loaded: map[int]bool{},
		epoch: &Epoch{Number: 1, Mode: mode, Owners: p.Owners(mode)}}
	for i, l := range loaded {
		m.loaded[i] = l
	}
	return m
}

// Waiting reports whether the machine waits for copies, weights or nodes to take up an epoch.
func (m *Machine) Waiting() bool { return m.batch != nil || m.next != nil || m.goal != nil }

// Ready takes the actions asked for since the last call, in order.
func (m *Machine) Ready() []Action {
	a := m.actions
	m.actions = nil
	return a
}

// Epoch is the epoch in force for new steps.
func (m *Machine) Epoch() *Epoch { return m.epoch }

// Length is the number of tokens in the cache.
func (m *Machine) Length() int { return m.length }

// Abandon gives up the copies, the announcement or the loading under way, because a deadline passed.
func (m *Machine) Abandon(reason string) {
	switch {
	case m.next != nil && !m.next.refused:
		for n := range m.nodes {
			if m.next.waiting[n] {
				m.Refused(m.next.epoch.Number, n, reason)
				return
			}
		}
	case m.batch != nil:
		m.drop(m.batch, reason)
	case m.goal != nil:
		m.giveUp(reason)
	}
}

// reconcile is the one rule: what is sealed and not where the mode wants it is copied there, and when
// all copies are in place the next epoch is announced.
func (m *Machine) reconcile() {
	if m.next != nil || m.round {
		return
	}
	if m.batch == nil {
		m.plan()
	}
	if m.batch == nil || len(m.batch.waiting) > 0 {
		return
	}
	b := m.batch
	if b.fill > 0 {
		m.filled(b)
		return
	}
	commits := m.committing()
	if commits && m.steps > 0 {
		return // the owners change: let the steps in flight finish
	}
	m.batch = nil
	if commits {
		m.goal.bytes = b.bytes
	}
	m.announce(&announcement{epoch: m.after(b), batch: b.number, copies: b.copies, hold: commits, commits: commits})
}

func (m *Machine) emit(a Action) { m.actions = append(m.actions, a) }
