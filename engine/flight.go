package engine

import (
	"fmt"
	"runtime"
	"time"

	"github.com/orrery-ai/orrery/internal/nap"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/transport"
)

// A step of decode can be recorded while the one before still runs, where the device says how far it has come
// ([device.Pacer]) and chooses the token itself: the next step's embedding takes that from where the device has left it
// or, if other nodes have the last layers, from a message of theirs (link.go). So who drives hands out a step behind
// the one whose token he waits for ([Want]), and of a token's way to him and back nothing is left between two steps. On
// devices where that cannot be, the next step is there at least when the token is. What may be recorded behind what is
// the succession's to say.

// flight is a step that has been recorded, and that nobody has waited for.
type flight struct {
	header header
	choice choice
	step   *kvcache.Step
	table  *kvcache.Table
	layers residence.Span
	ahead  bool // it exchanges by itself
	relay  relay
	since  time.Time
}

// chose is a token that a step has chosen for the one that follows. The zero value is none.
type chose struct {
	position int // of the token, which is never the first
	token    int32
}

// noted is the ids of a step of a sequence whose token this node has noted. They are valid until the next step.
func (e *Engine) noted(h *header, s *sequence) ([]int32, error) {
	c := s.chosen
	s.chosen = chose{}
	if c == (chose{}) || c.position != int(h.First) {
		return nil, fmt.Errorf("the token of the step at %d is not known: none was chosen for it", h.First)
	}
	e.work.ids = append(e.work.ids[:0], c.token)
	return e.work.ids, nil
}

// note keeps the token that a step has chosen for the one that follows, which begins here.
func (e *Engine) note(h *header, token int32) {
	if h.Flags&(followed|each) != followed {
		return
	}
	if s := e.sequence(h.Seq); s != nil {
		s.chosen = chose{next(h).position, token}
	}
}

// fly leaves a step that has been recorded to the device, if that and another one's following allow it. The step
// before, if that still flies, is waited for.
func (e *Engine) fly(h *header, c choice, layers residence.Span) bool {
	w := &e.work
	if w.pacer == nil || w.trace != nil || h.Flags&(followed|wantToken|wantLogits) != followed|wantToken || c.on == nil && layers.End == e.layers || w.fault != nil || !w.pacer.Part() {
		return false
	}
	f := &e.flights[0]
	if f == e.flying {
		f = &e.flights[1]
	}
	*f = flight{header: *h, choice: c, step: w.step, table: w.table, layers: layers, ahead: w.ahead, relay: w.relay, since: time.Now()}
	w.table, w.ahead = nil, false
	e.land()
	e.flying = f
	e.succession.left(h)
	if w.step = &w.steps[0]; w.step == f.step {
		w.step = &w.steps[1]
	}
	return true
}

// land waits for the step that flies, if there is one, and tells its result.
func (e *Engine) land() {
	f := e.flying
	if f == nil {
		return
	}
	e.flying = nil
	e.succession.landed()
	passed := e.work.pacer.Passed()
	err := e.work.pacer.WaitPart()
	if !passed {
		e.landing.Ran(time.Since(f.since))
	}
	e.landing.Ended()
	if err != nil && f.ahead {
		err = e.giveUp(f.header, f.table, f.layers, err)
	}
	f.end(e, err == nil)
	token := int32(-1)
	if err == nil && f.choice.pending() {
		token, err = f.choice.made(&f.header)
		if err == nil && token < 0 { // the next step has overwritten the logits, in which it could be seen what is wrong
			err = fmt.Errorf("the logits of position %d have no largest: they are not all finite", next(&f.header).position)
		}
	}
	if err == nil {
		if f.choice.pending() {
			e.note(&f.header, token)
		}
		err = e.done(f.header, token, f.relay.used())
	}
	if err != nil {
		e.fail(f.header, f.relay.blame(err))
		e.unlink(f.relay, err)
	}
}

// end gives up what the step used.
func (f *flight) end(e *Engine, ran bool) {
	w := &e.work
	step, table := w.step, w.table
	w.step, w.table = f.step, f.table
	if ran {
		e.endStep(f.header.Seq)
	} else {
		w.release()
	}
	w.step, w.table = step, table
}

// napForStep is how long naps are while the next step is waited for and one flies: it is nearly always there within a moment, and so must be who lands the other.
const napForStep = 20 * time.Microsecond

// nextStep waits for the next message of the lane of steps. A step that flies lands when it has run.
func (e *Engine) nextStep(r *transport.Receiver) (*transport.Message, error) {
	for {
		if m := r.Ready(); m != nil {
			return m, nil
		}
		waits, naps := e.waits()
		switch {
		case !waits:
			return r.Next()
		case naps:
			nap.For(napForStep)
		default:
			runtime.Gosched()
		}
	}
}

// waits reports whether a step flies, and has not run, and whether there is time for a nap until it has. One that has run is landed.
func (e *Engine) waits() (waits, naps bool) {
	e.busy.Lock()
	defer e.busy.Unlock()
	if e.flying != nil && !e.work.pacer.Passed() {
		if running := time.Since(e.flying.since); running < e.cfg.StepTimeout {
			return true, e.landing.Naps(running)
		}
	}
	e.land()
	return false, false
}
