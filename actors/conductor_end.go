package actors

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/trace"
)

// ErrClosed is in the chain of errors about a model or a sequence that was closed.
var ErrClosed = errors.New("was closed")

// notOpen is the error of who asks for something of a sequence that is not there.
func notOpen(id uint64) error {
	return fmt.Errorf("sequence %d %w, or one of its steps failed, which ended it", id, ErrClosed)
}

func (c *conductor) endJob(s *sequence, err error) {
	if s.asked != nil && s.asked.answer == nil && !s.asked.auto && err == nil {
		return // a switch of SwitchAt is under way: its report belongs to the job
	}
	j := s.job
	if j.fed == j.feeding && len(j.pending) > 0 {
		s.carry = j.pending // it was given out: the next job feeds it
	}
	s.job, s.ended = nil, false
	c.handle.recorder.Load().Add(trace.Span{Begin: j.began, Kind: trace.Job, Seq: s.id, First: uint32(j.base), Count: uint32(j.fed + j.produced),
		Layer: trace.NoLayer, Peer: trace.Nobody})
	c.handle.setSink(s.id, nil)
	j.emit(Event{Kind: Ended, Err: err})
	close(j.events)
}

// stepFailed ends a sequence because of one of its steps, and everything if a node was lost.
func (c *conductor) stepFailed(ctx actor.Context, s *sequence, node, lost string, cause error) {
	if lost != "" {
		c.nodeLost(ctx, lost, fmt.Errorf("node %s: %w", node, cause))
		return
	}
	c.failSequence(ctx, s, fmt.Errorf("node %s: %w", node, cause))
}

func (c *conductor) nodeLost(ctx actor.Context, name string, cause error) {
	if c.broken == nil && slices.Contains(c.spec.Nodes, name) {
		c.fail(ctx, &NodeLostError{Node: name, Cause: cause})
	}
}

// fail ends everything: no sequence can go on without one of the nodes.
func (c *conductor) fail(ctx actor.Context, err error) {
	c.broken = err
	c.handle.setBroken(err)
	for _, id := range slices.Sorted(maps.Keys(c.waiting)) {
		ctx.Send(c.waiting[id].opener, err)
		c.desk.Leave(id) // nobody is admitted any more
	}
	clear(c.waiting)
	for _, id := range slices.Sorted(maps.Keys(c.seqs)) {
		c.failSequence(ctx, c.seqs[id], err)
	}
	for _, step := range c.steps {
		c.forget(ctx, step.seq)
	}
}

// failSequence ends a sequence's job with an error. Its KV cache is in a state between steps that cannot
// be gone on from, so the sequence is closed.
func (c *conductor) failSequence(ctx actor.Context, s *sequence, err error) {
	s.failed = err
	if s.closed {
		c.forget(ctx, s)
		return
	}
	c.closeSequence(ctx, s.id, err)
}

// closeSequence ends a sequence for those who use it. Unless it has failed, steps of it that are in flight run to their end before the nodes hear of
// that: one that knew it no more would refuse its part of such a step, and what devices exchange for steps is of no use once one has gone wrong.
func (c *conductor) closeSequence(ctx actor.Context, id uint64, cause error) {
	s := c.seqs[id]
	if s == nil {
		c.leave(ctx, id) // it may be waiting
		return
	}
	delete(c.seqs, id)
	s.closed = true
	c.batcher.Withdraw(id)
	c.prompts.Withdraw(id)
	if s.asked != nil && s.asked.answer != nil {
		ctx.Send(s.asked.answer, cause)
	}
	s.asked = nil
	c.filled(ctx, s, cause)
	if s.opener != nil {
		ctx.Send(s.opener, cause)
		s.opener = nil
	}
	if s.job != nil {
		c.endJob(s, cause)
	}
	if s.inFlight == 0 || s.failed != nil {
		c.forget(ctx, s)
	}
}

// forget has the nodes give up what they hold of a sequence that is closed, whatever has become of its steps.
func (c *conductor) forget(ctx actor.Context, s *sequence) {
	for n, step := range c.steps {
		if step.seq == s {
			delete(c.steps, n)
		}
	}
	c.batcher.Gone(s.id)
	c.prompts.Gone(s.id)
	for _, name := range c.spec.Nodes {
		ctx.Send(layerShardPID(name, c.handle.model), &proto.CloseSequence{Sequence: s.id})
	}
	c.leave(ctx, s.id) // whoever is admitted now reaches the nodes after the memory is free
}

// checkDeadlines fails steps that took too long, and gives up copies and announcements that did.
func (c *conductor) checkDeadlines(ctx actor.Context, now time.Time) {
	for _, n := range slices.Sorted(maps.Keys(c.steps)) {
		step := c.steps[n]
		// A node gives up within the step's own timeout and says why; this is for one that cannot.
		if step != nil && now.Sub(step.since) > c.spec.StepTimeout+stepGrace {
			c.stepFailed(ctx, step.seq, c.spec.Nodes[step.seq.machine.Epoch().OwnerOf(0)], "", fmt.Errorf("no result within %v", c.spec.StepTimeout))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.seqs)) {
		if s := c.seqs[id]; s != nil {
			c.checkSequence(ctx, s, now.Sub(s.progress) > c.spec.StepTimeout)
		}
	}
	c.expire(ctx, now)
}

// checkSequence gives up what a sequence has waited for in vain, and has copies that failed tried again where
// its next step depends on them.
func (c *conductor) checkSequence(ctx actor.Context, s *sequence, late bool) {
	late = late && s.inFlight == 0
	within := fmt.Sprintf("no answer within %v", c.spec.StepTimeout)
	switch {
	case late && s.lending():
		clear(s.asked.lending)
		s.asked.refused = errors.New(within)
	case late && s.machine.Waiting():
		s.machine.Abandon(within)
	case late && s.job != nil && s.machine.Releasing():
		c.failSequence(ctx, s, fmt.Errorf("memory that the next step needs is not free: %s", within))
		return
	case s.job != nil && c.stalled(s):
		if s.stalls++; s.stalls > maxStalls {
			c.failSequence(ctx, s, fmt.Errorf("KV blocks do not get to where they have to be: %s", s.lastFailure))
			return
		}
		s.machine.Retry()
	default:
		return
	}
	c.advance(ctx, s)
}

// stalled reports whether copies that failed hold up a sequence's next step.
func (c *conductor) stalled(s *sequence) bool {
	n, round, _ := c.nextStep(s)
	return !round && s.machine.Stalled(s.position+n)
}

// maxStalls bounds how often copies may fail in a row while steps wait for them.
const maxStalls = 5

const stepGrace = 2 * time.Second
