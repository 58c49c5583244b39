package steering

import "github.com/orrery-ai/orrery/placement"

// Predictor says how long things take, in seconds.
type Predictor interface {
	Step(m placement.Mode, sequences, context int) float64 // until each of so many sequences at a context has had a token, all in the mode
	Prefill(m placement.Mode, base, tokens int) float64    // reading so many tokens after base earlier ones
	Move(from, to placement.Mode, context int) float64     // from asking for a switch until it is in force
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
	attended attendance
	begun    bool // there was a step in this job
	switches int  // in this job
	since    int  // tokens since the last change, or the start of the sequence
	until    int  // tokens until it looks again
	changing *change
	failures [placement.Ring + 1]failure
}

// change is one that was decided on and is under way.
type change struct {
	to      placement.Mode
	context int     // that the sequence will have had when it might be in force
	cost    float64 // predicted, uncorrected; 0: it is not learned from
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
// tokens, beside others. It is to be told by Switched or Failed what became of a change.
func (p *Pilot) Start(context, prompt, tokens int, beside Others) Decision {
	p.switches, p.until, p.begun = 0, 0, false
	sequences := 1 + beside.Sequences()
	d := Decision{Mode: p.mode, Tokens: context, Sequences: sequences}
	if p.predict == nil {
		d.Reason = "there are no predictions: " + p.why
		return d
	}
	v := p.outlook(sequences, context+prompt, &beside)
	var courses []course
	var best, now course
	kept := false // although another one seems faster
	for _, m := range v.possible(context) {
		c := v.course(m, context, prompt, tokens)
		if m != p.mode {
			c.seconds += v.move(p.mode, m, context)
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
		sure := startMargin + v.uncertain(p.mode, best.mode)
		cost := v.move(p.mode, best.mode, context)
		if !(best.seconds < (1-sure)*now.seconds && now.seconds-(best.seconds-cost) > worth*cost) {
			best, kept = now, true
		}
	}
	d.Mode, d.Reason = best.mode, startReason(courses, best, prompt, tokens, sequences)
	if kept {
		d.Reason += ", which is too little for a change"
	}
	if best.mode != p.mode {
		d.Change = true
		p.change(best.mode, context, sequences)
		p.changing.start, p.changing.context = true, context+prompt
	}
	return d
}

// Stepped tells of a decode step that led to a context, with so many tokens still to come, beside others. Its seconds are those since the token before, or 0 if
// something disturbed it: not all sequences were writing and in the same mode all the time, or there were not as many. If the decision is a Change, it is to be told by Switched or
// Failed what became of it; until then it is not asked again.
func (p *Pilot) Stepped(context int, seconds float64, left int, beside Others) (d Decision) {
	p.since++
	sequences := 1 + beside.Sequences()
	if !p.begun {
		p.begun = true
		p.attended.fill(sequences)
	}
	p.attended.add(sequences)
	if seconds > 0 && p.since > warmUp && p.changing == nil {
		p.learn(context, seconds, sequences, &beside)
	}
	if p.until--; p.until >= 0 || p.changing != nil {
		return Decision{}
	}
	p.until = lookEvery - 1
	if p.switches >= MaxSwitches || p.since < dwell || left < lookEvery {
		return Decision{}
	}
	return p.look(p.outlook(p.attended.median(), context, &beside), context, left)
}

// learn takes a lesson from a step. Of several sequences, which have their tokens together, one is enough for a round of theirs: more would seem surer than they are.
func (p *Pilot) learn(context int, seconds float64, sequences int, beside *Others) {
	if p.since%sequences != 0 {
		return
	}
	predicted := 1.0
	if p.predict != nil {
		predicted = p.predict.Step(p.mode, sequences, max(context+longer(sequences, context, beside), 0))
	}
	p.lessons.modes[sizeOf(sequences)][p.mode].learn(seconds, predicted)
}

// look weighs the other modes against the present one.
func (p *Pilot) look(v *outlook, context, left int) Decision {
	d := Decision{Tokens: context, Sequences: v.sequences, Change: true}
	if p.predict == nil {
		if v.sequences > 1 {
			return Decision{} // what was measured is of one
		}
		if m := v.untried(); m != 0 && left >= trialTokens {
			p.lessons.tried[m] = true
			p.change(m, context, 1)
			d.Mode, d.Reason = m, "it is tried, since there are no predictions: "+p.why
			return d
		}
	}
	if !v.known(p.mode) {
		return Decision{}
	}
	var best weighed
	for _, m := range v.possible(context) {
		if m == p.mode || !v.known(m) {
			continue
		}
		w := v.weigh(p.mode, m, context, left)
		if w.pays && (best.to == 0 || w.gain-w.cost > best.gain-best.cost) {
			best = w
		}
	}
	if best.to == 0 {
		return Decision{}
	}
	d.Mode, d.Reason = best.to, best.reason(p.mode, left, v.sequences)
	p.change(best.to, context, v.sequences)
	return d
}

// change notes one that begins. How long it takes is to be learned from if no others do the same.
func (p *Pilot) change(to placement.Mode, context, sequences int) {
	p.changing = &change{to: to, context: context}
	if p.predict != nil && sequences == 1 {
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
