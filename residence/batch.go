package residence

import "github.com/orrery-ai/orrery/placement"

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
