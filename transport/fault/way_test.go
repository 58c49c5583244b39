package fault

import (
	"bytes"
	"math/bits"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

// direction is what a script does to one direction of the first connection.
func direction(t *testing.T, script string, back bool) *way {
	t.Helper()
	s, err := Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	acted := make(map[int]bool)
	return newWay(s, "n1", "small", back, func(rule int) bool {
		first := !acted[rule]
		acted[rule] = true
		return first
	})
}

// data is a frame of a lane: those of queries have number 1, of partials number 2.
func data(p transport.Purpose, text string) transport.Unit {
	lane := uint32(1)
	if p == transport.Partial {
		lane = 2
	}
	return transport.Unit{Bytes: []byte(text), Frame: true, Data: true, Lane: lane, Purpose: p}
}

// passes is what passes of units that come one after another, and how the connection ends.
func passes(w *way, units ...transport.Unit) (string, ending) {
	var out []byte
	for i, u := range units {
		o := w.take(u, time.Duration(i)*time.Millisecond)
		out = append(append(out, bytes.Join(o.pass, nil)...), ' ')
		if o.end != goOn {
			return string(out), o.end
		}
	}
	return string(out), goOn
}

func TestEachFaultDoesWhatItSays(t *testing.T) {
	hello := transport.Unit{Bytes: []byte("hi")}
	q, p := data(transport.Query, "Q1"), data(transport.Partial, "P1")
	q2, p2 := data(transport.Query, "Q2"), data(transport.Partial, "P2")
	finish := transport.Unit{Bytes: []byte("F"), Frame: true, Lane: 1, Purpose: transport.Query}
	units := []transport.Unit{hello, q, p, q2, finish, p2}
	for _, c := range []struct {
		script, want string
		end          ending
	}{
		{"", "hi Q1 P1 Q2 F P2 ", goOn},
		{"after 2 frames: cut", "hi Q1 P1 ", reset},
		{"after 2 frames of query: cut", "hi Q1 P1 Q2 ", reset},
		{"after 4B: cut", "hi Q1 ", reset},
		{"after 1 frame of partial: truncate", "hi Q1 P1 Q2 F P ", closed},
		{"after 1 frame: half-open", "hi Q1     ", goOn},
		{"after 1 frame of query: reorder 1", "hi Q1 P1   P2Q2F ", goOn},
		{"after 0 frames of query: reorder 1", "hi  P1Q1 Q2 F P2 ", goOn},
		{"after 0 frames of query: reorder 9", "hi  P1   P2 ", goOn},
		{"after 3 frames to n2: cut", "hi Q1 P1 Q2 F P2 ", goOn},
		{"after 3 frames on bulk: cut", "hi Q1 P1 Q2 F P2 ", goOn},
		{"after 3 frames back: cut", "hi Q1 P1 Q2 F P2 ", goOn},
		{"after 3 frames to n1 on small: cut", "hi Q1 P1 Q2 ", reset},
		{"at 2ms: half-open", "hi Q1     ", goOn},
	} {
		if got, end := passes(direction(t, c.script, false), units...); got != c.want || end != c.end {
			t.Errorf("%s: %q and end %d, want %q and %d", c.script, got, end, c.want, c.end)
		}
	}
	if got, end := passes(direction(t, "after 1 frame back: cut", true), units...); got != "hi Q1 " || end != reset {
		t.Errorf("back: %q and end %d", got, end)
	}
}

func TestAFlipChangesAsManyBitsOfOneFrame(t *testing.T) {
	long := data(transport.Query, string(make([]byte, 1000)))
	for script, want := range map[string]int{"after 1 frame of query: flip bit": 1, "after 1 frame: flip 7 bits": 7} {
		w := direction(t, script, false)
		for i := range 4 {
			flipped := 0
			for _, b := range w.take(long, 0).pass[0] {
				flipped += bits.OnesCount8(b)
			}
			if i != 1 && flipped != 0 || i == 1 && flipped != want {
				t.Errorf("%s: %d bits of frame %d", script, flipped, i)
			}
		}
	}
	if bytes.ContainsFunc(long.Bytes, func(r rune) bool { return r != 0 }) {
		t.Error("the frame itself was changed")
	}
}

func TestARuleActsOnceOrOncePerConnection(t *testing.T) {
	for script, want := range map[string]int{"after 1 frame: cut": 1, "each after 1 frame: cut": 3} {
		s, err := Parse(script)
		if err != nil {
			t.Fatal(err)
		}
		in := New(s, nil)
		cuts := 0
		for range 3 {
			w := newWay(s, "n1", "small", false, in.claim)
			if _, end := passes(w, data(transport.Query, "a"), data(transport.Query, "b")); end == reset {
				cuts++
			}
		}
		if cuts != want {
			t.Errorf("%s: %d cuts of 3 connections, want %d", script, cuts, want)
		}
	}
}

func TestTimesOfRulesAreKept(t *testing.T) {
	w := direction(t, "at 10ms: cut; at 5ms: delay 3ms; after 1 frame: stall 1s", false)
	if at, ok := w.next(); !ok || at != 10*time.Millisecond {
		t.Errorf("wakes at %s, %t", at, ok)
	}
	u := data(transport.Query, "x")
	if o := w.take(u, 4*time.Millisecond); w.delay != 0 || o.stall != 0 {
		t.Errorf("delay %s, stall %s before the time", w.delay, o.stall)
	}
	if o := w.take(u, 5*time.Millisecond); w.delay != 3*time.Millisecond || o.stall != time.Second {
		t.Errorf("delay %s, stall %s", w.delay, o.stall)
	}
	if o := w.tick(9 * time.Millisecond); o.end != goOn {
		t.Error("cut too early")
	}
	if o := w.tick(10 * time.Millisecond); o.end != reset {
		t.Error("not cut")
	}

	w = direction(t, "after 0 frames: reorder 9", false)
	w.take(u, 0)
	if at, ok := w.next(); !ok || at != holdFor {
		t.Errorf("frames are held until %s, %t", at, ok)
	}
	if o := w.tick(holdFor); len(o.pass) != 1 {
		t.Errorf("%d frames let go", len(o.pass))
	}
}
