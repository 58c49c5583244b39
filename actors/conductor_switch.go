package actors

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
)

func (c *conductor) switchMode(ctx actor.Context, msg *switchMode) {
	s := c.seqs[msg.seq]
	switch {
	case c.broken != nil:
		ctx.Respond(c.broken)
	case s == nil:
		ctx.Respond(fmt.Errorf("sequence %d is not open", msg.seq))
	case s.asked != nil:
		ctx.Respond(residence.ErrSwitching)
	default:
		c.ask(s, msg.mode, ctx.Sender())
		c.advance(ctx, s)
	}
}

// ask starts a switch. answer is who waits for its report; without one it is an event of the job.
func (c *conductor) ask(s *sequence, mode placement.Mode, answer *actor.PID) {
	s.asked = &switchAsked{answer: answer, job: s.job, since: time.Now(),
		report: SwitchReport{From: s.machine.Epoch().Mode, To: mode, Asked: s.machine.Length()}}
	if why := c.spec.Refused[mode]; why != "" {
		s.asked.refused = fmt.Errorf("mode %v is not possible here: %s", mode, why)
		return
	}
	if err := s.machine.Switch(mode); err != nil {
		s.asked.refused = err
	}
}

// askDue asks for the switches of SwitchAt whose time has come, one after the other.
func (c *conductor) askDue(s *sequence) {
	if j := s.job; len(j.switches) > 0 && s.asked == nil && j.count() >= j.switches[0].Token && !s.ended {
		mode := j.switches[0].Mode
		j.switches = j.switches[1:]
		c.ask(s, mode, nil)
	}
}

// switchAsked is a switch under way.
type switchAsked struct {
	report  SwitchReport
	answer  *actor.PID  // who waits for the report; nil: it is an event of the job
	job     *runningJob // that asked by SwitchAt
	since   time.Time
	refused error
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
