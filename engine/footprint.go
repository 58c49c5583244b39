package engine

import (
	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport"
)

// Footprint is what sizes the memory that an engine takes besides weights and KV cache, on one of nodes members that have KV
// blocks of block tokens, and connections under TLS if they are secured.
func Footprint(m *model.Model, kv attention.Format, block, nodes int, secured bool) *placement.Buffers {
	c := &m.Config
	shape := c.Shape()
	b := &placement.Buffers{
		Nodes: nodes, Block: block, Layers: c.Layers, KV: int64(shape.BlockBytes(kv, block)), Hidden: 4 * int64(c.Hidden),
		Query: 4 * int64(shape.Heads*shape.HeadDim), Answer: shape.PartialBytes(1),
		Step: func(rows int) int64 { return stepBytes(c, rows) + m.NumbersBytes(rows) },
		Peer: transport.PeerBytes, Client: transport.ClientBytes, Stream: transport.StreamBytes, Turns: transport.TurnsBytes,
	}
	if secured {
		b.Peer, b.Client, b.Turns = transport.PeerBytes+transport.SecuredBytes, transport.ClientBytes+transport.SecuredClientBytes, 0
	}
	return b
}

// SlotTokens is placement.Buffers.Slots where devices exchange by themselves. Through shared memory a node has the
// slots in which messages come in, since it is the other that has those in which they go out; over connections it has
// both.
func SlotTokens(shared bool) int {
	if shared {
		return sharedRows
	}
	return 2 * aheadRows
}

// stepBytes is what the activations and the logits of a step take.
func stepBytes(c *model.Config, rows int) int64 {
	return c.ScratchBytes(rows) + c.LogitsBytes(logitRows(rows, c.Vocab), rows)
}
