package orrery

import (
	"context"
	"fmt"

	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/transport"
)

// NodeStatus is a node that computes, what of its memory no model was promised, and how it exchanges with others.
type NodeStatus struct {
	cluster.Node
	Free int64           // bytes
	Ways []transport.Way // to nodes with which it has exchanged
}

// Status asks each of [Cluster.Nodes] how it is. The error names the node that did not answer.
func (c *Cluster) Status(ctx context.Context) ([]NodeStatus, error) {
	var all []NodeStatus
	for _, n := range c.Nodes() {
		c.endpoint.SetPeer(n.Name, n.Transport) // watch may not have come to it yet
		s, err := c.stats(ctx, n.Name)
		if err != nil {
			return nil, fmt.Errorf("orrery: status: %w", err)
		}
		n.Memory, n.Promised, n.Short = s.MemoryBytes, s.PromisedBytes, s.ShortBytes // fresher than gossip
		status := NodeStatus{Node: n, Free: n.Memory - n.Withheld()}
		for _, w := range s.Ways {
			status.Ways = append(status.Ways, transport.Way{Peer: w.Peer, Over: transport.Over(w.Over), Memory: w.Memory})
		}
		all = append(all, status)
	}
	return all, nil
}
