package residence

import (
	"errors"

	"github.com/orrery-ai/orrery/placement"
)

// ErrSwitching is returned by Switch while another switch is under way.
var ErrSwitching = errors.New("another mode switch is under way")

// goal is a switch asked for.
type goal struct {
	mode    placement.Mode
	waiting map[int]bool // nodes that are loading weights
	bytes   int64
}

// Switching reports whether a switch is under way.
func (m *Machine) Switching() bool { return m.goal != nil }

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

// committing reports whether a switch has everything in place and waits for the steps in flight.
func (m *Machine) committing() bool {
	return m.goal != nil && len(m.goal.waiting) == 0 && m.batch != nil && m.batch.mode == m.goal.mode && len(m.batch.waiting) == 0
}
