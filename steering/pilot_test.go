package steering

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/placement"
)

// drawLines draws modes of a few ms to a second a step.
func drawLines(t *rapid.T) (l lines) {
	for _, m := range modes {
		l.step[m] = line{rapid.Float64Range(1e-3, 0.1).Draw(t, "at"), rapid.Float64Range(0, 1e-5).Draw(t, "slope"), rapid.Float64Range(0, 1).Draw(t, "more")}
		l.prefill[m] = rapid.Float64Range(1e-4, 1e-2).Draw(t, "prefill")
	}
	l.move = line{at: rapid.Float64Range(0, 1).Draw(t, "move"), slope: rapid.Float64Range(0, 1e-4).Draw(t, "move slope")}
	return l
}

// off is another truth: each mode is off by a factor of its own.
func (l lines) off(t *rapid.T) lines {
	for _, m := range modes {
		f := rapid.Float64Range(0.2, 5).Draw(t, "off")
		l.step[m] = line{l.step[m].at * f, l.step[m].slope * f, l.step[m].more}
	}
	return l
}

// drawOthers draws up to so many, whose modes nobody chooses by steering.
func drawOthers(t *rapid.T, most int) (o Others) {
	for range rapid.IntRange(0, most).Draw(t, "others") {
		o.In[rapid.SampledFrom(modes).Draw(t, "in")]++
		o.Tokens += rapid.IntRange(0, 30000).Draw(t, "length")
	}
	return o
}

// Whatever is predicted, measured and fails, and whoever comes and goes: only modes that are possible are chosen, changes are few and far
// between, and every one comes with a reason in one line.
func TestThePilotNeverFlaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		predicted := drawLines(t)
		truth := predicted.off(t)
		possible := modes[:rapid.IntRange(1, 3).Draw(t, "modes")]
		mode := rapid.SampledFrom(possible).Draw(t, "first")
		var lessons Lessons
		p := NewPilot(&predicted, "", &lessons, mode, possible)
		if rapid.IntRange(0, 3).Draw(t, "blind") == 0 {
			p = NewPilot(nil, "nobody measured", &lessons, mode, possible)
		}
		context := 0
		failures := map[placement.Mode]int{}
		last := -dwell
		take := func(d Decision) {
			if !slices.Contains(possible, d.Mode) || d.Reason == "" || strings.Contains(d.Reason, "\n") || d.Tokens != context || d.Change == (d.Mode == mode) {
				t.Fatalf("in %v at %d: %+v", mode, context, d)
			}
			if !d.Change {
				return
			}
			if failures[d.Mode] == maxFailures {
				t.Fatalf("%v has failed %d times already", d.Mode, maxFailures)
			}
			if rapid.IntRange(0, 4).Draw(t, "fails") == 0 {
				failures[d.Mode]++
				p.Failed()
				return
			}
			p.Switched(d.Mode, truth.Move(mode, d.Mode, context)*rapid.Float64Range(0.01, 100).Draw(t, "move is off"))
			mode = d.Mode
		}
		for range rapid.IntRange(1, 3).Draw(t, "jobs") {
			prompt, tokens := rapid.IntRange(1, 30000).Draw(t, "prompt"), rapid.IntRange(1, 3000).Draw(t, "tokens")
			beside := drawOthers(t, 3)
			take(p.Start(context, prompt, tokens, beside))
			context += prompt
			changes := 0
			comeAndGo := rapid.IntRange(1, 200).Draw(t, "come and go every")
			noise := rapid.Float64Range(0, 3).Draw(t, "noise")
			for i := range tokens {
				context++
				last++
				if i > 0 && i%comeAndGo == 0 && i/comeAndGo < 8 {
					beside = drawOthers(t, 3)
				}
				seconds := truth.Step(mode, 1+beside.Sequences(), context) * (1 + noise*math.Abs(math.Sin(float64(i*i))))
				if i%7 == 0 {
					seconds = 0 // disturbed
				}
				before := mode
				d := p.Stepped(context, seconds, tokens-i-1, beside)
				if d.Mode == 0 {
					continue
				}
				if take(d); mode == before {
					continue
				}
				if changes++; changes > MaxSwitches || changes > 1 && last < dwell {
					t.Fatalf("change %d, %d tokens after the one before", changes, last)
				}
				last = 0
			}
		}
	})
}

// When the predictions are true, the whole job takes hardly more than in the best mode throughout, whichever
// the sequence begins in.
func TestTruePredictionsAreGoneBy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLines(t)
		mode := rapid.SampledFrom(modes).Draw(t, "first")
		p := NewPilot(&l, "", &Lessons{}, mode, modes)
		prompt, tokens := rapid.IntRange(1, 20000).Draw(t, "prompt"), rapid.IntRange(100, 3000).Draw(t, "tokens")
		best, longest := math.Inf(1), 0.0
		for _, m := range modes {
			whole := l.Prefill(m, 0, prompt)
			for i := range tokens {
				whole += l.Step(m, 1, prompt+i+1)
			}
			best, longest = min(best, whole), max(longest, l.Step(m, 1, prompt+tokens))
		}
		took := 0.0
		take := func(d Decision, context int) {
			if d.Change {
				seconds := l.Move(mode, d.Mode, context)
				took += seconds
				p.Switched(d.Mode, seconds)
				mode = d.Mode
			}
		}
		take(p.Start(0, prompt, tokens, Others{}), 0)
		took += l.Prefill(mode, 0, prompt)
		for i := range tokens {
			step := l.Step(mode, 1, prompt+i+1)
			took += step
			take(p.Stepped(prompt+i+1, step, tokens-i-1, Others{}), prompt+i+1)
		}
		if took > best*1.002+lookEvery*longest { // a change comes when it looks
			t.Fatalf("the job took %v s, in one mode throughout %v", took, best)
		}
	})
}

// A prediction that is wrong for one mode is found out, whichever mode it is.
func TestAWrongPredictionIsFoundOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		predicted := lines{move: line{at: 1e-3}}
		fast, slow := placement.Pipeline, placement.Pooled
		if rapid.Bool().Draw(t, "pooled") {
			fast, slow = slow, fast
		}
		// The slow one is predicted to be up to a fifth faster than the other, and is 2 to 5 times as slow.
		step := rapid.Float64Range(1e-3, 0.1).Draw(t, "step")
		predicted.step[fast] = line{at: step}
		predicted.step[slow] = line{at: step * rapid.Float64Range(0.8, 1).Draw(t, "predicted")}
		truth := predicted
		truth.step[slow].at *= rapid.Float64Range(2, 5).Draw(t, "off")
		var lessons Lessons
		p := NewPilot(&predicted, "", &lessons, slow, []placement.Mode{placement.Pipeline, placement.Pooled})
		mode := slow
		for i := range 200 {
			d := p.Stepped(100+i, truth.Step(mode, 1, 0)*rapid.Float64Range(0.95, 1.05).Draw(t, "noise"), 1000-i, Others{})
			if d.Change {
				p.Switched(d.Mode, 1e-3)
				mode = d.Mode
			}
		}
		if mode != fast {
			t.Fatalf("after 200 tokens it is in %v", mode)
		}
		second := NewPilot(&predicted, "", &lessons, slow, []placement.Mode{placement.Pipeline, placement.Pooled})
		if d := second.Start(0, 10, 1000, Others{}); d.Mode != fast {
			t.Fatalf("the next sequence starts in %v: %s", d.Mode, d.Reason)
		}
	})
}

func TestAModeOfWhichNothingSensibleIsPredictedIsNotChosen(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), 0, -1} {
		for _, of := range [][]placement.Mode{modes, modes[:1], modes[1:2], modes[1:]} {
			var l lines
			for _, m := range modes {
				l.step[m], l.prefill[m] = line{at: 1}, 1
			}
			for _, m := range of {
				l.step[m], l.prefill[m] = line{at: bad}, bad
			}
			p := NewPilot(&l, "", &Lessons{}, placement.Pipeline, modes)
			if d := p.Start(0, 100, 100, Others{}); d.Change && slices.Contains(of, d.Mode) {
				t.Errorf("%v: %+v", bad, d)
			}
			for i := range 200 {
				if d := p.Stepped(100+i, 0.01, 200-i, Others{}); d.Change && slices.Contains(of, d.Mode) {
					t.Errorf("%v: %+v", bad, d)
				}
			}
		}
	}
}

func TestSteppingAllocatesNothingUntilItLooks(t *testing.T) {
	l := lines{}
	for _, m := range modes {
		l.step[m] = line{at: 1e-2, slope: 1e-6}
	}
	p := NewPilot(&l, "", &Lessons{}, placement.Pipeline, modes)
	p.Stepped(1000, 0.01, 5000, Others{})
	context := 1000
	if n := testing.AllocsPerRun(lookEvery-2, func() { context++; p.Stepped(context, 0.01, 5000, Others{}) }); n != 0 {
		t.Errorf("%v allocations a step", n)
	}
}
