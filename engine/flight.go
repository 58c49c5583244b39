package engine

import (
	"fmt"
	"runtime"
	"time"

	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/transport"
)

// A step of decode can be recorded while the one before still runs, where the device says how far it has come ([device.Pacer]) and chooses the token itself: the next step's
// embedding takes that from where the device has left it. So who drives hands out a step behind the one whose token he waits for ([Want]), and
// of a token's way to him and back nothing is left between two steps. On devices where that cannot be, the next step is there at least when the token is.

// flight is a step that has been recorded, and that nobody has waited for.
type flight struct {
	header   header
	choice   choice
	position int // of the token that is chosen
	step     *kvcache.Step
	table    *kvcache.Table
	since    time.Time
}

// chose is what a sequence's last step has chosen, if another one follows.
type chose struct {
	position int
	token    int32
}

// flies reports whether a step follows the one that flies.
func (e *Engine) flies(h *header) bool {
	f := e.flying
	return f != nil && h.Kind == kindChunk && h.Flags&follows != 0 && h.Seq == f.header.Seq && int(h.First) == f.position && h.Count == 1
}

// follow is the ids of a step: nil if its token is what the step that flies chooses.
func (e *Engine) follow(h *header, ids []int32) ([]int32, error) {
	if h.Flags&follows == 0 || h.Layer != 0 {
		return ids, nil
	}
	if e.flies(h) {
		return nil, nil
	}
	last, _ := e.chosen.LoadAndDelete(h.Seq)
	c, ok := last.(chose)
	if !ok || c.position != int(h.First) || h.Count != 1 {
		return nil, fmt.Errorf("the token of the step at %d is not known: none was chosen for it", h.First)
	}
	return []int32{c.token}, nil
}

// note keeps the token that a step has chosen for the one that follows.
func (e *Engine) note(h *header, token int32) {
	if h.Flags&followed != 0 {
		e.chosen.Store(h.Seq, chose{int(h.First + h.Count), token})
	}
}

// fly leaves a step that has been recorded to the device, if that and another one's following allow it. The step before, if that still flies, is waited for.
func (e *Engine) fly(h *header, c choice, position int) bool {
	w := &e.work
	if w.pacer == nil || w.ahead || w.trace != nil || h.Flags&(followed|wantToken|wantLogits) != followed|wantToken || c.on == nil || w.fault != nil || !w.pacer.Part() {
		return false
	}
	e.land()
	e.flying = &flight{header: *h, choice: c, position: position, step: w.step, table: w.table, since: time.Now()}
	w.table = nil
	if w.step = &w.steps[0]; w.step == e.flying.step {
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
	w := &e.work
	err := w.pacer.WaitPart()
	f.end(e, err == nil)
	token := int32(-1)
	if err == nil {
		token, err = f.choice.made(&f.header)
	}
	if err == nil && token < 0 { // the next step has overwritten the logits, in which it could be seen what is wrong
		err = fmt.Errorf("the logits of position %d have no largest: they are not all finite", f.position)
	}
	if err == nil {
		e.note(&f.header, token)
		err = e.done(f.header, token)
	}
	if err != nil {
		e.fail(f.header, err)
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

// How the next step is waited for while one flies: it is nearly always there within a moment.
const (
	spinForStep = 300 * time.Microsecond
	napForStep  = 20 * time.Microsecond
)

// nextStep waits for the next message of the lane of steps. A step that flies lands when it has run.
func (e *Engine) nextStep(r *transport.Receiver) (*transport.Message, error) {
	for began := time.Now(); ; {
		if m := r.Ready(); m != nil {
			return m, nil
		}
		if !e.waits() {
			return r.Next()
		}
		if time.Since(began) > spinForStep {
			time.Sleep(napForStep)
		} else {
			runtime.Gosched()
		}
	}
}

// waits reports whether a step flies, and has not run: one that has is landed.
func (e *Engine) waits() bool {
	e.busy.Lock()
	defer e.busy.Unlock()
	if e.flying != nil && !e.work.pacer.Passed() && time.Since(e.flying.since) < e.cfg.StepTimeout {
		return true
	}
	e.land()
	return false
}
