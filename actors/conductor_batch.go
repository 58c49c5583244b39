package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/engine"
)

// decodes reports whether a sequence's next step may begin, and is one that goes with those of others: its one token is
// followed by another, and nobody watches how it is computed.
func (c *conductor) decodes(s *sequence) bool {
	j := s.job
	return j != nil && s.opener == nil && j.cancelled == nil && !s.ended && !s.held() && len(j.pending) == 1 && chooses(j, 1) && s.inFlight == 0 &&
		j.Logits == nil && c.handle.recorder.Load() == nil && s.machine.CanStep() && s.machine.Fits(s.position+1)
}

// queue says which step of a sequence may begin next, if one may. It is called after every event of the sequence.
func (c *conductor) queue(s *sequence) {
	if c.decodes(s) {
		c.prompts.Withdraw(s.id)
		c.batcher.Ready(s.id, s.machine.Epoch().Owners)
		return
	}
	c.batcher.Withdraw(s.id)
	switch round, ok := c.reads(s); {
	case !ok:
		c.prompts.Withdraw(s.id)
	case round:
		c.prompts.ReadyRound(s.id)
	default:
		c.prompts.Ready(s.id, s.machine.Epoch().Owners)
	}
}

// reads reports whether a step of a sequence's job may begin that goes alone, as those of prompts do, and whether it is a round.
func (c *conductor) reads(s *sequence) (round, ok bool) {
	j := s.job
	if j == nil || s.opener != nil || j.cancelled != nil || s.ended || s.held() || len(j.pending) == 0 {
		return false, false
	}
	n, round, single := c.nextStep(s)
	if round {
		return true, s.machine.CanRound() && s.machine.FitsRound(n)
	}
	return false, s.machine.CanStep() && s.inFlight < window(len(s.machine.Epoch().Owners), single) && s.machine.Fits(s.position+n)
}

// begin begins the steps that may begin.
func (c *conductor) begin(ctx actor.Context) {
	for c.prompts.Open() && (c.beginTokens(ctx) || c.beginPrompt(ctx)) {
	}
	if id := c.prompts.NextRound(len(c.steps)); id != 0 {
		s := c.seqs[id]
		n, _, _ := c.nextStep(s)
		c.issueRound(ctx, s, n)
	}
}

// beginTokens begins a step of one token, of as many sequences as the batcher puts together.
func (c *conductor) beginTokens(ctx actor.Context) bool {
	var most [engine.BatchRows]uint64
	ids := c.batcher.Next(most[:0])
	switch len(ids) {
	case 0:
		return false
	case 1: // which others may follow
		s := c.seqs[ids[0]]
		c.issueChunk(ctx, s, 1, false)
		c.follow(ctx, s)
	default:
		c.issueBatch(ctx, ids)
	}
	return true
}

// beginPrompt begins a step of one sequence's prompt.
func (c *conductor) beginPrompt(ctx actor.Context) bool {
	id := c.prompts.Next()
	if id == 0 {
		return false
	}
	s := c.seqs[id]
	n, _, _ := c.nextStep(s)
	c.issueChunk(ctx, s, n, true)
	c.follow(ctx, s)
	c.queue(s)
	return true
}

// issueBatch begins a step of several sequences: one of each, as far as its residence and its job are concerned.
func (c *conductor) issueBatch(ctx actor.Context, ids []uint64) {
	var rows [engine.BatchRows]engine.BatchRow
	owner := 0
	c.came = time.Time{} // a turn is that of one sequence
	for i, id := range ids {
		s := c.seqs[id]
		step := c.newStep(s, s.machine.Step(s.position+1), 1, 1, 0)
		step.wants = true
		rows[i] = engine.BatchRow{Seq: id, Step: c.last, Epoch: step.epoch, First: s.position, ID: s.job.pending[0], Sampling: s.job.Sampling}
		owner = s.machine.Epoch().OwnerOf(0)
		s.relayed = nil
		s.position++
		s.job.pending = nil
	}
	err := c.handle.driver.Batch(owner, rows[:len(ids)])
	if err == nil {
		return
	}
	for _, id := range ids {
		if s := c.seqs[id]; s != nil {
			c.stepFailed(ctx, s, c.spec.Nodes[owner], engine.Lost(err), err)
		}
	}
}

// together bounds the sequences of a step: no owner of layers has less room than that for tokens, nor for those that ask other nodes.
func (s *Spec) together() int {
	most := engine.BatchRows
	for n, room := range s.room().nodes {
		if s.Layers[n].Len() > 0 {
			most = min(most, max(1, room.Rows))
		}
		if room.Asking > 0 {
			most = min(most, room.Asking)
		}
	}
	return most
}
