package steering

import (
	"math"
	"math/rand/v2"
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
		changes += c.follow(i, p.Stepped(c.context, seconds, 1<<20, o))
	}
	return changes
}

// start begins another job of the first n. It returns how many of them changed.
func (c *crowd) start(n int) (changes int) {
	for i := range c.pilots[:n] {
		changes += c.follow(i, c.pilots[i].Start(c.context, 1, 1<<20, c.others(i, n)))
	}
	return changes
}

// follow has a pilot's change happen.
func (c *crowd) follow(i int, d Decision) (changes int) {
	if !d.Change {
		return 0
	}
	c.pilots[i].Switched(d.Mode, 0)
	c.modes[i] = d.Mode
	return 1
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

// Predictions may be off by a factor for each mode: once each was measured, however noisily, all go to the one that is fastest by a third, and stay there.
func TestSequencesThatGoTogetherComeToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawFlat(t)
		truth := l.off(t)
		n := rapid.IntRange(2, 6).Draw(t, "sequences")
		fastest := rapid.SampledFrom(modes).Draw(t, "fastest")
		for _, m := range modes {
			if slower := truth.Step(m, n, 0) / truth.Step(fastest, n, 0); m != fastest && slower < 4./3 {
				truth.step[m].at *= 4. / 3 / slower
			}
		}
		noise := rapid.Float64Range(0, 0.1).Draw(t, "noise")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		noisy := func() float64 { return 1 + noise*(2*random.Float64()-1) }
		c := newCrowd(t, &l, &truth, n)
		for _, m := range modes {
			for range window {
				c.lessons.modes[sizeOf(n)][m].learn(truth.Step(m, n, 0)*noisy(), l.Step(m, n, 0))
			}
		}
		for range settling {
			c.round(n, noisy)
		}
		for _, m := range c.modes {
			if m != fastest {
				t.Fatalf("they are in %v, where %v is the fastest", c.modes, fastest)
			}
		}
		changes := c.start(n)
		for range 2 * settling {
			changes += c.round(n, noisy)
		}
		if changes > 0 {
			t.Fatalf("they still change: %v", c.modes)
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

// A round of several is one lesson, and how long a switch took beside those of others is none.
func TestSeveralTeachNoMoreThanOne(t *testing.T) {
	var l lines
	l.step[placement.Pipeline], l.step[placement.Pooled], l.move = line{at: 20e-3}, line{at: 10e-3}, line{at: 1e-3}
	var lessons Lessons
	var o Others
	o.In[placement.Pipeline] = 3
	var pilots [4]*Pilot
	for i := range pilots {
		pilots[i] = NewPilot(&l, "", &lessons, placement.Pipeline, modes[:2])
	}
	const rounds = 12
	for i := range rounds {
		for _, p := range pilots {
			if d := p.Stepped(1000+i, 20e-3, 1000, o); d.Change {
				p.Failed()
			}
		}
	}
	if n := lessons.modes[sizeOf(4)][placement.Pipeline].n; n != rounds {
		t.Errorf("%d lessons of %d rounds", n, rounds)
	}
	for _, beside := range []Others{o, {}} {
		p := NewPilot(&l, "", &lessons, placement.Pipeline, modes[:2])
		if d := p.Stepped(1000, 0, 1000, beside); !d.Change {
			t.Fatalf("%+v", d)
		}
		p.Switched(placement.Pooled, 1)
		if learned := lessons.moves.n > 0; learned != (beside.Sequences() == 0) {
			t.Errorf("beside %d it is %v that a switch is learned from", beside.Sequences(), learned)
		}
	}
}
