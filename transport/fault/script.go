package fault

import (
	"time"

	"github.com/orrery-ai/orrery/transport"
)

// Script is rules, in the order in which they are looked at.
type Script []Rule

// Rule says what happens when.
type Rule struct {
	Text string // as it was written

	Each   bool          // on every connection, instead of one
	Timed  bool          // the trigger is At
	At     time.Duration // since the connection was made
	Bytes  bool          // After counts bytes, not frames
	After  int64
	Of     transport.Purpose // that the rule is about, if OfAny is false
	OfAny  bool
	To     string // node; empty for all
	On     string // class; empty for all
	Back   bool
	Kind   Kind
	Length time.Duration // of a delay or a stall
	Count  int           // of bits, or of frames that go first
}

// Kind is what a rule does.
type Kind uint8

// The faults.
const (
	Delay Kind = iota
	Stall
	Reorder
	Truncate
	Flip
	Cut
	HalfOpen
	numKinds
)

var kindNames = [numKinds]string{"delay", "stall", "reorder", "truncate", "flip", "cut", "half-open"}

// String is the name, as scripts have it.
func (k Kind) String() string { return kindNames[k] }

// concerns says whether the rule is about connections of a class with a node.
func (r *Rule) concerns(node, class string) bool {
	return (r.To == "" || r.To == node) && (r.On == "" || r.On == class)
}

// countsFrames says that the rule needs connections on which frames can be told apart.
func (r *Rule) countsFrames() bool { return !r.OfAny || !r.Timed && !r.Bytes || r.Kind == Reorder }

// matches says whether u is a frame, or a piece of a connection, that the rule is about.
func (r *Rule) matches(u transport.Unit) bool {
	switch {
	case !r.OfAny:
		return u.Frame && u.Data && u.Purpose == r.Of
	case r.countsFrames():
		return u.Frame
	}
	return true
}
