package jinja

import (
	"errors"
	"fmt"
	"runtime"
)

// What things cost. A unit is about a byte made, or a nanosecond or ten spent.
const (
	stepCost  = 8   // evaluating an expression, running a statement
	itemCost  = 32  // an item of a list, beside what it refers to
	entryCost = 128 // an entry of a mapping, a variable, a scope
	readBytes = 8   // bytes that are looked at for one unit
)

// What a rendering is given to spend.
const (
	baseWork  = 8 << 20
	valueWork = 4 << 10 // for each value among the variables, at any depth
	byteWork  = 32      // for each byte of their strings
)

// maxDepth bounds how deeply evaluations, and so macros, may call one another, and values may nest where they are
// written or compared.
const maxDepth = 1000

// maxMacroDepth bounds macros that call one another.
const maxMacroDepth = 64

// ErrTooMuch is that a template would do more, or use more memory, than the size of its variables allows it to.
var ErrTooMuch = errors.New("the template does more work than a conversation of this size can need")

// failure is how a mistake leaves the parser or a rendering, whose functions nest too deeply to hand it up themselves.
type failure struct{ err error }

// catch turns a failure into an error. A mistake of this package ends the rendering too, not the process.
func catch(err *error) {
	switch p := recover().(type) {
	case nil:
	case failure:
		*err = p.err
	case runtime.Error:
		*err = fmt.Errorf("%s: %w", internalMistake, p)
	default:
		panic(p)
	}
}

const internalMistake = "the interpreter made a mistake"

func fail(format string, args ...any) {
	panic(failure{fmt.Errorf(format, args...)})
}

// run is one rendering.
type run struct {
	left   int // units of work
	line   int // of the statement that runs
	depth  int // of evaluations
	macros int // that are running
	out    *output
}

// spend pays for n units, before they are used up.
func (r *run) spend(n int) {
	if n < 0 || n > r.left {
		panic(failure{ErrTooMuch})
	}
	r.left -= n
}

// spendTimes pays for n things of so many units each.
func (r *run) spendTimes(n, each int) {
	if n > 0 && each > r.left/n {
		panic(failure{ErrTooMuch})
	}
	r.spend(max(n, 0) * each)
}

// read pays for looking at s.
func (r *run) read(s string) { r.spend(len(s) / readBytes) }

// made pays for a string that has been made, no longer than what was paid to read a few times over.
func (r *run) made(s string) string {
	r.spend(len(s))
	return s
}

// enter goes one evaluation deeper, leave comes back.
func (r *run) enter() {
	r.spend(stepCost)
	if r.depth++; r.depth > maxDepth {
		fail("nested over %d deep", maxDepth)
	}
}

func (r *run) leave() { r.depth-- }

// workFor is what a rendering with these variables may spend.
func workFor(vars map[string]any) int {
	work := baseWork
	for _, v := range vars {
		work += worth(v)
	}
	return work
}

// worth is what a value adds to what a rendering may spend. The value was converted from JSON or from Go, so that it is a tree.
func worth(v any) int {
	work := valueWork
	switch v := v.(type) {
	case string:
		work += len(v) * byteWork
	case *list:
		for _, item := range v.items {
			work += worth(item)
		}
	case *dict:
		for _, e := range v.entries {
			work += worth(e.key) + worth(e.value)
		}
	}
	return work
}
