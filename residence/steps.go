package residence

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
