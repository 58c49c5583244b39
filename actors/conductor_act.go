package actors

import (
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
)

// sequence is what the conductor knows of one sequence.
type sequence struct {
	id          uint64
	machine     *residence.Machine
	opener      *actor.PID   // who waits for it to be open
	unopened    map[int]bool // nodes that have not made their shard
	job         *runningJob
	ended       bool    // the job needs no further step
	carry       []int32 // chosen, and not yet fed
	position    int     // of the next token to hand to a step
	inFlight    int     // steps
	asked       *switchAsked
	progress    time.Time // of copies, announcements and steps
	lastFailure string
	failed      error
}

// switchAsked is a switch under way.
type switchAsked struct {
	report  SwitchReport
	answer  *actor.PID  // who waits for the report; nil: it is an event of the job
	job     *runningJob // that asked by SwitchAt
	since   time.Time
	refused error
}

func newSequence(id uint64, m *residence.Machine, nodes int) *sequence {
	s := &sequence{id: id, machine: m, unopened: map[int]bool{}, progress: time.Now()}
	for n := range nodes {
		s.unopened[n] = true
	}
	return s
}

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
	case residence.Failed:
		s.lastFailure = a.Reason
		c.log.Warn("KV blocks stay where they are", "sequence", s.id, "mode", a.Mode, "switch", a.Switch, "reason", a.Reason)
		if a.Switch && s.asked != nil {
			c.report(ctx, s, errors.New(a.Reason))
		}
	}
}

// report says how a switch went: to who asked, or in the job's events.
func (c *conductor) report(ctx actor.Context, s *sequence, err error) {
	a := s.asked
	s.asked = nil
	r := a.report
	r.Took = time.Since(a.since)
	if err != nil {
		r.Err = fmt.Errorf("switch from %v to %v: %w", r.From, r.To, err)
		r.Tokens = s.machine.Length()
	}
	c.log.Info("mode switch", "sequence", s.id, "from", r.From, "to", r.To, "tokens", r.Tokens, "bytes", r.Bytes, "took", r.Took, "err", r.Err)
	switch {
	case a.answer != nil:
		ctx.Send(a.answer, &r)
	case s.job != nil && s.job == a.job:
		s.job.emit(Event{Kind: Switched, Switch: &r})
	}
}

// loadEverywhere asks every node for every layer.
func (c *conductor) loadEverywhere(ctx actor.Context) {
	for n := range c.spec.Nodes {
		c.loadLayers(ctx, n)
	}
}

func (c *conductor) loadLayers(ctx actor.Context, n int) {
	if c.loaded[n] || c.loading[n] {
		return
	}
	c.loading[n] = true
	all := residence.Span{First: 0, End: c.spec.Model.Config.Layers}
	ctx.Send(layerShardPID(c.spec.Nodes[n], c.handle.model), &proto.LoadLayers{Layers: spanToProto(all)})
}

func (c *conductor) layersLoaded(ctx actor.Context, msg *proto.LayersLoaded) {
	n := int(msg.Node)
	if n >= len(c.loaded) {
		return
	}
	c.loading[n] = false
	c.loaded[n] = msg.Error == ""
	for id := range c.seqs {
		s := c.seqs[id]
		if s.opener != nil && msg.Error == "" && len(s.unopened) == 0 && !c.ringNeedsLayers(s) {
			ctx.Send(s.opener, &sequenceReady{s.id})
			s.opener = nil
		}
		if s.opener != nil && msg.Error != "" && s.machine.Epoch().Mode == placement.Ring {
			c.closeSequence(ctx, id, fmt.Errorf("node %s: %s", c.nodeName(msg.Node), msg.Error))
			continue
		}
		c.onSequence(ctx, id, func(s *sequence) {
			if msg.Error == "" {
				s.machine.WeightsReady(n)
			} else {
				s.machine.WeightsFailed(n, fmt.Sprintf("node %s: %s", c.nodeName(msg.Node), msg.Error))
			}
		})
	}
}
