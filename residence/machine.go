package residence

import (
	"errors"
	"fmt"

	"github.com/orrery-ai/orrery/placement"
)

// ErrSwitching is returned by Switch while another switch is under way.
var ErrSwitching = errors.New("another mode switch is under way")

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

// goal is a switch asked for.
type goal struct {
	mode    placement.Mode
	waiting map[int]bool // nodes that are loading weights
	bytes   int64
}

// batch is a set of copies under way, all to be used by one epoch.
type batch struct {
	number  uint64
	mode    placement.Mode
	upto    int
	copies  []Copy // of made-up tokens from where they are to be
	fill    int    // tokens that it makes up, see Fill; 0 for copies
	waiting map[int]bool
	bytes   int64
}

// announcement is an epoch that not every node has taken up yet.
type announcement struct {
	epoch   *Epoch
	batch   uint64 // the copies that it uses, 0 for none
	copies  []Copy
	waiting map[int]bool
	hold    bool // no step may begin meanwhile: it would need this epoch, or grow a block that it closes
	commits bool // completes the goal
	fill    int  // made-up tokens that it adds
	refused bool
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

// Switching reports whether a switch is under way.
func (m *Machine) Switching() bool { return m.goal != nil }

// CanStep reports whether a step may begin now.
func (m *Machine) CanStep() bool {
	return !m.round && (m.next == nil || !m.next.hold) && !m.committing() && !m.filling()
}

// Step begins a step that leads to so many tokens, and names its epoch. CanStep and Fits must hold.
func (m *Machine) Step(end int) uint64 {
	m.begin(end)
	return m.epoch.Number
}

// CanRound reports whether a round of ring prefill may begin: nothing else is in flight or being
// announced, and the tail is closed. If only the tail is open, it asks for it to be closed.
func (m *Machine) CanRound() bool {
	if m.steps > 0 || m.next != nil || m.committing() || m.filling() {
		return false
	}
	if m.epoch.Covered < m.length {
		m.announce(&announcement{epoch: m.closed(), hold: true})
		return false
	}
	return true
}

// Round begins a round of ring prefill over the next n tokens, which end with a block, and divides it. CanRound
// and FitsRound must hold.
func (m *Machine) Round(n int) (uint64, []Piece) {
	m.round = true
	m.pieces = m.policy.Pieces(Span{m.length, m.length + n})
	m.begin(m.length + n)
	return m.epoch.Number, m.pieces
}

func (m *Machine) begin(end int) {
	m.reach = max(m.reach, end)
	m.inFlight[m.epoch.Number]++
	m.steps++
}

// Done says that a step has finished, and how many tokens the cache has now.
func (m *Machine) Done(epoch uint64, length int) {
	m.finish(epoch)
	m.length = max(m.length, length)
	m.reconcile()
}

// RoundDone says that the round over pieces has finished on every node.
func (m *Machine) RoundDone(epoch uint64, pieces []Piece) {
	m.finish(epoch)
	m.round, m.pieces, m.fits = false, nil, 0
	e := m.closed()
	for _, p := range pieces {
		m.length = p.Tokens.End
		e.Held = append(e.Held, Holding{Rect{Span{0, m.policy.layers}, p.Tokens}, p.Node})
	}
	e.Covered = m.length
	e.Held = coalesce(e.Held)
	m.announce(&announcement{epoch: e, hold: true})
}

func (m *Machine) finish(epoch uint64) {
	m.steps--
	if m.inFlight[epoch]--; m.inFlight[epoch] == 0 {
		delete(m.inFlight, epoch)
	}
	m.retire()
}

// Switch asks for another mode. The answer is the action Switched or Failed, unless the error says that the
// switch was not begun: it is ErrSwitching, or a *RoomError.
func (m *Machine) Switch(mode placement.Mode) error {
	if m.goal != nil {
		return ErrSwitching
	}
	if mode == m.epoch.Mode {
		m.emit(Switched{Mode: mode, Tokens: m.length})
		return nil
	}
	if lacks := m.Lacks(mode, 0); lacks != nil {
		return &RoomError{Mode: mode, Lacks: lacks}
	}
	m.goal, m.fits = &goal{mode: mode, waiting: map[int]bool{}}, 0
	if mode == placement.Ring {
		for n := range m.nodes {
			if !m.loaded[n] {
				m.goal.waiting[n] = true
				m.emit(LoadLayers{Node: n, Layers: Span{0, m.policy.layers}})
			}
		}
	}
	m.reconcile()
	return nil
}

// WeightsReady says that a node has every layer.
func (m *Machine) WeightsReady(node int) {
	m.loaded[node] = true
	if m.goal != nil {
		delete(m.goal.waiting, node)
	}
	m.reconcile()
}

// WeightsFailed says that a node cannot have the layers that a switch needs.
func (m *Machine) WeightsFailed(node int, reason string) {
	if m.goal != nil && m.goal.waiting[node] {
		m.giveUp(reason)
	}
}

// giveUp gives up the switch under way, before any of its copies were asked for.
func (m *Machine) giveUp(reason string) {
	m.goal, m.fits = nil, 0
	m.emit(Failed{Mode: m.epoch.Mode, Switch: true, Reason: reason})
	m.reconcile()
}

// Copied says that a copy of a batch is in place, and how many bytes it was.
func (m *Machine) Copied(batch uint64, id int, bytes int64) {
	if b := m.batch; b != nil && b.number == batch && b.waiting[id] {
		delete(b.waiting, id)
		b.bytes += bytes
		m.reconcile()
	}
}

// CopyFailed says that a copy of a batch will not be.
func (m *Machine) CopyFailed(batch uint64, reason string) {
	if m.batch != nil && m.batch.number == batch {
		m.drop(m.batch, reason)
	}
}

// Taken says that a node has taken up an epoch.
func (m *Machine) Taken(epoch uint64, node int) {
	a := m.next
	if a == nil || a.epoch.Number != epoch || a.refused {
		return
	}
	delete(a.waiting, node)
	if len(a.waiting) > 0 {
		return
	}
	m.next = nil
	m.epoch = a.epoch
	if a.fill > 0 {
		m.length, m.fits = m.epoch.Covered, 0
		m.emit(Filled{Tokens: m.length})
	} else {
		m.moved(a.epoch.Number, a.copies)
	}
	if a.commits {
		m.emit(Switched{Mode: m.epoch.Mode, Tokens: m.length, Bytes: m.goal.bytes})
		m.goal = nil
	}
	m.retire()
	m.reconcile()
}

// Refused says that a node cannot take up an epoch. An epoch that only spreads blocks, or that commits
// a switch, is given up and the one in force stays. One that the next step depends on leaves the
// machine Stuck.
func (m *Machine) Refused(epoch uint64, node int, reason string) {
	a := m.next
	if a == nil || a.epoch.Number != epoch || a.refused {
		return
	}
	reason = fmt.Sprintf("node %d did not take up epoch %d: %s", node, epoch, reason)
	if a.batch == 0 {
		a.refused = true
		m.emit(Failed{Mode: m.epoch.Mode, Switch: m.goal != nil, Reason: reason})
		m.goal = nil
		return
	}
	m.next = nil
	m.drop(&batch{number: a.batch, mode: a.epoch.Mode, copies: a.copies, fill: a.fill}, reason)
}

// Stuck reports whether a node has refused an epoch that every further step depends on.
func (m *Machine) Stuck() bool { return m.next != nil && m.next.refused }

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

// drop gives up a batch, and the switch that it was for.
func (m *Machine) drop(b *batch, reason string) {
	m.emit(Discard{b.number})
	m.dropped(b)
	if b.fill > 0 {
		m.reach = m.length // no step was in flight
	}
	m.batch = nil
	forSwitch := m.goal != nil && b.mode == m.goal.mode
	m.emit(Failed{Mode: m.epoch.Mode, Switch: forSwitch, Fill: b.fill > 0, Reason: reason})
	if forSwitch {
		m.goal = nil
	}
	m.holdOff = m.length + m.policy.block
	m.reconcile()
}

// committing reports whether a switch has everything in place and waits for the steps in flight.
func (m *Machine) committing() bool {
	return m.goal != nil && len(m.goal.waiting) == 0 && m.batch != nil && m.batch.mode == m.goal.mode && len(m.batch.waiting) == 0
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

// plan starts the batch of copies that is due, if any. A switch always gets a batch, if an empty one.
func (m *Machine) plan() {
	mode, switching := m.epoch.Mode, false
	if m.goal != nil && len(m.goal.waiting) == 0 {
		mode, switching = m.goal.mode, true
	}
	if !switching && m.length < m.holdOff || m.discarding() || switching && len(m.releases) > 0 {
		return // what comes might be where something else has not gone yet
	}
	upto := max(m.epoch.Covered, m.length/m.policy.block*m.policy.block)
	copies := m.policy.moves(mode, m.epoch.resident(upto))
	if len(copies) == 0 && !switching {
		return
	}
	m.number++
	m.batch = &batch{number: m.number, mode: mode, upto: upto, copies: copies, waiting: map[int]bool{}}
	for _, c := range copies {
		m.batch.waiting[c.ID] = true
	}
	if len(copies) > 0 {
		m.emit(CopyBlocks{Batch: m.number, Copies: copies})
	}
}

// after is the epoch in which a finished batch is used.
func (m *Machine) after(b *batch) *Epoch {
	m.number++
	e := &Epoch{Number: m.number, Mode: b.mode, Owners: m.policy.Owners(b.mode), Covered: max(b.upto, m.epoch.Covered)}
	e.Held = m.policy.target(b.mode, b.upto)
	end := e.Covered
	if b.mode != m.epoch.Mode {
		end = m.length // the owners change: what they have open is closed here
		e.Covered = end
	}
	for _, h := range m.epoch.resident(end) {
		h.Tokens = h.Tokens.Intersect(Span{b.upto, end})
		if h.Area() > 0 {
			e.Held = append(e.Held, h)
		}
	}
	e.Held = coalesce(e.Held)
	return e
}

// closed is the epoch in force with the owners' open blocks closed at the present length.
func (m *Machine) closed() *Epoch {
	m.number++
	return &Epoch{Number: m.number, Mode: m.epoch.Mode, Owners: m.epoch.Owners, Covered: m.length,
		Held: coalesce(m.epoch.resident(m.length))}
}

func (m *Machine) announce(a *announcement) {
	a.waiting = map[int]bool{}
	for n := range m.nodes {
		a.waiting[n] = true
	}
	m.next = a
	m.emit(Announce{Epoch: a.epoch, Batch: a.batch})
}

// retire lets the nodes drop what only epochs used that no step names any more. In prefill steps overlap, each
// in an epoch of its own, so it does not wait for all to name the latest.
func (m *Machine) retire() {
	oldest := m.epoch.Number
	for e := range m.inFlight {
		oldest = min(oldest, e)
	}
	if oldest > m.retired {
		m.retired = oldest
		m.emit(Retire{oldest})
	}
}

func (m *Machine) emit(a Action) { m.actions = append(m.actions, a) }
