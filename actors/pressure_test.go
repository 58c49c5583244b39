package actors

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/placement"
)

func TestAMachineIsShortWhenItLacksWhatIsPromisedForAWhile(t *testing.T) {
	const gib = 1 << 30
	var p pressure
	for i, m := range []struct {
		promised, held, available, short int64
		changed                          bool
	}{
		{10 * gib, gib, 9 * gib, 0, false},               // exactly enough
		{10 * gib, gib, 8 * gib, 0, false},               // once is not enough
		{10 * gib, gib, 9*gib - 100<<20, 0, false},       // within the margin, a fiftieth
		{10 * gib, gib, 8 * gib, 0, false},               // once again
		{10 * gib, gib, 7 * gib, 2 * gib, true},          // twice in a row
		{10 * gib, gib, 9*gib - 1, 2 * gib, false},       // still missing a byte
		{10 * gib, gib, 9 * gib, 2 * gib, false},         // all there, once
		{10 * gib, gib, 9 * gib, 2 * gib, false},         // twice
		{10 * gib, gib, 8 * gib, 2 * gib, false},         // no
		{10 * gib, 3 * gib, 8 * gib, 2 * gib, false},     // the node itself holds more now: once
		{10 * gib, 3 * gib, 8 * gib, 2 * gib, false},     // twice
		{10 * gib, 3 * gib, 8 * gib, 0, true},            // three times
		{gib, 20 * gib, 0, 0, false},                     // what it holds beyond the promise is not its own
		{gib, 0, gib - 64<<20, 0, false},                 // the least margin
		{gib, 0, gib - 64<<20 - 1, 0, false},             //
		{gib, 0, gib - 64<<20 - 1, 64<<20 + 1, true},     //
		{0, 0, 0, 64<<20 + 1, false},                     // nothing is promised any more
		{0, 0, 0, 64<<20 + 1, false}, {0, 0, 0, 0, true}, //
	} {
		if changed := p.measured(m.promised, m.held, m.available); changed != m.changed || p.short != m.short {
			t.Fatalf("measurement %d: short by %d, changed %v; want %d, %v", i, p.short, changed, m.short, m.changed)
		}
	}
}

// Whatever is measured, the verdict changes only after several measurements in a row, and alternates.
func TestTheVerdictDoesNotFlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p pressure
		since := calmAfter
		for range rapid.IntRange(1, 200).Draw(t, "measurements") {
			was := p.short
			since++
			if !p.measured(1<<32, 0, rapid.Int64Range(0, 1<<33).Draw(t, "available")) {
				if p.short != was {
					t.Fatal("it changed without a word")
				}
				continue
			}
			if (p.short > 0) == (was > 0) || since < shortAfter {
				t.Fatalf("short by %d, before by %d, %d measurements ago", p.short, was, since)
			}
			since = 0
		}
	})
}

func TestANodeThatIsShortTakesOnNothingNew(t *testing.T) {
	r := newRig(t, 2)
	s := r.spec(placement.Pipeline)
	s.Memory[1].Fixed = 1 << 29
	c := r.load(s)
	machine := r.machines["n1"]
	if promised, short := machine.said(); promised != s.Memory[1].Fixed+s.Memory[1].KV || short != 0 {
		t.Fatalf("%d bytes are promised, %d missing", promised, short)
	}
	first := r.sequence(c, placement.Pipeline)
	machine.leave(1 << 28)
	r.eventually("the node is short", func() bool { _, short := machine.said(); return short > 0 })
	if st := r.stats(1); st.ShortBytes == 0 || st.MemoryBytes != 1<<30 || len(st.Promises) != 1 || st.Promises[0].Client != "n0" || st.Promises[0].Ref != r.dir {
		t.Errorf("%+v", st)
	}
	var e *AdmissionError
	if _, err := c.Open(r.context(), placement.Pipeline, 10); !errors.As(err, &e) || e.Cause == nil || e.Open != 2 || !strings.Contains(err.Error(), "other programs") || !strings.Contains(err.Error(), "n1") {
		t.Errorf("opened: %v", err)
	}
	if _, err := Load(r.context(), r.systems[0], r.endpoints[0], r.spec(placement.Pipeline)); err == nil || !strings.Contains(err.Error(), "other programs") {
		t.Errorf("loaded: %v", err)
	}
	r.generate(c, first, Job{IDs: prompt(30), MaxTokens: 5}) // what was admitted goes on
	machine.leave(1 << 40)
	r.eventually("the node is not short any more", func() bool { _, short := machine.said(); return short == 0 })
	r.sequence(c, placement.Pipeline)
}
