package actors

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/steering"
)

// foretold predicts what a test wants: pooled is faster from a context on, and every other mode is slow.
type foretold struct{ crossover int }

func (f foretold) Step(m placement.Mode, _, context int) float64 {
	switch {
	case m == placement.Pipeline:
		return 1
	case m == placement.Pooled && context >= f.crossover:
		return 0.001
	case m == placement.Pooled:
		return 1000
	}
	return 1e6
}

func (foretold) Prefill(placement.Mode, int, int) float64         { return 1 }
func (foretold) Move(placement.Mode, placement.Mode, int) float64 { return 1e-9 }

// choices follows a job to its end: its tokens, what was chosen, how the switches went.
func (r *rig) choices(run *Running) (tokens []int32, choices []*steering.Decision, switches []*SwitchReport) {
	r.Helper()
	for {
		switch e := r.next(run); e.Kind {
		case Generated:
			tokens = append(tokens, e.Token)
		case Chosen:
			choices = append(choices, e.Choice)
		case Switched:
			switches = append(switches, e.Switch)
		case Ended:
			if e.Err != nil {
				r.Fatal(e.Err)
			}
			return tokens, choices, switches
		}
	}
}

func TestAutoChangesAtTheCrossoverAndKeepsTheTokens(t *testing.T) {
	ids := prompt(30)
	want := alone(t, ids, 220) // enough steps after the crossover for a switch, which does not hold up the end of a job
	r := newRig(t, 3)
	c := r.load(r.spec(placement.Pipeline))
	c.Steer(foretold{crossover: 80}, "")
	got, choices, switches := r.choices(r.start(c, r.sequence(c, placement.Auto), Job{IDs: ids, MaxTokens: 220}))
	same(t, "auto", got, want)
	// Steps that a busy machine disturbs may teach it to change again.
	if len(choices) < 2 || len(switches) < 1 {
		t.Fatalf("choices %+v, switches %+v", choices, switches)
	}
	if first := choices[0]; first.Mode != placement.Pipeline || first.Change || first.Tokens != 0 || !strings.Contains(first.Reason, "in pooled from about") {
		t.Errorf("at the start: %+v", first)
	}
	if next := choices[1]; next.Mode != placement.Pooled || !next.Change || next.Tokens < 80 || next.Tokens > 80+16 {
		t.Errorf("at the crossover: %+v", next)
	}
	if s := switches[0]; s.Err != nil || s.From != placement.Pipeline || s.To != placement.Pooled || s.Bytes == 0 {
		t.Errorf("%+v", s)
	}
}

// crowded predicts that pooled is the fastest for one sequence, and pipeline for several.
type crowded struct{ foretold }

func (crowded) Step(m placement.Mode, sequences, _ int) float64 {
	if m == placement.Pooled && sequences == 1 || m == placement.Pipeline && sequences > 1 {
		return 0.001
	}
	return 1000
}

func TestAutoOfSeveralSequencesGoesByAllOfThem(t *testing.T) {
	ids := prompt(10)
	want := alone(t, ids, 240)
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	c.Steer(crowded{}, "")
	first := r.start(c, r.sequence(c, placement.Auto), Job{IDs: ids, MaxTokens: 240})
	var begun []*steering.Decision
	for tokens := 0; tokens < 40; {
		switch e := r.next(first); e.Kind {
		case Generated:
			same(t, "the first one, alone", []int32{e.Token}, want[tokens:tokens+1])
			tokens++
		case Chosen:
			begun = append(begun, e.Choice)
		}
	}
	second := r.start(c, r.sequence(c, placement.Auto), Job{IDs: ids, MaxTokens: 200})
	got, next, switches := r.choices(first)
	same(t, "the first one, beside the other", got, want[40:])
	if len(begun) != 1 || begun[0].Mode != placement.Pooled || begun[0].Sequences != 1 || strings.Contains(begun[0].Reason, "sequences") {
		t.Errorf("alone it chose %+v", begun)
	}
	if len(next) == 0 || len(switches) == 0 {
		t.Fatalf("choices %+v, switches %+v", next, switches)
	}
	if d := next[0]; d.Mode != placement.Pipeline || !d.Change || d.Sequences != 2 || !strings.Contains(d.Reason, "of each of 2 sequences") {
		t.Errorf("beside the other it chose %+v", d)
	}
	got, choices, _ := r.choices(second)
	same(t, "the second one", got, want[:200])
	if len(choices) == 0 || choices[0].Mode != placement.Pipeline || choices[0].Change || choices[0].Sequences != 2 {
		t.Errorf("the second one chose %+v", choices)
	}
}

func TestAutoBeginsInTheModeThatIsPredictedToBeFastest(t *testing.T) {
	ids := prompt(50)
	want := alone(t, ids, 10)
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	c.Steer(foretold{}, "")
	seq := r.sequence(c, placement.Auto)
	got, choices, switches := r.choices(r.start(c, seq, Job{IDs: ids, MaxTokens: 10}))
	same(t, "auto", got, want)
	if len(choices) != 1 || choices[0].Mode != placement.Pooled || !choices[0].Change || len(switches) != 0 {
		t.Fatalf("choices %+v, switches %+v", choices, switches)
	}
	report, err := c.Switch(r.context(), seq, placement.Pipeline) // somebody takes over
	if err != nil || report.From != placement.Pooled {
		t.Fatalf("it was in %v, %v", report.From, err)
	}
	if _, choices, _ = r.choices(r.start(c, seq, Job{MaxTokens: 5})); len(choices) != 0 {
		t.Errorf("after somebody else has switched: %+v", choices)
	}
}

func TestAutoWithoutPredictionsSaysWhyAndGoesOnInTheModeOfLoading(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	c.Steer(nil, "the way from a to b could not be measured")
	_, choices, switches := r.choices(r.start(c, r.sequence(c, placement.Auto), Job{IDs: prompt(20), MaxTokens: 20}))
	if len(choices) != 1 || choices[0].Mode != placement.Pipeline || choices[0].Change || !strings.Contains(choices[0].Reason, "from a to b") || len(switches) != 0 {
		t.Errorf("choices %+v, switches %+v", choices, switches)
	}
}

func TestAutoNeverChoosesAModeThatIsNotPossible(t *testing.T) {
	r := newRig(t, 2)
	s := r.spec(placement.Pipeline)
	s.Refused[placement.Pooled] = "n1 lacks 3 GB"
	c := r.load(s)
	c.Steer(foretold{}, "")
	_, choices, _ := r.choices(r.start(c, r.sequence(c, placement.Auto), Job{IDs: prompt(20), MaxTokens: 40}))
	if len(choices) != 1 || choices[0].Mode != placement.Pipeline {
		t.Errorf("choices %+v", choices)
	}
}

// Switches fail for want of memory to hold old and new blocks at once: the sequence goes on where it is, and
// does not try for ever.
func TestAutoGivesUpSwitchesThatFail(t *testing.T) {
	ids := prompt(180)
	want := alone(t, ids, 70)
	r := newRig(t, 2)
	s := r.spec(placement.Ring)
	for i := range s.Memory {
		s.Memory[i].Fixed = 1<<30 - s.Memory[i].KV
	}
	s.Mode = placement.Pipeline
	c := r.load(s)
	c.Steer(foretold{crossover: 200}, "")
	got, choices, switches := r.choices(r.start(c, r.sequence(c, placement.Auto), Job{IDs: ids, MaxTokens: 70}))
	same(t, "auto", got, want)
	if len(choices) != 2 || len(switches) != 1 || switches[0].Err == nil {
		t.Errorf("choices %+v, switches %+v", choices, switches)
	}
}

func TestAutoEndsWithItsJob(t *testing.T) {
	r := newRig(t, 2)
	c := r.load(r.spec(placement.Pipeline))
	c.Steer(foretold{crossover: 40}, "")
	seq := r.sequence(c, placement.Auto)
	for range 4 {
		run := r.start(c, seq, Job{IDs: prompt(5), MaxTokens: 100})
		for r.next(run).Kind != Generated {
		}
		c.Cancel(seq, run, context.Canceled)
		if _, _, err := r.drain(run); !errors.Is(err, context.Canceled) {
			t.Fatalf("ended with %v", err)
		}
	}
	c.CloseSequence(seq)
	r.eventually("the memory is free again", func() bool { return r.kvBytes() == 0 })
}
