package engine

import "fmt"

// place is a token that a step chooses: that for a position of a sequence.
type place struct {
	seq      uint64
	position int
}

// succession is what a node knows of the steps that it records one behind the other, before it is known what those in
// front choose. It is pure: who holds it says what happens.
type succession struct {
	flies bool          // a step has been recorded, and nobody has waited for it
	last  place         // what that chooses
	owed  map[int]place // by node, the token of which a message is on its way to this node's device, or in its slot, and no step has taken it
}

// nobody stands for the node to which a step that is not relayed does not go.
const nobody = -1

// source is where a step's tokens come from.
type source uint8

const (
	fromIDs    source = iota // who hands out the step has said
	fromFlight               // the step that flies leaves its token in this device's memory
	fromLane                 // the token's message, on the lane from the last layer's device
	fromNote                 // this node has noted what the step before has chosen
	fromHidden               // none are needed: a hidden state comes
)

// course is how a step is recorded.
type course struct {
	behind bool   // the step that flies may still run; else it is waited for first
	ids    source // of the step's tokens
	takes  bool   // a token's message is taken first, even if nobody needs it
	tells  bool   // the step's own token goes to the first layer's device
}

// of is the course of a step, which goes from device to device up to that of a node, or is not relayed (nobody).
func (s *succession) of(h *header, to int) (c course, err error) {
	relayed, here := to != nobody, place{h.Seq, int(h.First)}
	token, owed := s.owed[to]
	follow := h.Kind != kindRound && h.Flags&follows != 0
	if follow && h.Count != 1 {
		return c, fmt.Errorf("%d tokens at %d are to follow a step, which chooses one", h.Count, h.First)
	}
	c.behind = follow && s.flies && s.last == here
	c.tells = relayed && h.Flags&followed != 0
	switch {
	case h.Layer != 0:
		c.ids = fromHidden
		return c, nil
	case !follow:
	case owed && token == here:
		c.ids = fromLane
	case !relayed && c.behind:
		c.ids = fromFlight
	default:
		c.ids = fromNote
	}
	// Before another message follows the one before is taken, so that there is always a slot for it.
	c.takes = c.ids == fromLane || c.tells && owed
	return c, nil
}

// recorded says that a step takes its course.
func (s *succession) recorded(h *header, to int, c course) {
	if h.Layer != 0 {
		return
	}
	if c.takes {
		delete(s.owed, to)
	}
	if c.tells {
		if s.owed == nil {
			s.owed = map[int]place{}
		}
		s.owed[to] = next(h)
	}
}

// lost says that no message comes from a node any more.
func (s *succession) lost(node int) { delete(s.owed, node) }

// left says that a step that was recorded is left to the device, and landed that it has been waited for.
func (s *succession) left(h *header) { s.flies, s.last = true, next(h) }
func (s *succession) landed()        { s.flies = false }

// next is what a step chooses.
func next(h *header) place { return place{h.Seq, int(h.First + h.Count)} }
