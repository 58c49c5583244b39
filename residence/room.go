package residence

import (
	"fmt"
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

// Memory that is kept for a sequence is never exceeded, because nothing is begun for which it might not do:
// a step begins when what every node may have to store with it is within its room, and a switch when the
// copies that it needs are, too. What a node may have to store is
//
//	its own     the whole blocks that the mode wants there, whether they are there yet or not
//	others'     what it has of other nodes' blocks: the tail of the layers that it owns, short blocks
//	released    what it was told to drop, until it says that it has
//	arriving    while a switch is under way, what the new mode wants there and the old one did not
//
// Since the copies of routine spreading go where blocks are wanted, they are in the first already. Those of a
// switch are made when all that was to be dropped is gone: a block may have to come back to where it was.

// RoomError says that a switch needs more memory than is kept for the sequence.
type RoomError struct {
	Mode  placement.Mode
	Lacks []int // (layer, token) pairs that each node lacks
}

func (e *RoomError) Error() string {
	return fmt.Sprintf("while blocks are copied for %v, nodes would have to hold more than is kept for the sequence", e.Mode)
}

// Keep sets how many (layer, token) pairs each node has room for; nil, as at first, is no bound. With the
// Most of all modes, and a length that stays within the tokens that it is for, steps may have to wait for
// releases, but not for ever.
func (m *Machine) Keep(room []int) {
	m.room = slices.Clone(room)
	m.fits = 0
}

// Fits reports whether a step may lead to so many tokens. If not, it may when nodes have released more, or
// the switch under way has ended.
func (m *Machine) Fits(end int) bool {
	blocks := m.policy.blocks(end)
	if m.room == nil || blocks <= m.fits {
		return true
	}
	if m.lacks(m.wanted(), m.growing(blocks), blocks) != nil {
		return false
	}
	m.fits = blocks
	return true
}

// FitsRound reports whether a round of ring prefill over the next n tokens may begin, when CanRound holds.
func (m *Machine) FitsRound(n int) bool {
	blocks := m.policy.blocks(m.length + n)
	return m.room == nil || m.lacks(m.wanted(), m.withPieces(m.policy.Pieces(Span{m.length, m.length + n})), blocks) == nil
}

// FitsFill reports whether n made-up tokens may be added, when CanFill holds. If not, they may when nodes have
// released more.
func (m *Machine) FitsFill(n int) bool {
	blocks := m.policy.blocks(m.length + n)
	return m.room == nil || m.lacks(m.wanted(), m.withFill(n).resident(blocks*m.policy.block), blocks) == nil
}

// Lacks is how many pairs more than is kept each node would have to hold during a switch, if meanwhile the
// cache grew by so many tokens; nil if it is enough.
func (m *Machine) Lacks(mode placement.Mode, more int) []int {
	if m.room == nil || mode == m.epoch.Mode {
		return nil
	}
	blocks := m.policy.blocks(m.reach + more)
	return m.lacks(mode, m.growing(blocks), blocks)
}

// Within reports whether the sequence, as it is now, gets by with so many pairs on each node.
func (m *Machine) Within(room []int) bool {
	blocks := m.policy.blocks(m.reach)
	return m.goal == nil && exceeds(m.weigh(0, m.growing(blocks), blocks), room) == nil
}

// Released says that a node has dropped what only epochs before this one used.
func (m *Machine) Released(node int, before uint64) {
	for _, r := range m.releases {
		if r.epoch > 0 && r.epoch <= before {
			r.pairs[node] = 0
		}
	}
	m.forgetReleases()
	m.reconcile()
}

// Discarded says that a node has dropped the copies of a batch.
func (m *Machine) Discarded(node int, batch uint64) {
	for _, r := range m.releases {
		if r.batch == batch {
			r.pairs[node] = 0
		}
	}
	m.forgetReleases()
	m.reconcile()
}

// Stalled reports whether copies that failed hold up the steps, and nothing is under way that would change
// that. Retry has them tried again.
func (m *Machine) Stalled(end int) bool {
	return m.length < m.holdOff && m.steps == 0 && !m.Waiting() && len(m.releases) == 0 && !m.Fits(end)
}

// Retry has copies that failed tried again, without waiting for further tokens.
func (m *Machine) Retry() {
	m.holdOff = 0
	m.reconcile()
}

// release is memory that nodes were told to give back: what they had before an epoch, or the copies of a
// batch. A node that has done so has zero pairs here.
type release struct {
	epoch, batch uint64
	fill         bool // the batch is of made-up tokens: steps come to where these are still
	pairs        []int
}

func (m *Machine) forgetReleases() {
	m.releases = slices.DeleteFunc(m.releases, func(r release) bool { return !slices.ContainsFunc(r.pairs, func(n int) bool { return n != 0 }) })
	m.fits = 0
}

// moved notes that an epoch is in force in which copies have taken the place of what they were made from.
func (m *Machine) moved(epoch uint64, copies []Copy) {
	m.fits = 0
	m.note(release{epoch: epoch}, copies, func(c Copy) int { return c.From })
}

// dropped notes that copies are to be dropped where they were sent.
func (m *Machine) dropped(b *batch) {
	m.fits = 0
	m.note(release{batch: b.number, fill: b.fill > 0}, b.copies, func(c Copy) int { return c.To })
}

func (m *Machine) note(r release, copies []Copy, node func(Copy) int) {
	if m.room == nil || len(copies) == 0 {
		return
	}
	r.pairs = make([]int, m.nodes)
	for _, c := range copies {
		r.pairs[node(c)] += c.Rect.Area()
	}
	m.releases = append(m.releases, r)
}

// discarding reports whether copies of a batch that was given up may still be on their nodes.
func (m *Machine) discarding() bool {
	return slices.ContainsFunc(m.releases, func(r release) bool { return r.batch > 0 })
}

// wanted is the mode of the switch under way, or 0.
func (m *Machine) wanted() placement.Mode {
	if m.goal == nil {
		return 0
	}
	return m.goal.mode
}

// growing is where everything is when the owners have grown so many blocks.
func (m *Machine) growing(blocks int) []Holding {
	e := m.epoch
	switch {
	case m.round:
		return m.withPieces(m.pieces)
	case m.batch != nil && m.batch.fill > 0:
		e = m.withFill(m.batch.fill)
	case m.next != nil && (m.next.batch == 0 || m.next.fill > 0):
		e = m.next.epoch
	}
	return e.resident(blocks * m.policy.block)
}

// withPieces is where everything is once a round over pieces is computed.
func (m *Machine) withPieces(pieces []Piece) []Holding {
	hs := m.epoch.resident(m.length)
	for _, p := range pieces {
		hs = append(hs, Holding{Rect{Span{0, m.policy.layers}, p.Tokens}, p.Node})
	}
	return hs
}

// lacks is what is missing for hs, and so many blocks in all, with a switch under way or without (0).
func (m *Machine) lacks(to placement.Mode, hs []Holding, blocks int) []int {
	return exceeds(m.weigh(to, hs, blocks), m.room)
}

// exceeds is by how much pairs exceed room on each node, or nil.
func exceeds(pairs, room []int) []int {
	lacks, any := make([]int, len(pairs)), false
	for n := range pairs {
		lacks[n] = max(0, pairs[n]-room[n])
		any = any || lacks[n] > 0
	}
	if !any {
		return nil
	}
	return lacks
}

// weigh is what every node may have to store, see above.
func (m *Machine) weigh(to placement.Mode, hs []Holding, blocks int) []int {
	mode := m.epoch.Mode
	pairs := m.policy.reserve(mode, blocks)
	for _, h := range hs {
		m.policy.split(mode, h.Rect, func(r Rect, node int) {
			if node != h.Node {
				pairs[h.Node] += r.Area()
			}
		})
	}
	for _, r := range m.releases {
		for n, p := range r.pairs {
			pairs[n] += p
		}
	}
	if to != 0 {
		for _, c := range m.policy.moves(to, hs) {
			pairs[c.To] += c.Rect.Area()
		}
	}
	return pairs
}

// Releasing reports whether nodes were told to drop something, and have not said that they have.
func (m *Machine) Releasing() bool { return len(m.releases) > 0 }
