package gated

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/nap"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

const (
	// napFor is how long a wait sleeps between polls, once it has polled for nap.Spin; for a step with messages it always polls while something runs, because the host tells others.
	napFor = 50 * time.Microsecond
	// grace is how long after its deadline a wait lets gates see the abort word, so that the queue can be used again.
	grace = time.Second
)

// Wait implements [gpu.Queue]. What lies before fences is over then, too.
func (q *Queue) Wait(deadline time.Time) error {
	err := q.run(len(q.list), deadline)
	if err == nil {
		for _, f := range q.fences {
			if !f.over {
				q.parts[f.part].finish()
			}
		}
		q.now().finish()
	}
	if failed := q.reset(err); err == nil {
		err = failed
	}
	return err
}

// run runs the operations before end to their end.
func (q *Queue) run(end int, deadline time.Time) error {
	if q.stuck {
		if err := q.drain(len(q.list), deadline); err != nil {
			return err
		}
		q.stuck = false
		q.rest()
	}
	q.submit(len(q.list))
	for {
		if err := q.drain(end, deadline); err != nil {
			return err
		}
		if q.err != nil {
			return q.err
		}
		if err := q.judge(end, deadline); err != nil {
			return err
		}
		if q.next >= end {
			return nil
		}
		if err := q.piece(end, deadline); err != nil {
			return err
		}
	}
}

// judge looks whether a gate has poisoned what was recorded: then it fails, or goes on split from there. What is behind end is for a later judge.
func (q *Queue) judge(end int, deadline time.Time) error {
	why := atomic.LoadUint32(&q.words.poison)
	if why == healthy {
		if len(q.flying) == 0 {
			q.rest()
		}
		return nil
	}
	if len(q.flying) > 0 { // none of it does anything
		q.abort(q.order)
		if err := q.drain(len(q.list), deadline); err != nil {
			return err
		}
	}
	place := int(atomic.LoadUint32(&q.words.place) - q.base)
	q.rest()
	q.halted = q.options.Halts
	if place >= len(q.list) || q.list[place].kind != awaits {
		return fmt.Errorf("%s: the step is poisoned by operation %d of %d, which awaits nothing", q.name(), place, len(q.list))
	}
	l := q.list[place].lane
	switch {
	case place >= end:
	case why == failed:
		return l.failure()
	case why == length:
		return l.checkLength(&q.list[place])
	case !time.Now().Before(deadline):
		return &gpu.TimeoutError{Device: q.name()}
	}
	q.given = q.next
	q.next, q.split = place, true
	return nil
}

// failure is why the lane has failed.
func (l *lane) failure() error {
	if err := l.Err(); err != nil {
		return err
	}
	return errors.New("a lane has failed")
}

// checkLength says if an awaited message that has come has another length than it must have.
func (l *lane) checkLength(o *operation) error {
	if have := int(l.Words.Bytes[o.seq%2].Load()); o.bytes != 0 && have != o.bytes {
		return &device.LengthError{Seq: o.seq, Have: have, Want: o.bytes}
	}
	return nil
}

// piece runs what comes next, before end, of a step that is split: an await, or what lies before the next one.
func (q *Queue) piece(end int, deadline time.Time) error {
	if o := &q.list[q.next]; o.kind == awaits {
		q.next++
		return q.arrive(o, deadline)
	}
	to := min(segment(q.list, q.next), end)
	q.give(to)
	if err := q.drain(to, deadline); err != nil || q.err != nil {
		return err
	}
	if o := &q.list[to-1]; o.kind == signals {
		o.lane.signal(o.seq, o.bytes)
	}
	return nil
}

// arrive waits on the host for a message.
func (q *Queue) arrive(o *operation, deadline time.Time) error {
	for start := time.Now(); ; {
		if device.Reached(o.lane.Words.Ready.Load(), o.lane.Needs(o.seq)) {
			return o.lane.checkLength(o)
		}
		// A lane may fail after a message has come, and that one counts.
		if o.lane.Words.Failed.Load() != 0 && !device.Reached(o.lane.Words.Ready.Load(), o.lane.Needs(o.seq)) {
			return o.lane.failure()
		}
		now := time.Now()
		if !now.Before(deadline) {
			return &gpu.TimeoutError{Device: q.name()}
		}
		pause(now.Sub(start) < nap.Spin)
	}
}

// drain waits for what has been submitted of the operations before end.
func (q *Queue) drain(end int, deadline time.Time) error {
	start, gave := time.Now(), false
	for q.flies(end) {
		now := time.Now()
		q.pump(q.order, now)
		if done, err := q.flying[0].batch.Done(); done {
			q.land(err)
			continue
		}
		gated := q.gatedFlying()
		if gated && !gave && (!q.patient(start, now) || !now.Before(deadline)) {
			q.abort(q.order)
			gave = true
		}
		if !now.Before(deadline) && (!gated || now.Sub(deadline) > grace) {
			return &gpu.TimeoutError{Device: q.name()}
		}
		pause(q.talks || now.Sub(start) < nap.Spin)
	}
	q.pump(q.order, time.Now())
	return nil
}

// reap takes down what has ended.
func (q *Queue) reap() {
	for len(q.flying) > 0 {
		done, err := q.flying[0].batch.Done()
		if !done {
			return
		}
		q.land(err)
	}
}

func pause(short bool) {
	if short {
		runtime.Gosched()
		return
	}
	nap.For(napFor)
}

// land takes the first batch down.
func (q *Queue) land(err error) {
	f := q.flying[0]
	if err != nil {
		q.fail(err)
	}
	if f.timed {
		b, e := f.batch.Times()
		q.times = append(q.times, span{b, e})
	}
	f.batch.Release()
	q.flying = append(q.flying[:0], q.flying[1:]...)
}

// gatedFlying says that something runs which waits for a message.
func (q *Queue) gatedFlying() bool {
	for i := range q.flying {
		if q.flying[i].gated {
			return true
		}
	}
	return false
}

// abort lets all gates end: they poison the step unless their messages have come. Those that are recorded later need it again.
func (q *Queue) abort(lanes []*lane) {
	atomic.StoreUint32(&q.words.abort, 1)
	if q.options.Fast {
		return
	}
	for _, l := range lanes {
		l.release()
	}
}
