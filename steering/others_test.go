package steering

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/placement"
)

// drawFlat draws modes whose steps go by the number of sequences, not by the context, and switches that take no time.
func drawFlat(t *rapid.T) (l lines) {
	for _, m := range modes {
		l.step[m] = line{at: rapid.Float64Range(1e-3, 0.1).Draw(t, "at"), more: rapid.Float64Range(0, 1).Draw(t, "more")}
	}
	return l
}

// crowd is sequences that decode together, in virtual time: each has a token in a round.
type crowd struct {
	truth   *lines
	lessons Lessons
	pilots  []*Pilot
	modes   []placement.Mode // that each is in
	context int
}

func newCrowd(t *rapid.T, predicted, truth *lines, n int) *crowd {
	c := &crowd{truth: truth}
	for range n {
		mode := rapid.SampledFrom(modes).Draw(t, "first")
		c.modes = append(c.modes, mode)
		c.pilots = append(c.pilots, NewPilot(predicted, "", &c.lessons, mode, modes))
	}
	return c
}

// others are those beside one of the first n.
func (c *crowd) others(i, n int) (o Others) {
	for j, m := range c.modes[:n] {
		if j != i {
			o.In[m]++
			o.Tokens += c.context
		}
	}
	return o
}

// round gives each of the first n a token. It returns how many of them changed.
func (c *crowd) round(n int, noise func() float64) (changes int) {
	c.context++
	for i, p := range c.pilots[:n] {
		o, seconds := c.others(i, n), 0.0
		if o.In[c.modes[i]] == n-1 {
			seconds = c.truth.Step(c.modes[i], n, c.context) * noise()
		}
		if d := p.Stepped(c.context, seconds, 1<<20, o); d.Change {
			p.Switched(d.Mode, 0)
			c.modes[i] = d.Mode
			changes++
		}
	}
	return changes
}

// settling is how many tokens it may take until all have noticed, one after the other, how many they are, changed, and learned from that.
const settling = 4 * (steady + dwell + lookEvery)

// Whichever modes they begin in, all come to be in one that is as fast for so many as any other, but for what is too little for a change.
func TestSequencesThatGoTogetherComeToTheModeThatIsFastestForThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawFlat(t)
		n := rapid.IntRange(1, 9).Draw(t, "sequences")
		c := newCrowd(t, &l, &l, n)
		for range settling {
			c.round(n, func() float64 { return 1 })
		}
		best := math.Inf(1)
		for _, m := range modes {
			best = min(best, l.Step(m, n, 0))
		}
		for _, m := range c.modes {
			if step := l.Step(m, n, 0); step*(1-margin) > best*(1+1e-9) || step != l.Step(c.modes[0], n, 0) {
				t.Fatalf("%d sequences are in %v, where one takes %v s, and %v s is possible", n, c.modes, step, best)
			}
		}
	})
}

// With predictions that are off by a factor for each mode and any number of sequences, and noise, they come to rest, together.
func TestSequencesThatGoTogetherComeToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawFlat(t)
		truth := l.off(t)
		n := rapid.IntRange(2, 6).Draw(t, "sequences")
		noise := rapid.Float64Range(0, 0.1).Draw(t, "noise")
		c := newCrowd(t, &l, &truth, n)
		i := 0
		wave := func() float64 { i++; return 1 + noise*math.Sin(float64(i*i)) }
		changes := 0
		for range 2 * settling {
			changes += c.round(n, wave)
		}
		if changes > MaxSwitches*n {
			t.Fatalf("%d changes of %d sequences", changes, n)
		}
		for range settling {
			if changes := c.round(n, wave); changes > 0 {
				t.Fatalf("they still change, to %v", c.modes)
			}
		}
		for _, m := range c.modes {
			if m != c.modes[0] && l.Step(m, n, 0) != l.Step(c.modes[0], n, 0) { // apart nothing is learned, and what is predicted to be alike remains so
				t.Fatalf("they are apart: %v", c.modes)
			}
		}
	})
}

// Others that are there for few tokens make nobody change, however many they are and whatever is faster for so many.
func TestABriefSecondSequenceMovesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawFlat(t)
		c := newCrowd(t, &l, &l, 9)
		for range settling {
			c.round(1, func() float64 { return 1 })
		}
		for range rapid.IntRange(1, steady/2-1).Draw(t, "tokens") {
			n := rapid.IntRange(2, 9).Draw(t, "sequences")
			p, mode := c.pilots[0], c.modes[0]
			c.context++
			seconds := 0.0
			if o := c.others(0, n); o.In[mode] == n-1 {
				seconds = l.Step(mode, n, 0)
			}
			if d := p.Stepped(c.context, seconds, 1<<20, c.others(0, n)); d.Change {
				t.Fatalf("in %v: %+v", mode, d)
			}
		}
		for range settling {
			if c.round(1, func() float64 { return 1 }) > 0 {
				t.Fatalf("when they are gone it changes to %v", c.modes[0])
			}
		}
	})
}

// A sequence that begins does not go apart from others for so little that they would not follow.
func TestASequenceBeginsWhereTheOthersAre(t *testing.T) {
	for _, c := range []struct {
		pooled float64 // ms
		want   placement.Mode
	}{{9.7, placement.Pipeline}, {9.3, placement.Pooled}} {
		var l lines
		l.step[placement.Pipeline], l.step[placement.Pooled] = line{at: 10e-3}, line{at: c.pooled * 1e-3}
		o := Others{Tokens: 4000}
		o.In[placement.Pipeline] = 2
		p := NewPilot(&l, "", &Lessons{}, placement.Pipeline, modes[:2])
		if d := p.Start(0, 100, 1000, o); d.Mode != c.want || d.Sequences != 3 {
			t.Errorf("pooled %v ms: %+v", c.pooled, d)
		}
		alone := NewPilot(&l, "", &Lessons{}, placement.Pipeline, modes[:2])
		if d := alone.Start(0, 100, 1000, Others{}); d.Mode != placement.Pooled {
			t.Errorf("alone, pooled %v ms: %+v", c.pooled, d)
		}
	}
}

// What is predicted of several is for caches of their average length.
func TestLongCachesOfOthersCount(t *testing.T) {
	var l lines
	l.step[placement.Pipeline], l.step[placement.Pooled] = line{at: 10e-3, slope: 2e-6}, line{at: 20e-3, slope: 1e-6} // they cross at 10,000 tokens
	for length, want := range map[int]placement.Mode{10000: placement.Pipeline, 40000: placement.Pooled} {
		o := Others{Tokens: length}
		o.In[placement.Pipeline] = 1
		p := NewPilot(&l, "", &Lessons{}, placement.Pipeline, modes[:2])
		if d := p.Start(0, 1000, 100, o); d.Mode != want {
			t.Errorf("beside one of %d tokens: %+v", length, d)
		}
	}
}

func TestWhatIsLearnedOfSeveralSaysNothingOfOne(t *testing.T) {
	var l Lessons
	teach := func(m placement.Mode, sequences int, ratio float64) {
		for range window {
			l.modes[sizeOf(sequences)][m].learn(ratio, 1)
		}
	}
	check := func(what string, sequences int, pipeline, pooled float64) {
		t.Helper()
		f := l.factors(sizeOf(sequences))
		if a, b := f[placement.Pipeline].median, f[placement.Pooled].median; math.Abs(a-pipeline) > 1e-9 || math.Abs(b-pooled) > 1e-9 {
			t.Errorf("%s: of %d factors %v and %v, want %v and %v", what, sequences, a, b, pipeline, pooled)
		}
	}
	teach(placement.Pipeline, 4, 9)
	check("four were measured", 1, 1, 1)
	check("four were measured", 3, 9, 3)
	check("four were measured", 8, 9, 3)
	teach(placement.Pipeline, 1, 4)
	check("one too", 1, 4, 2)
	check("one too", 2, 4, 2)
	check("one too", 4, 9, 3) // twice 1.5, of the 2.25 by which pipeline is off further
	teach(placement.Pooled, 1, 1)
	check("and the other mode of one", 4, 9, 1.5)
}
