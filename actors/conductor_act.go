package actors

import (
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
)

// act carries out what a sequence's machine asks for.
func (c *conductor) act(ctx actor.Context, s *sequence) {
	if a := s.asked; a != nil && a.refused != nil {
		c.report(ctx, s, a.refused)
	}
	for actions := s.machine.Ready(); len(actions) > 0; actions = s.machine.Ready() {
		for _, a := range actions {
			c.do(ctx, s, a)
		}
	}
}

func (c *conductor) do(ctx actor.Context, s *sequence, a residence.Action) {
	s.progress = time.Now()
	shard := func(n int) *actor.PID { return sequenceShardPID(c.spec.Nodes[n], c.handle.model, s.id) }
	toAll := func(msg any) {
		for n := range c.spec.Nodes {
			ctx.Send(shard(n), msg)
		}
	}
	switch a := a.(type) {
	case residence.LoadLayers:
		if c.loaded[a.Node] {
			s.machine.WeightsReady(a.Node)
		} else {
			c.loadLayers(ctx, a.Node)
		}
	case residence.CopyBlocks:
		for _, p := range a.Copies {
			ctx.Send(shard(p.From), &proto.CopyPart{Batch: a.Batch, Id: uint32(p.ID), Rect: rectToProto(p.Rect), To: uint32(p.To)})
		}
	case residence.FillBlocks:
		for n := range c.spec.Nodes {
			if msg := fillParts(a, n); len(msg.Ids) > 0 {
				ctx.Send(shard(n), msg)
			}
		}
	case residence.Announce:
		toAll(&proto.TakeUpEpoch{Epoch: epochToProto(a.Epoch), Batch: a.Batch})
	case residence.Retire:
		toAll(&proto.RetireEpochs{Before: a.Epoch})
	case residence.Discard:
		toAll(&proto.DiscardBatch{Batch: a.Batch})
	case residence.Switched:
		if s.asked != nil {
			s.asked.report.Tokens, s.asked.report.Bytes = a.Tokens, a.Bytes
			c.report(ctx, s, nil)
		}
	case residence.Filled:
		c.filled(ctx, s, nil)
	case residence.Failed:
		s.lastFailure = a.Reason
		c.log.Warn("KV blocks stay where they are", "sequence", s.id, "mode", a.Mode, "switch", a.Switch, "reason", a.Reason)
		if a.Switch && s.asked != nil {
			c.report(ctx, s, errors.New(a.Reason))
		}
		if a.Fill {
			c.filled(ctx, s, errors.New(a.Reason))
		}
	}
}
