package kvcache

import "fmt"

// State is where a block is in its life.
type State uint8

// The states of a block.
const (
	Open    State = iota + 1 // it grows, at the owner of its layers
	Sealed                   // it has its last token: immutable
	Moving                   // sealed, and being sent to another node
	Dropped                  // its memory has been given back
)

func (s State) String() string {
	switch s {
	case Open:
		return "open"
	case Sealed:
		return "sealed"
	case Moving:
		return "moving"
	case Dropped:
		return "dropped"
	}
	return "unborn"
}

// To is the transition to another state, or an error if a block's life does not allow it. A block that
// is being sent may be dropped: an epoch that no longer needs it can be retired while a copy that has
// been given up is still on its way.
func (s State) To(next State) (State, error) {
	switch {
	case s == Open && (next == Sealed || next == Dropped),
		s == Sealed && (next == Moving || next == Dropped),
		s == Moving && (next == Sealed || next == Dropped):
		return next, nil
	}
	return s, fmt.Errorf("a block that is %v cannot become %v", s, next)
}
