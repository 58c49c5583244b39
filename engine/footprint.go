package engine

import (
	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/model"
)

// Footprint is the memory that an engine takes besides weights and KV cache, in bytes, for steps of up to
// chunk tokens on one of nodes members: activations, partial results, logits, and what lanes may hold.
func Footprint(c *model.Config, kv attention.Format, chunk, block, nodes int) int64 {
	rows := maxRows(chunk, block, nodes)
	shape := c.Shape()
	partial := int64(4 * rows * shape.Heads * (shape.HeadDim + 2))
	peers := int64(nodes - 1)
	size := sizes{
		hidden:  4 * rows * c.Hidden,
		query:   4 * rows * shape.Heads * shape.HeadDim,
		partial: int(partial),
		block:   block * shape.KVBytes(kv),
	}
	const perLane = 2 // messages that a lane's receiver holds at the most
	lanes := perLane * (int64(size.hidden) + peers*int64(size.query+size.partial+size.block))
	if nodes > 1 {
		lanes += perLane * int64(parcelBlocks(block)*size.block) // parcels come from one neighbour only
	}
	logits := int64(4 * logitRows(rows, c.Vocab) * c.Vocab)
	return c.ScratchBytes(rows) + (2+peers)*partial + logits + lanes
}

// maxRows bounds the tokens that one node computes in a step. In a ring round that is about a chunk, but
// not less than what keeps the causal triangle balanced: two blocks for each node, and the rounding, which
// is up to two pairs between what a node is due and what it gets, and the open block.
func maxRows(chunk, block, nodes int) int {
	if nodes == 1 {
		return chunk
	}
	return max(chunk, 2*nodes*block) + 5*block
}
