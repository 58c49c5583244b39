package residence

import "fmt"

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

func (m *Machine) announce(a *announcement) {
	a.waiting = map[int]bool{}
	for n := range m.nodes {
		a.waiting[n] = true
	}
	m.next = a
	m.emit(Announce{Epoch: a.epoch, Batch: a.batch})
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
