package residence

import (
	"fmt"
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

// Owner says that a node runs some layers: it computes them, and its open blocks grow.
type Owner struct {
	Layers Span
	Node   int
}

// Epoch is one complete answer to who answers for what. It is immutable once announced.
type Epoch struct {
	Number  uint64
	Mode    placement.Mode
	Owners  []Owner // tile the layers, in order
	Covered int     // tokens before this have an explicit holder; the others are with the layer's owner
	Held    []Holding
}

// OwnerOf is the node that runs a layer.
func (e *Epoch) OwnerOf(layer int) int {
	for _, o := range e.Owners {
		if o.Layers.Contains(layer) {
			return o.Node
		}
	}
	return -1
}

// Run is the longest range of layers from layer on that one node owns.
func (e *Epoch) Run(layer int) Span {
	s := Span{layer, layer}
	node := e.OwnerOf(layer)
	for _, o := range e.Owners {
		if o.Node == node && o.Layers.First <= s.End && s.End < o.Layers.End {
			s.End = o.Layers.End
		}
	}
	return s
}

// HeldBy lists what a node holds before Covered.
func (e *Epoch) HeldBy(node int) []Rect {
	var rs []Rect
	for _, h := range e.Held {
		if h.Node == node {
			rs = append(rs, h.Rect)
		}
	}
	return rs
}

// Holders lists the nodes that hold tokens of a layer before Covered, ascending.
func (e *Epoch) Holders(layer int) []int {
	var nodes []int
	for _, h := range e.Held {
		if h.Layers.Contains(layer) && !slices.Contains(nodes, h.Node) {
			nodes = append(nodes, h.Node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// Validate checks that the owners tile the layers and that the holdings tile layers × [0, Covered),
// each pair exactly once, on nodes that exist.
func (e *Epoch) Validate(layers, nodes int) error {
	next := 0
	for _, o := range e.Owners {
		if o.Layers.First != next || o.Layers.End <= next || o.Node < 0 || o.Node >= nodes {
			return fmt.Errorf("epoch %d: owner of layers %v on node %d does not continue at layer %d", e.Number, o.Layers, o.Node, next)
		}
		next = o.Layers.End
	}
	if next != layers {
		return fmt.Errorf("epoch %d: owners end at layer %d of %d", e.Number, next, layers)
	}
	area := 0
	for i, h := range e.Held {
		full := Rect{Span{0, layers}, Span{0, e.Covered}}
		if h.Area() == 0 || h.intersect(full) != h.Rect || h.Node < 0 || h.Node >= nodes {
			return fmt.Errorf("epoch %d: %v lies outside of %d layers, %d tokens, %d nodes", e.Number, h, layers, e.Covered, nodes)
		}
		for _, o := range e.Held[:i] {
			if h.intersect(o.Rect).Area() > 0 {
				return fmt.Errorf("epoch %d: %v and %v overlap", e.Number, o, h)
			}
		}
		area += h.Area()
	}
	if area != layers*e.Covered {
		return fmt.Errorf("epoch %d: %d of %d (layer, token) pairs have a holder", e.Number, area, layers*e.Covered)
	}
	return nil
}

// resident is where everything before token end is: the holdings, then the owners' part.
func (e *Epoch) resident(end int) []Holding {
	hs := slices.Clone(e.Held)
	if end > e.Covered {
		for _, o := range e.Owners {
			hs = append(hs, Holding{Rect{o.Layers, Span{e.Covered, end}}, o.Node})
		}
	}
	return hs
}
