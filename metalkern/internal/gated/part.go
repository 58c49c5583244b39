package gated

import (
	"errors"
	"slices"
	"time"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// part is the memory of what is recorded between two fences.
type part struct {
	arena arena
	stage rooms
	grids rooms
	reads []read
	loose int // of reads, those at the end, which can be made from the buffers themselves
}

// fence is the end of a part.
type fence struct {
	end  int // in list, of the operations before it
	part int
	over bool // they have run, or never will
	err  error
}

// now is the part that is recorded.
func (q *Queue) now() *part { return &q.parts[q.current] }

// finish makes the part's reads.
func (p *part) finish() {
	for _, r := range p.reads {
		copy(r.dst, bytes(r.src, len(r.dst)))
	}
}

// forget drops what was recorded.
func (p *part) forget() {
	p.reads, p.loose = p.reads[:0], 0
	p.arena.reset()
}

// tidy has the part's memory used again. Nothing runs that reads it.
func (p *part) tidy() error {
	return errors.Join(p.stage.reset(stageKept), p.grids.reset(gridKept))
}

// Fence implements [gpu.Fencer]. What comes before it is given to the GPU; messages may be awaited on both sides of it.
func (q *Queue) Fence() {
	if len(q.fences) == gpu.MostFences {
		q.fail(errors.New(q.name() + ": a fence beyond those that there may be"))
		return
	}
	q.tighten()
	q.reap()
	q.submit(len(q.list))
	q.fences = append(q.fences, fence{end: len(q.list), part: q.current})
	q.current = (q.current + 1) % len(q.parts)
}

// Reached implements [gpu.Fencer]. The host is told what was signalled meanwhile. What the host has to go on with itself has been reached, too.
func (q *Queue) Reached() bool {
	if len(q.fences) == 0 || q.fences[0].over {
		return true
	}
	q.pump(q.order, time.Now())
	q.reap()
	return q.err != nil || q.split || q.stuck || !q.flies(q.fences[0].end)
}

// Reach implements [gpu.Fencer]. If what lies before the fence fails, nothing that was recorded behind it runs, and that fails likewise.
func (q *Queue) Reach(deadline time.Time) error {
	if len(q.fences) == 0 {
		return nil
	}
	if f := q.fences[0]; !f.over {
		if err := q.run(f.end, deadline); err != nil {
			q.giveUp(err)
		} else if err = q.reached(f); err != nil {
			q.fail(err)
		}
	}
	err := q.fences[0].err
	q.fences = slices.Delete(q.fences, 0, 1)
	return err
}

// reached takes down what lies before the first fence. What was not given to the GPU yet is whole again.
func (q *Queue) reached(f fence) error {
	p := &q.parts[f.part]
	p.finish()
	p.forget()
	q.list = slices.Delete(q.list, 0, f.end)
	q.base += uint32(f.end)
	q.next -= f.end
	q.given -= f.end
	for i := range q.flying {
		q.flying[i].end -= f.end
	}
	for i := range q.fences {
		q.fences[i].end -= f.end
	}
	if len(q.flying) == 0 {
		q.rest()
		if q.split && q.next >= q.given {
			q.split = false
		}
		q.submit(len(q.list))
	} else if q.watcher != nil {
		q.watcher.again()
	}
	return p.tidy()
}

// rest is what holds when nothing runs: no word is left of an earlier step.
func (q *Queue) rest() {
	if q.watcher != nil {
		q.watcher.rest()
	}
	*q.words = control{}
	q.waits = false
}

// giveUp ends everything that was recorded with an error.
func (q *Queue) giveUp(cause error) {
	if len(q.flying) > 0 {
		q.abort(q.order)
		_ = q.drain(len(q.list), time.Now()) // it says no more than that some of it still runs
	}
	if err := q.reset(cause); err != nil {
		q.fail(err)
	}
}

// reset makes everything that was recorded over, with an error or without.
func (q *Queue) reset(cause error) error {
	for i := range q.fences {
		if f := &q.fences[i]; !f.over {
			f.over, f.err = true, cause
		}
	}
	q.forget()
	q.halted = q.halted || q.options.Halts && cause != nil
	q.split, q.talks, q.err = false, false, nil
	if q.stuck = len(q.flying) > 0; q.stuck {
		return nil
	}
	q.rest()
	var errs []error
	for i := range q.parts {
		errs = append(errs, q.parts[i].tidy())
	}
	return errors.Join(errs...)
}

// forget drops the operations. What runs of them is before all that is recorded from now on.
func (q *Queue) forget() {
	q.base += uint32(len(q.list))
	clear(q.list)
	q.list, q.next, q.given, q.waits = q.list[:0], 0, 0, false
	for i := range q.flying {
		q.flying[i].end = 0
	}
	for i := range q.fences {
		q.fences[i].end = 0
	}
	for i := range q.parts {
		q.parts[i].forget()
	}
}

// flies says whether something runs that was recorded before a place in list.
func (q *Queue) flies(end int) bool { return len(q.flying) > 0 && q.flying[0].end <= end }
