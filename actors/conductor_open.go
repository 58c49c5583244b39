package actors

import (
	"fmt"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/steering"
)

// open opens a sequence that was admitted: every node makes its shard before the first step.
func (c *conductor) open(ctx actor.Context, w *waitingSequence) {
	auto := w.mode == placement.Auto
	if auto {
		w.mode = c.spec.Mode
	}
	if w.mode == placement.Ring && slices.Contains(c.loaded, false) {
		c.loadEverywhere(ctx)
	}
	s := newSequence(w.id, residence.NewMachine(c.policy, len(c.spec.Nodes), w.mode, c.loaded), len(c.spec.Nodes))
	s.limit, s.kept, s.lent = w.tokens, c.policy.Most(c.modes, w.tokens), make([]int, len(c.spec.Nodes))
	s.machine.Keep(s.kept)
	if auto {
		s.pilot = steering.NewPilot(c.predict, c.unpredicted, &c.lessons, w.mode, c.modes)
	}
	s.opener = w.opener
	c.seqs[s.id] = s
	for _, name := range c.spec.Nodes {
		ctx.Request(layerShardPID(name, c.handle.model), &proto.OpenSequence{Sequence: s.id, Epoch: epochToProto(s.machine.Epoch())})
	}
}

func (c *conductor) sequenceOpened(ctx actor.Context, msg *proto.SequenceOpened) {
	s := c.seqs[msg.Sequence]
	if s == nil || s.opener == nil {
		return
	}
	if msg.Error != "" {
		err := fmt.Errorf("node %s: %s", c.nodeName(msg.Node), msg.Error)
		if msg.Short {
			err = &AdmissionError{Tokens: s.limit, FreeTokens: c.freeTokens(), Open: c.desk.Open(), Waiting: c.desk.Waiting(), Cause: err}
		}
		ctx.Send(s.opener, err)
		s.opener = nil
		c.closeSequence(ctx, s.id, nil)
		return
	}
	if delete(s.unopened, int(msg.Node)); len(s.unopened) > 0 || c.ringNeedsLayers(s) {
		return
	}
	ctx.Send(s.opener, &sequenceReady{s.id})
	s.opener = nil
}

// ringNeedsLayers reports whether a sequence that is being opened in ring still waits for weights.
func (c *conductor) ringNeedsLayers(s *sequence) bool {
	return s.machine.Epoch().Mode == placement.Ring && slices.Contains(c.loaded, false)
}

func (c *conductor) start(ctx actor.Context, msg *startJob) {
	s := c.seqs[msg.seq]
	switch {
	case c.broken != nil:
		ctx.Respond(c.broken)
		return
	case s == nil || s.opener != nil:
		ctx.Respond(notOpen(msg.seq))
		return
	case s.job != nil:
		ctx.Respond(fmt.Errorf("sequence %d is busy with another job", msg.seq))
		return
	case s.filling != nil:
		ctx.Respond(fmt.Errorf("sequence %d is being filled", msg.seq))
		return
	}
	msg.job.MaxTokens = max(0, min(msg.job.MaxTokens, s.limit))
	j := newRunningJob(msg.job, s.machine.Length(), s.carry, c.spec.Chunk)
	next := s.next
	if len(j.pending) > 0 || next != nil && (j.Sampling != next.sampling || j.MaxTokens == 0 || j.Logits != nil) {
		next = nil
	}
	if len(j.pending) == 0 && next == nil {
		ctx.Respond(fmt.Errorf("the prompt has no tokens: only behind an answer that has ended, and with the same sampling, can a sequence go on without"))
		return
	}
	room := s.limit - s.machine.Length()
	if len(j.pending) > room || j.MaxTokens > 0 && len(j.pending) >= room {
		ctx.Respond(&ContextError{Tokens: len(j.pending), Room: room, Context: s.limit})
		return
	}
	j.MaxTokens = min(j.MaxTokens, room-len(j.pending))
	if j.Logits != nil {
		c.handle.setSink(s.id, &logitSink{write: j.Logits})
	}
	j.ticket, j.began = msg.ticket, c.handle.recorder.Load().Now()
	s.job, s.carry, s.next, s.position = j, nil, nil, j.base
	ctx.Respond(&jobStarted{j})
	c.chooseStart(ctx, s)
	if next != nil {
		s.produce(next.token)
	}
	c.advance(ctx, s)
}

// ContextError says that a prompt does not fit in what is left of the context.
type ContextError struct {
	Tokens  int // to be fed
	Room    int // left
	Context int // that the sequence was opened with
}

func (e *ContextError) Error() string {
	return fmt.Sprintf("the prompt has %d tokens, and %d of the context of %d are left: shorten it, or ask for a larger context",
		e.Tokens, e.Room, e.Context)
}
