package plan

import (
	"errors"
	"fmt"
	"slices"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/simulate"
)

// network is a described cluster drawn out to any number of nodes: those described, in their order, over and
// over. Copies of two nodes are joined as the two are; copies of one, of which nothing is said, by the
// default link.
type network struct {
	*Cluster
	links   []simulate.Link
	regular int            // index of the default link
	pairs   map[[2]int]int // of described nodes, lower first: index of another
}

// network is the cluster with its links as they are, or with every pair joined by the named one. Calm leaves
// jitter out.
func (c *Cluster) network(link string, calm bool) (*network, error) {
	n := &network{Cluster: c, pairs: map[[2]int]int{}}
	names := c.linkNames()
	for _, name := range names {
		l := c.links[name]
		if calm {
			l.Jitter = 0
		}
		n.links = append(n.links, l)
	}
	name := link
	if name == "" {
		name = c.regular
	}
	if name == "" {
		return nil, errors.New("the cluster has no default_link, which is to join further nodes")
	}
	if n.regular = slices.Index(names, name); n.regular < 0 {
		return nil, c.known("link", name)
	}
	if link == "" {
		for pair, other := range c.pairs {
			n.pairs[pair] = slices.Index(names, other)
		}
	}
	return n, nil
}

// nodes are the first so many.
func (n *network) nodes(count int) []placement.Node {
	all := make([]placement.Node, count)
	for i := range all {
		all[i] = n.Nodes[i%len(n.Nodes)]
		if i >= len(n.Nodes) {
			all[i].Name = fmt.Sprintf("%s=%d", all[i].Name, i/len(n.Nodes)+1) // no described name has that sign
		}
	}
	return all
}

// between is the index of the link between two nodes.
func (n *network) between(from, to int) int {
	if len(n.pairs) == 0 {
		return n.regular
	}
	a, b := from%len(n.Nodes), to%len(n.Nodes)
	if l, ok := n.pairs[[2]int{min(a, b), max(a, b)}]; ok {
		return l
	}
	return n.regular
}

// matrix is the links of all pairs of so many nodes.
func (n *network) matrix(count int) [][]placement.Link {
	all := make([][]placement.Link, count)
	for i := range all {
		all[i] = make([]placement.Link, count)
		for j := range all[i] {
			all[i][j] = n.links[n.between(i, j)].Link
		}
	}
	return all
}
