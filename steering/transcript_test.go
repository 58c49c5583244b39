package steering

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/orrery-ai/orrery/placement"
)

// The folder in which rapid would leave what fails is that of the transcripts.
func init() {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
}

// line is a time that grows with the context, and of steps with each further sequence by a part: (at + slope · context) · (1 + more · (sequences - 1)), in seconds.
type line struct{ at, slope, more float64 }

// lines are straight predictions, or the truth that they should be.
type lines struct {
	step    [placement.Ring + 1]line
	prefill [placement.Ring + 1]float64 // seconds a token
	move    line
}

func (l *lines) Step(m placement.Mode, sequences, context int) float64 {
	s := l.step[m]
	return (s.at + s.slope*float64(context)) * (1 + s.more*float64(sequences-1))
}

func (l *lines) Prefill(m placement.Mode, base, tokens int) float64 {
	return l.prefill[m] * float64(tokens)
}

func (l *lines) Move(from, to placement.Mode, context int) float64 {
	if context == 0 {
		return 0 // there is nothing to move
	}
	return l.move.at + l.move.slope*float64(context)
}

var modes = []placement.Mode{placement.Pipeline, placement.Pooled, placement.Ring}

// TestTranscripts plays the stories in testdata: what was predicted, what steps really take, and what is
// decided. Times are in ms, and in ms for a thousand tokens of context. Others are beside the sequence where it says
// so. Run with -rewrite after a change that is meant.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var w world
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return w.play(t, d) })
	})
}

// world is a sequence in virtual time.
type world struct {
	predicted, truth lines
	blind            string
	lessons          *Lessons
	pilot            *Pilot
	modes            []placement.Mode
	mode             placement.Mode
	context          int
	random           *rand.Rand
}

func (w *world) play(t *testing.T, d *datadriven.TestData) string {
	number := func(name string, def int) int {
		d.MaybeScanArgs(t, name, &def)
		return def
	}
	var out strings.Builder
	beside := w.others(t, d)
	switch d.Cmd {
	case "model": // what is predicted; the truth is that until it is said to be otherwise
		*w = world{lessons: &Lessons{}, random: rand.New(rand.NewPCG(1, 2))}
		d.MaybeScanArgs(t, "blind", &w.blind)
		w.scan(t, d, &w.predicted)
		w.truth = w.predicted
		for m := placement.Pipeline; m <= placement.Ring; m++ {
			if w.predicted.step[m] != (line{}) {
				w.modes = append(w.modes, m)
			}
		}
	case "truth":
		w.scan(t, d, &w.truth)
	case "sequence":
		w.context, w.mode = 0, w.modes[0]
		w.pilot = w.newPilot()
	case "start":
		decision := w.pilot.Start(w.context, number("prompt", 0), number("tokens", 0), beside)
		w.tell(&out, decision, d.HasArg("fails"))
		w.context += number("prompt", 0)
	case "write":
		n, noise := number("tokens", 0), number("noise", 0)
		fmt.Fprintf(&out, "from %d: ", w.context)
		changes := 0
		for i := range n {
			w.context++
			sequences := 1 + beside.Sequences()
			seconds := w.truth.Step(w.mode, sequences, w.context) * (1 + float64(noise)/100*(2*w.random.Float64()-1))
			if beside.In[w.mode] < sequences-1 {
				seconds = 0
			}
			if every := number("spike", 0); every > 0 && i%every == 0 {
				seconds *= 20
			}
			decision := w.pilot.Stepped(w.context, seconds, number("left", n)-i-1, beside)
			if decision.Change {
				changes++
				w.tell(&out, decision, d.HasArg("fails"))
			}
		}
		fmt.Fprintf(&out, "%d changes, then %v at %d\n", changes, w.mode, w.context)
	default:
		t.Fatalf("%s: unknown event", d.Cmd)
	}
	return out.String()
}

// others are those that an event tells of: ring=2, and as long as the sequence itself or as many tokens each.
func (w *world) others(t *testing.T, d *datadriven.TestData) (o Others) {
	if d.Cmd != "start" && d.Cmd != "write" {
		return o
	}
	for _, m := range modes {
		d.MaybeScanArgs(t, m.String(), &o.In[m])
	}
	length := w.context
	d.MaybeScanArgs(t, "prompt", &length)
	d.MaybeScanArgs(t, "length", &length)
	o.Tokens = length * o.Sequences()
	return o
}

func (w *world) newPilot() *Pilot {
	if w.blind != "" {
		return NewPilot(nil, strings.ReplaceAll(w.blind, "-", " "), w.lessons, w.mode, w.modes)
	}
	return NewPilot(&w.predicted, "", w.lessons, w.mode, w.modes)
}

func (w *world) tell(out *strings.Builder, d Decision, fails bool) {
	fmt.Fprintf(out, "at %d %v: %s\n", d.Tokens, d.Mode, d.Reason)
	switch {
	case d.Change && fails:
		w.pilot.Failed()
		fmt.Fprintln(out, "the switch fails")
	case d.Change:
		w.pilot.Switched(d.Mode, w.truth.Move(w.mode, d.Mode, d.Tokens))
		w.mode = d.Mode
	}
}

// scan reads pipeline=(ms, ms per 1000 tokens of context, ms per token of prefill, % more for each further sequence), and so on.
func (w *world) scan(t *testing.T, d *datadriven.TestData, l *lines) {
	numbers := func(name string) (v [4]float64, ok bool) {
		for _, arg := range d.CmdArgs {
			if arg.Key != name {
				continue
			}
			for i, s := range arg.Vals {
				n, err := strconv.ParseFloat(s, 64)
				if err != nil {
					t.Fatal(err)
				}
				v[i] = n
			}
			return v, true
		}
		return v, false
	}
	for _, m := range modes {
		if v, ok := numbers(m.String()); ok {
			l.step[m], l.prefill[m] = line{v[0] / 1e3, v[1] / 1e6, v[3] / 100}, v[2]/1e3
		}
	}
	if v, ok := numbers("move"); ok {
		l.move = line{at: v[0] / 1e3, slope: v[1] / 1e6}
	}
}
