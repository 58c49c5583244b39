package actors

import (
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

// room is for what the engines of a model take memory, as placement counts it.
type room struct {
	nodes  []placement.Room
	askers []uint32 // the nodes whose queries go to others
}

// rows is the tokens of the largest step on any node.
func (r *room) rows() (most int) {
	for _, n := range r.nodes {
		most = max(most, n.Rows)
	}
	return most
}

// room is that of the mode that sequences can be in or, where they can move between several, of any.
func (s *Spec) room() room {
	modes := s.possibleModes()
	steps := placement.Steps{Chunk: min(s.Chunk, s.Context), Context: s.Context}
	if len(modes) == 1 {
		steps.Mode = modes[0]
	}
	ring := slices.Contains(modes, placement.Ring)
	var r room
	for n := range s.Nodes {
		steps.Layers = placement.Range(s.Layers[n])
		if ring {
			steps.Layers = placement.Range{End: s.Model.Config.Layers}
		}
		steps.Tokens, steps.Fastest = s.Context, n == s.RingOwner
		if s.Blocks != nil {
			steps.Tokens = s.Blocks[n] * s.BlockTokens
		}
		r.nodes = append(r.nodes, placement.RoomFor(s.BlockTokens, len(s.Nodes), steps))
		computes := steps.Mode != placement.Ring && s.Layers[n].Len() > 0
		if r.nodes[n].Asking > 0 && (computes || ring && steps.Fastest) {
			r.askers = append(r.askers, uint32(n))
		}
	}
	return r
}

// asking bounds the tokens of a step that is not the first of its sequence.
func (s *Spec) asking() int {
	if len(s.Nodes) == 1 {
		return s.Chunk
	}
	return placement.MaxAsking(s.Chunk, s.BlockTokens, len(s.Nodes), s.Context)
}
