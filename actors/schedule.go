package actors

import "github.com/orrery-ai/orrery/placement"

// limits are what a model's steps may be.
type limits struct {
	chunk  int // tokens of a step
	asking int // of one that may have to ask other nodes
	round  int // tokens
	block  int // tokens
	nodes  int // members
}

// nextStep says how the next of remaining tokens to feed are to be computed: how many, and whether in a
// round of ring prefill. Too few to give each node a block are not worth a round: the owner of the layers
// computes them, with the others answering its queries, and likewise what is left of less than a block. A
// round ends where the policy's rounds do, so that early blocks are paired with late ones. A sequence's first step
// asks nobody.
func (l limits) nextStep(mode placement.Mode, position, remaining int, single bool) (n int, round bool) {
	switch {
	case single:
		return 1, false
	case mode == placement.Ring && remaining >= l.nodes*l.block && l.nodes > 1:
		n = min(remaining, l.round-position%l.round)
		return n - (position+n)%l.block, true
	}
	if position > 0 {
		return min(remaining, l.asking), false
	}
	return min(remaining, l.chunk), false
}

// window is how many steps of one sequence may be in flight: in prefill each owner can be at one, and
// the next waits at the first.
func window(owners int, single bool) int {
	if single {
		return 1
	}
	return owners + 1
}
