package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
)

// fillAsked is a fill that somebody waits for.
type fillAsked struct {
	tokens int
	answer *actor.PID
	begun  bool
}

// sequenceFilled says that the made-up tokens are there.
type sequenceFilled struct{}

// fillSeed is the seed of all made-up keys and values: what is measured is then the same from run to run.
const fillSeed = 1

func (c *conductor) fill(ctx actor.Context, msg *fillSequence) {
	s := c.seqs[msg.seq]
	switch {
	case c.broken != nil:
		ctx.Respond(c.broken)
	case s == nil || s.opener != nil:
		ctx.Respond(notOpen(msg.seq))
	case s.job != nil || s.filling != nil:
		ctx.Respond(fmt.Errorf("sequence %d is busy", msg.seq))
	case msg.tokens < 1:
		ctx.Respond(fmt.Errorf("filling with %d tokens: it takes at least one", msg.tokens))
	case msg.tokens > s.limit-s.machine.Length():
		ctx.Respond(&ContextError{Tokens: msg.tokens, Room: s.limit - s.machine.Length(), Context: s.limit})
	default:
		s.next = nil
		s.filling = &fillAsked{tokens: msg.tokens, answer: ctx.Sender()}
		c.advance(ctx, s)
	}
}

// beginFill begins the fill that was asked for, once nothing else changes the sequence. Blocks that could not be
// copied to where they have to be may leave no room for it.
func (c *conductor) beginFill(ctx actor.Context, s *sequence) {
	if !s.filling.begun && s.machine.CanFill() {
		switch n := s.filling.tokens; {
		case s.machine.FitsFill(n):
			s.filling.begun = true
			s.machine.Fill(n)
		case !s.machine.Releasing():
			c.filled(ctx, s, fmt.Errorf("KV blocks are not where they have to be: %s", s.lastFailure))
		}
	}
	c.act(ctx, s)
}

// fillParts is what a node is to make up.
func fillParts(a residence.FillBlocks, node int) *proto.FillParts {
	msg := &proto.FillParts{Batch: a.Batch, Seed: fillSeed}
	for i, h := range a.Parts {
		if h.Node == node {
			msg.Ids, msg.Rects = append(msg.Ids, uint32(i)), append(msg.Rects, rectToProto(h.Rect))
		}
	}
	return msg
}

// filled answers who waits for a fill, if anybody does.
func (c *conductor) filled(ctx actor.Context, s *sequence, err error) {
	if s.filling == nil {
		return
	}
	answer := s.filling.answer
	s.filling = nil
	if err != nil {
		ctx.Send(answer, fmt.Errorf("filling the KV cache: %w", err))
		return
	}
	ctx.Send(answer, &sequenceFilled{})
}
