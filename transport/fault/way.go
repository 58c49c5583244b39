package fault

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

// holdFor is how long the frames of a reordered lane wait for others at the most.
const holdFor = 200 * time.Millisecond

// way is what the rules do to one direction of a connection: pure, with times since the connection was made.
type way struct {
	rules []*armed
	claim func(rule int) bool // asks for the right to act, which a rule has once

	swallow bool // nothing passes
	delay   time.Duration
	hold    *hold
}

// armed is a rule at work on one direction of a connection.
type armed struct {
	*Rule
	index int   // in the script
	count int64 // frames or bytes that have passed
	done  bool
}

// hold is the frames of a lane that wait for others.
type hold struct {
	lane  uint32
	left  int // frames of others that go first
	until time.Duration
	units [][]byte
}

// ending is how a connection ends.
type ending uint8

const (
	goOn ending = iota
	closed
	reset
)

// outcome is what becomes of a unit.
type outcome struct {
	pass  [][]byte      // what goes on, in this order
	stall time.Duration // before anything does
	end   ending        // after that
	acted []*armed      // rules that acted
}

// newWay is the direction of a connection of a class with a node that goes back, or not.
func newWay(s Script, node, class string, back bool, claim func(rule int) bool) *way {
	w := &way{claim: claim}
	for i := range s {
		if r := &s[i]; r.concerns(node, class) && r.Back == back {
			w.rules = append(w.rules, &armed{Rule: r, index: i})
		}
	}
	return w
}

// take is what becomes of u, which has come now.
func (w *way) take(u transport.Unit, now time.Duration) outcome {
	o := w.look(now, &u)
	if w.swallow || o.end == reset {
		return o
	}
	w.count(u)
	switch h := w.hold; {
	case h != nil && u.Frame && u.Lane == h.lane && o.end == goOn:
		h.units = append(h.units, u.Bytes)
	default:
		o.pass = append(o.pass, u.Bytes)
		if h != nil && u.Data {
			h.left--
		}
	}
	w.release(now, &o)
	if o.end == goOn {
		after := w.look(now, nil) // u may have brought it about
		o.end, o.acted = after.end, append(o.acted, after.acted...)
	}
	return o
}

// tick is what happens when nothing comes.
func (w *way) tick(now time.Duration) outcome {
	o := w.look(now, nil)
	w.release(now, &o)
	return o
}

// next is when something happens though nothing comes; false if nothing does.
func (w *way) next() (at time.Duration, ok bool) {
	for _, r := range w.rules {
		if r.Timed && !r.done && r.Kind == Cut && (!ok || r.At < at) {
			at, ok = r.At, true
		}
	}
	if w.hold != nil && (!ok || w.hold.until < at) {
		at, ok = w.hold.until, true
	}
	return at, ok
}

// changes says that the rule acts on a unit, instead of on what comes from then on.
func (r *Rule) changes() bool { return r.Kind == Reorder || r.Kind == Truncate || r.Kind == Flip }

// look lets the rules act whose time has come, before u passes. Without u that is only to cut: nobody can tell
// before something passes whether the others have acted.
func (w *way) look(now time.Duration, u *transport.Unit) outcome {
	var o outcome
	for _, r := range w.rules {
		met := r.Timed && now >= r.At || !r.Timed && r.count >= r.After
		switch {
		case r.done || !met || w.swallow || o.end != goOn, u == nil && r.Kind != Cut:
			continue
		case r.changes() && !r.matches(*u), r.Kind == Reorder && (w.hold != nil || !u.Data):
			continue
		}
		r.done = true
		if !r.Each && !w.claim(r.index) {
			continue
		}
		o.acted = append(o.acted, r)
		switch r.Kind {
		case Delay:
			w.delay = r.Length
		case Stall:
			o.stall = max(o.stall, r.Length)
		case Reorder:
			w.hold = &hold{lane: u.Lane, left: r.Count, until: now + holdFor}
		case Truncate:
			u.Bytes, o.end = u.Bytes[:len(u.Bytes)/2], closed
		case Flip:
			u.Bytes = flip(u.Bytes, r.Count, uint64(r.index))
		case Cut:
			o.end = reset
		case HalfOpen:
			w.swallow = true
		}
	}
	return o
}

// flip is b with some bits inverted, always the same for a seed.
func flip(b []byte, bits int, seed uint64) []byte {
	b = bytes.Clone(b)
	r := rand.New(rand.NewPCG(seed, uint64(len(b))))
	for _, i := range r.Perm(8 * len(b))[:min(bits, 8*len(b))] {
		b[i/8] ^= 1 << (i % 8)
	}
	return b
}

// count enters that u has passed.
func (w *way) count(u transport.Unit) {
	for _, r := range w.rules {
		switch {
		case !r.matches(u):
		case r.Bytes:
			r.count += int64(len(u.Bytes))
		default:
			r.count++
		}
	}
}

// release lets the frames of a reordered lane go, if enough others have passed or the time is up.
func (w *way) release(now time.Duration, o *outcome) {
	if h := w.hold; h != nil && (h.left <= 0 || now >= h.until) {
		o.pass = append(o.pass, h.units...)
		w.hold = nil
	}
}
