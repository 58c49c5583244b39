package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/steering"
)

// steer tells a conductor by what to choose the modes of sequences that were opened in placement.Auto.
type steer struct {
	predict steering.Predictor // nil: there is none
	why     string             // there is none
}

// Steer gives what predicts how long steps take, to choose the modes of sequences that are opened in
// placement.Auto from now on. Without it (nil) they go by measured steps only, and why says what is the
// matter.
func (c *Conductor) Steer(p steering.Predictor, why string) {
	c.system.Root.Send(c.pid, &steer{p, why})
}

func (c *conductor) steer(msg *steer) {
	c.predict, c.unpredicted = msg.predict, msg.why
	if f, ok := c.predict.(*forecast); ok {
		for n, loaded := range c.loaded {
			if loaded {
				f.missing[n] = 0
			}
		}
	}
}

// expectTokens is how many tokens an answer is taken to have still when nobody knows, at the least. Beyond that,
// as many as it has had already.
const expectTokens = 256

// left is how many tokens a job is expected to write still.
func (j *runningJob) left() int {
	left := j.MaxTokens - j.produced
	if j.Unlimited {
		left = min(left, max(j.produced, expectTokens))
	}
	return left
}

// chooseStart chooses the mode of a job that begins. No step begins before it is in force.
func (c *conductor) chooseStart(ctx actor.Context, s *sequence) {
	if len(s.job.switches) > 0 {
		s.pilot = nil // whoever asks for switches chooses
	}
	if s.pilot == nil || s.asked != nil {
		return
	}
	beside, _ := c.others(s)
	s.told = told{}
	c.choose(ctx, s, s.pilot.Start(s.machine.Length(), len(s.job.pending), s.job.left(), beside))
	if s.asked != nil {
		s.asked.hold = true
	}
}

// told is what a pilot was told of last.
type told struct {
	at     time.Time
	beside steering.Others
	alike  bool // all of them were writing, in the mode of its sequence, and nothing disturbed them
}

// chooseNext tells the pilot of a decode step, and follows what it decides. The step counts since the token before if all went on alike meanwhile.
func (c *conductor) chooseNext(ctx actor.Context, s *sequence, step *stepInFlight) {
	if s.pilot == nil || s.job == nil || step.fed != 1 || step.token < 0 || s.ended {
		return
	}
	before, now := s.told, told{at: time.Now()}
	now.beside, now.alike = c.others(s)
	s.told = now
	seconds := 0.0
	if before.alike && now.alike && before.beside.In == now.beside.In {
		seconds = now.at.Sub(before.at).Seconds()
	}
	if d := s.pilot.Stepped(s.machine.Length(), seconds, s.job.left(), now.beside); d.Change {
		c.choose(ctx, s, d)
	}
}

// others are the sequences that write beside s, or are to. It reports whether all are as predictions have it: they write, in the mode of s and in steps together, and nothing else is
// under way.
func (c *conductor) others(s *sequence) (o steering.Others, alike bool) {
	alike = true
	for _, other := range c.seqs {
		j := other.job
		alike = alike && other.asked == nil && other.filling == nil && !other.machine.Waiting()
		if j == nil || other.ended {
			continue
		}
		alike = alike && j.produced > 0
		if other == s || j.MaxTokens == 0 {
			continue
		}
		mode := other.machine.Epoch().Mode
		alike = alike && mode == s.machine.Epoch().Mode && j.Logits == nil && c.handle.recorder.Load() == nil
		if other.asked != nil {
			mode = other.asked.report.To
		}
		o.In[mode]++
		o.Tokens += other.machine.Length() + len(j.pending)
	}
	return o, alike
}

// choose logs a decision, tells the job of it, and carries it out.
func (c *conductor) choose(ctx actor.Context, s *sequence, d steering.Decision) {
	c.log.Info("auto", "sequence", s.id, "tokens", d.Tokens, "mode", d.Mode, "change", d.Change, "reason", d.Reason)
	s.job.emit(Event{Kind: Chosen, Choice: &d})
	if d.Change {
		c.askSwitch(ctx, s, d.Mode, nil)
		s.asked.auto = true
	}
}

// chosen tells the pilot what became of a switch, of its own or another's.
func (c *conductor) chosen(s *sequence, a *switchAsked, err error) {
	switch {
	case s.pilot == nil || !a.auto:
	case err != nil:
		s.pilot.Failed()
	default:
		s.pilot.Switched(a.report.To, time.Since(a.since).Seconds())
	}
}
