package residence

import "slices"

// FillBlocks asks nodes to make up parts of the cache where they are to be held, which an epoch announced
// later will use. The id of a part is its index; answer each with Copied or CopyFailed.
type FillBlocks struct {
	Batch uint64
	Parts []Holding
}

// Filled says that made-up tokens are in the cache, which now has so many.
type Filled struct{ Tokens int }

func (FillBlocks) action() {}
func (Filled) action()     {}

// CanFill reports whether Fill may be called: nothing is in flight, on its way or being announced, and the
// tail is closed. If only the tail is open, it asks for it to be closed.
func (m *Machine) CanFill() bool { return m.batch == nil && m.goal == nil && m.CanRound() }

// Fill adds n made-up tokens to what the cache has, to measure what comes after them without computing
// them: whole blocks where the mode wants them, as if they had been spread already, and what is left with
// the owners of the layers. No step begins meanwhile. The answer is the action Filled or Failed. CanFill
// and FitsFill must hold.
func (m *Machine) Fill(n int) {
	m.number++
	m.reach, m.fits = max(m.reach, m.length+n), 0
	m.batch = &batch{number: m.number, mode: m.epoch.Mode, fill: n, waiting: map[int]bool{}}
	parts := m.parts(n)
	for i, h := range parts {
		m.batch.waiting[i] = true
		m.batch.copies = append(m.batch.copies, Copy{ID: i, Rect: h.Rect, From: h.Node, To: h.Node})
	}
	m.emit(FillBlocks{Batch: m.number, Parts: parts})
}

// parts is where n more tokens belong.
func (m *Machine) parts(n int) (parts []Holding) {
	end := m.length + n
	upto := max(m.length, end/m.policy.block*m.policy.block)
	all := Span{0, m.policy.layers}
	m.policy.split(m.epoch.Mode, Rect{all, Span{m.length, upto}}, func(r Rect, node int) { parts = append(parts, Holding{r, node}) })
	for _, o := range m.epoch.Owners {
		if upto < end {
			parts = append(parts, Holding{Rect{o.Layers, Span{upto, end}}, o.Node})
		}
	}
	return coalesce(parts)
}

// filling reports whether made-up tokens are on their way, or on nodes that are still to drop them.
func (m *Machine) filling() bool {
	return m.batch != nil && m.batch.fill > 0 || m.next != nil && m.next.fill > 0 ||
		slices.ContainsFunc(m.releases, func(r release) bool { return r.fill })
}

// withFill is the epoch in force with n made-up tokens, closed after them. It has no number yet.
func (m *Machine) withFill(n int) *Epoch {
	return &Epoch{Mode: m.epoch.Mode, Owners: m.epoch.Owners, Covered: m.length + n,
		Held: coalesce(append(m.epoch.resident(m.length), m.parts(n)...))}
}

// filled announces the epoch that has the parts of a batch that is complete.
func (m *Machine) filled(b *batch) {
	m.batch = nil
	m.number++
	e := m.withFill(b.fill)
	e.Number = m.number
	m.announce(&announcement{epoch: e, batch: b.number, copies: b.copies, hold: true, fill: b.fill})
}
