package topology

import (
	"fmt"
	"slices"
)

// Group is nodes that exchange with each other, and the one among them that this is. All of them have the
// same nodes in the same order.
type Group struct {
	nodes []int
	place int
}

// NewGroup is the group of nodes, each named once, of which self is one.
func NewGroup(self int, nodes ...int) (Group, error) {
	g := Group{nodes: slices.Clone(nodes), place: slices.Index(nodes, self)}
	if g.place < 0 {
		return g, fmt.Errorf("topology: node %d is not of the group %v", self, nodes)
	}
	seen := make(map[int]bool)
	for _, n := range nodes {
		if seen[n] {
			return g, fmt.Errorf("topology: node %d is twice in the group %v", n, nodes)
		}
		seen[n] = true
	}
	return g, nil
}

// Len is the number of nodes.
func (g Group) Len() int { return len(g.nodes) }

// Next and Prev are this node's neighbours in the ring of the group's nodes.
func (g Group) Next() int { return g.nodes[(g.place+1)%len(g.nodes)] }

// Prev is the neighbour for which this node is the next.
func (g Group) Prev() int { return g.nodes[(g.place+len(g.nodes)-1)%len(g.nodes)] }
