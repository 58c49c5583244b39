package steering

import (
	"math"
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

// Predictor says how long things take, in seconds.
type Predictor interface {
	Step(m placement.Mode, context int) float64         // one decode step at a context
	Prefill(m placement.Mode, base, tokens int) float64 // reading so many tokens after base earlier ones
	Move(from, to placement.Mode, context int) float64  // from asking for a switch until it is in force
}

// The rules' numbers, see the package's documentation.
const (
	MaxSwitches = 4  // in one job
	lookEvery   = 16 // tokens
	dwell       = 48 // tokens between changes
	margin      = 0.05
	startMargin = 0.10
	worth       = 2.0
	certain     = 3.0 // standard errors
	warmUp      = 2   // steps after a change that are not learned from
	trialTokens = 512 // to come, for a mode to be tried without a prediction
	maxFailures = 2   // of switches to a mode

	// MaxDecisions bounds how many decisions there are in one job: its start, its changes, and those that failed.
	MaxDecisions = 1 + MaxSwitches + maxFailures*int(placement.Ring)
)

// Pilot chooses the modes of one sequence. One goroutine uses it.
type Pilot struct {
	predict Predictor // nil: there are no predictions
	why     string    // there are none
	lessons *Lessons
	modes   []placement.Mode

	mode     placement.Mode
	switches int // in this job
	since    int // tokens since the last change, or the start of the sequence
	until    int // tokens until it looks again
	changing *change
	failures [placement.Ring + 1]failure
}

// change is one that was decided on and is under way.
type change struct {
	to      placement.Mode
	context int     // that the sequence will have had when it might be in force
	cost    float64 // predicted, uncorrected
	start   bool    // at the start of a job
}

type failure struct {
	times   int
	context int // the mode is left alone up to here
}

// NewPilot steers a sequence that is in a mode, and may be in any of modes, this one included. Without a
// Predictor why says what is the matter with it.
func NewPilot(p Predictor, why string, l *Lessons, mode placement.Mode, modes []placement.Mode) *Pilot {
	return &Pilot{predict: p, why: why, lessons: l, mode: mode, modes: modes, since: dwell}
}

// Start chooses the mode for a job that reads a prompt, after context earlier tokens, and is to write so many
// tokens. It is to be told by Switched or Failed what became of a change.
func (p *Pilot) Start(context, prompt, tokens int) Decision {
	p.switches, p.until = 0, 0
	d := Decision{Mode: p.mode, Tokens: context}
	if p.predict == nil {
		d.Reason = "there are no predictions: " + p.why
		return d
	}
	var courses []course
	var best, now course
	kept := false // although another one seems faster
	for _, m := range p.possible(context) {
		c := p.course(m, context, prompt, tokens)
		if m != p.mode {
			c.seconds += p.move(p.mode, m, context)
		}
		courses = append(courses, c)
		if m == p.mode {
			now = c
		}
		if best.mode == 0 || c.weight() < best.weight() {
			best = c
		}
	}
	if context > 0 && best.mode != p.mode {
		sure := startMargin + p.uncertain(p.mode, best.mode)
		cost := p.move(p.mode, best.mode, context)
		if !(best.seconds < (1-sure)*now.seconds && now.seconds-(best.seconds-cost) > worth*cost) {
			best, kept = now, true
		}
	}
	d.Mode, d.Reason = best.mode, startReason(courses, best, prompt, tokens)
	if kept {
		d.Reason += ", which is too little for a change"
	}
	if best.mode != p.mode {
		d.Change = true
		p.change(best.mode, context)
		p.changing.start, p.changing.context = true, context+prompt
	}
	return d
}

// course is how a job may go: in a mode, and from some length on perhaps in another one.
type course struct {
	mode, then placement.Mode
	from       int // tokens in the cache at which it changes
	seconds    float64
}

// weight is the course's time, and a hundredth more if it changes on the way: for less than that one that goes
// straight is better.
func (c course) weight() float64 {
	if c.then != 0 {
		return 1.01 * c.seconds
	}
	return c.seconds
}

// changesAt is at how many points of an answer a change is considered for a course.
const changesAt = 8

// course is the fastest that begins in a mode.
func (p *Pilot) course(m placement.Mode, context, prompt, tokens int) course {
	full := context + prompt
	best := course{mode: m, seconds: p.writing(m, full, tokens)}
	for _, other := range p.possible(full) {
		for i := range changesAt {
			if other == m {
				break
			}
			before := i * tokens / changesAt
			w := p.weigh(m, other, full+before, tokens-before)
			seconds := p.writing(m, full, before) + w.cost + p.writing(other, full+before, tokens-before)
			if w.pays && seconds < best.seconds {
				best = course{mode: m, then: other, from: full + before, seconds: seconds}
			}
		}
	}
	best.seconds += p.predict.Prefill(m, context, prompt)
	return best
}

// possible is the modes that the sequence may be in, those left out to which switches have failed, or of which
// nothing sensible is predicted.
func (p *Pilot) possible(context int) []placement.Mode {
	return slices.DeleteFunc(slices.Clone(p.modes), func(m placement.Mode) bool {
		f, step := p.failures[m], p.predicted(m, context)
		return m != p.mode && (f.times >= maxFailures || context < f.context || !(step > 0 && step < math.MaxFloat64))
	})
}

// Stepped tells of a decode step that led to a context, with so many tokens still to come. Its seconds are 0 if
// something disturbed it. If the decision is a Change, it is to be told by Switched or Failed what became of it;
// until then it is not asked again.
func (p *Pilot) Stepped(context int, seconds float64, left int) (d Decision) {
	p.since++
	if seconds > 0 && p.since > warmUp && p.changing == nil {
		p.lessons.modes[p.mode].learn(seconds, p.predicted(p.mode, context))
	}
	if p.until--; p.until >= 0 || p.changing != nil {
		return Decision{}
	}
	p.until = lookEvery - 1
	if p.switches >= MaxSwitches || p.since < dwell || left < lookEvery {
		return Decision{}
	}
	return p.look(context, left)
}

// look weighs the other modes against the present one.
func (p *Pilot) look(context, left int) Decision {
	if p.predict == nil {
		if m := p.untried(); m != 0 && left >= trialTokens {
			p.lessons.tried[m] = true
			p.change(m, context)
			return Decision{Mode: m, Tokens: context, Change: true, Reason: "it is tried, since there are no predictions: " + p.why}
		}
	}
	if !p.known(p.mode) {
		return Decision{}
	}
	var best weighed
	for _, m := range p.possible(context) {
		if m == p.mode || !p.known(m) {
			continue
		}
		w := p.weigh(p.mode, m, context, left)
		if w.pays && (best.to == 0 || w.gain-w.cost > best.gain-best.cost) {
			best = w
		}
	}
	if best.to == 0 {
		return Decision{}
	}
	d := Decision{Mode: best.to, Tokens: context, Change: true, Reason: best.reason(p.mode, left)}
	p.change(best.to, context)
	return d
}

// weighed is a change of mode with what it would bring, in seconds.
type weighed struct {
	to         placement.Mode
	now, then  float64 // a step
	gain, cost float64 // over the tokens to come
	pays       bool    // by the package's rules
}

// weigh looks at a change at a context, with so many tokens to come.
func (p *Pilot) weigh(from, to placement.Mode, context, left int) weighed {
	w := weighed{to: to, now: p.step(from, context), then: p.step(to, context), cost: p.move(from, to, context),
		gain: p.writing(from, context, left) - p.writing(to, context, left)}
	w.pays = w.then < (1-margin-p.uncertain(from, to))*w.now && w.gain > worth*w.cost
	return w
}

// uncertain is by how much two modes may seem to differ because of noise in what was measured, as a part.
func (p *Pilot) uncertain(a, b placement.Mode) float64 {
	return certain * math.Hypot(p.lessons.factor(a).error, p.lessons.factor(b).error)
}

// untried is a mode of which nothing is known, or 0. The present one must be known, to compare with.
func (p *Pilot) untried() placement.Mode {
	if !p.lessons.factor(p.mode).measured {
		return 0
	}
	for _, m := range p.modes {
		if !p.lessons.factor(m).measured && !p.lessons.tried[m] && p.failures[m].times == 0 {
			return m
		}
	}
	return 0
}

func (p *Pilot) change(to placement.Mode, context int) {
	p.changing = &change{to: to, context: context}
	if p.predict != nil {
		p.changing.cost = p.predict.Move(p.mode, to, context)
	}
}

// Switched tells that a change, or a switch that somebody else asked for, is in force, and how long it took.
func (p *Pilot) Switched(mode placement.Mode, seconds float64) {
	c := p.changing
	p.mode, p.since, p.changing = mode, 0, nil
	if c == nil || c.to != mode {
		return
	}
	if c.cost > 0 {
		p.lessons.moves.learn(seconds, c.cost)
	}
	if c.start {
		p.since = dwell // another one may follow when the prompt is read
	} else {
		p.switches++
	}
}

// Failed tells that the change is not coming about.
func (p *Pilot) Failed() {
	c := p.changing
	if c == nil {
		return
	}
	p.changing = nil
	p.failures[c.to].times++
	p.failures[c.to].context = 2 * max(c.context, 1)
}

// predicted is one step before correction. Without predictions all are alike, and the correction is the time.
func (p *Pilot) predicted(m placement.Mode, context int) float64 {
	if p.predict == nil {
		return 1
	}
	return p.predict.Step(m, context)
}

// known reports whether there is anything to go by for a mode.
func (p *Pilot) known(m placement.Mode) bool { return p.predict != nil || p.lessons.factor(m).measured }

// step is one step, corrected.
func (p *Pilot) step(m placement.Mode, context int) float64 {
	return p.lessons.factor(m).median * p.predicted(m, context)
}

// writing is the time of so many steps from a context on. Steps grow almost linearly with it.
func (p *Pilot) writing(m placement.Mode, context, tokens int) float64 {
	const parts = 4
	sum := 0.0
	for i := range parts {
		sum += p.predicted(m, context+(2*i+1)*tokens/(2*parts))
	}
	return p.lessons.factor(m).median * sum / parts * float64(tokens)
}

// moveFactor bounds how far switches that were measured correct predictions: there are few of them.
const moveFactor = 10

// move is the time of a switch, corrected.
func (p *Pilot) move(from, to placement.Mode, context int) float64 {
	if p.predict == nil {
		return 0
	}
	cost := p.predict.Move(from, to, context)
	return cost * min(max(p.lessons.moves.factor(1).median, 1./moveFactor), moveFactor)
}
