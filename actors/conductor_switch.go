package actors

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/trace"
)

func (c *conductor) switchMode(ctx actor.Context, msg *switchMode) {
	s := c.seqs[msg.seq]
	switch {
	case c.broken != nil:
		ctx.Respond(c.broken)
	case s == nil:
		ctx.Respond(notOpen(msg.seq))
	case s.asked != nil:
		ctx.Respond(residence.ErrSwitching)
	default:
		s.pilot = nil // from now on whoever asks chooses
		c.askSwitch(ctx, s, msg.mode, ctx.Sender())
		c.advance(ctx, s)
	}
}

// askSwitch starts a switch. answer is who waits for its report; without one it is an event of the job.
func (c *conductor) askSwitch(ctx actor.Context, s *sequence, mode placement.Mode, answer *actor.PID) {
	s.asked = &switchAsked{answer: answer, job: s.job, since: time.Now(), began: c.handle.recorder.Load().Now(),
		report: SwitchReport{From: s.machine.Epoch().Mode, To: mode, Asked: s.machine.Length()}}
	if why := c.spec.Refused[mode]; why != "" {
		s.asked.refused = fmt.Errorf("mode %v is not possible here: %s", mode, why)
		return
	}
	c.beginSwitch(ctx, s)
}

// beginSwitch begins a switch, or first has nodes lend what they would hold during it beyond what is kept for
// the sequence. The sequence may grow somewhat meanwhile without having to wait; if the memory for that cannot
// be had, it is tried without.
func (c *conductor) beginSwitch(ctx actor.Context, s *sequence) {
	a := s.asked
	growth := min(2*c.spec.Chunk+c.spec.BlockTokens, s.limit-s.position)
	if a.again {
		growth = 0
	}
	if lacks := s.machine.Lacks(a.report.To, growth); lacks != nil {
		c.askToLend(ctx, s, lacks)
		return
	}
	a.refused = c.roomOf(s.machine.Switch(a.report.To))
}

// askToLend asks the nodes that lack something for it. No step begins until all have answered.
func (c *conductor) askToLend(ctx actor.Context, s *sequence, lacks []int) {
	s.asked.lending, s.asked.wants, s.asked.refusal = map[int]bool{}, slices.Clone(s.lent), nil
	for n, pairs := range lacks {
		if pairs > 0 {
			s.asked.wants[n] += pairs
			s.asked.lending[n] = true
			ctx.Request(layerShardPID(c.spec.Nodes[n], c.handle.model), &proto.Lend{Sequence: s.id, Bytes: int64(s.asked.wants[n]) * c.pairBytes})
		}
	}
}

// lent takes a node's answer. When all have lent what they were asked for the switch begins.
func (c *conductor) lent(ctx actor.Context, s *sequence, msg *proto.Lent) {
	a, n := s.asked, int(msg.Node)
	if a == nil || !a.lending[n] {
		return
	}
	delete(a.lending, n)
	if msg.Error != "" {
		a.wants[n] = s.lent[n]
		a.refusal = fmt.Errorf("node %s cannot hold old and new blocks at once: %s", c.nodeName(msg.Node), msg.Error)
	}
	if len(a.lending) > 0 {
		return
	}
	c.setLent(s, a.wants)
	switch {
	case a.refusal == nil:
		a.refused = c.roomOf(s.machine.Switch(a.report.To))
	case a.again:
		a.refused = a.refusal
	default:
		a.again = true
		c.beginSwitch(ctx, s)
	}
}

func (c *conductor) setLent(s *sequence, pairs []int) {
	s.lent = pairs
	room := slices.Clone(s.kept)
	for n := range room {
		room[n] += pairs[n]
	}
	s.machine.Keep(room)
}

// payBack returns what was lent for a switch once the sequence gets by without.
func (c *conductor) payBack(ctx actor.Context, s *sequence) {
	if s.asked != nil || !slices.ContainsFunc(s.lent, func(n int) bool { return n > 0 }) || !s.machine.Within(s.kept) {
		return
	}
	for n, pairs := range s.lent {
		if pairs > 0 {
			ctx.Send(layerShardPID(c.spec.Nodes[n], c.handle.model), &proto.Lend{Sequence: s.id})
		}
	}
	c.setLent(s, make([]int, len(s.lent)))
}

// roomOf names the nodes in a *residence.RoomError.
func (c *conductor) roomOf(err error) error {
	var room *residence.RoomError
	if !errors.As(err, &room) {
		return err
	}
	var lacks []string
	for n, pairs := range room.Lacks {
		if pairs > 0 {
			lacks = append(lacks, fmt.Sprintf("node %s lacks %s", c.spec.Nodes[n], placement.FormatBytes(int64(pairs)*c.pairBytes)))
		}
	}
	return fmt.Errorf("%w: %s", err, strings.Join(lacks, ", "))
}

// askDue asks for the switches of SwitchAt whose time has come, one after the other.
func (c *conductor) askDue(ctx actor.Context, s *sequence) {
	if j := s.job; len(j.switches) > 0 && s.asked == nil && j.count() >= j.switches[0].Token && !s.ended {
		mode := j.switches[0].Mode
		j.switches = j.switches[1:]
		c.askSwitch(ctx, s, mode, nil)
	}
}

// switchAsked is a switch under way.
type switchAsked struct {
	report  SwitchReport
	answer  *actor.PID  // who waits for the report; nil: it is an event of the job
	job     *runningJob // that asked by SwitchAt
	since   time.Time
	began   int64 // on the trace's clock, if there is one
	auto    bool  // the pilot asked
	hold    bool  // no step begins before it is in force
	refused error

	lending map[int]bool // nodes that were asked for memory and have not answered
	wants   []int        // pairs that are to be lent by each node
	refusal error        // of a node that does not lend
	again   bool         // it has been tried with room to grow
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
	c.chosen(s, a, err)
	c.handle.recorder.Load().Add(trace.Span{Begin: a.began, Kind: trace.Switch, Seq: s.id, Bytes: r.Bytes, First: uint32(r.Asked), Count: uint32(r.Tokens - r.Asked),
		Layer: trace.NoLayer, Peer: trace.Nobody})
	if r.Err == nil {
		c.log.Info("mode switch", "sequence", s.id, "from", r.From, "to", r.To, "tokens", r.Tokens, "bytes", r.Bytes, "took", r.Took)
	} else {
		c.log.Warn("mode switch failed", "sequence", s.id, "from", r.From, "to", r.To, "tokens", r.Tokens, "took", r.Took, "err", r.Err)
	}
	switch {
	case a.answer != nil:
		ctx.Send(a.answer, &r)
	case a.hold && r.Asked == 0 && r.Err == nil: // there was nothing to move: the sequence begins in that mode
	case s.job != nil && s.job == a.job:
		s.job.emit(Event{Kind: Switched, Switch: &r})
	}
}
