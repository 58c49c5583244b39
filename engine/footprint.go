package engine

import (
	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/transport"
)

// Footprint is the memory that an engine takes besides weights and KV cache, in bytes, on one of nodes members
// that have KV blocks of block tokens: activations, partial results, logits, and what the lanes from the other
// members hold.
func Footprint(c *model.Config, kv attention.Format, block, nodes int, s placement.Steps) int64 {
	shape, peers := c.Shape(), int64(nodes-1)
	owner := s.Layers.Len() > 0
	pooled := nodes > 1 && (s.Mode == 0 || s.Mode == placement.Pooled)
	ring := nodes > 1 && (s.Mode == 0 || s.Mode == placement.Ring)
	rows := s.Chunk
	if ring {
		rows = max(rows, min(residence.MaxPiece(s.Chunk, block), s.Context))
	}
	layer := int64(shape.BlockBytes(kv, block))

	n := peers * (transport.PeerBytes + perLane*layer) // blocks that are copied here
	if pooled || ring {
		n += peers * perQueue
	}
	if owner {
		n += c.ScratchBytes(rows) + c.LogitsBytes(logitRows(rows, c.Vocab), rows) + shape.PartialBytes(rows) + shape.PartialBytes(deviceRows)
	}
	if owner && s.Layers.First > 0 {
		n += 4*int64(min(perLane*s.Chunk, s.Context)*c.Hidden) + perQueue // from the owner of the layers before
	}
	if pooled {
		// Chunks after the first ask the others about earlier blocks, and answer them. On GPUs, where what waits at receivers lies in the host's memory, the
		// queries of steps that are recorded ahead take that room.
		asking := min(s.Chunk, max(s.Context-s.Chunk, 1))
		query, partial := 4*int64(asking*shape.Heads*shape.HeadDim), shape.PartialBytes(asking)
		n += peers * (perLane*query + partial + shape.PartialBytes(deviceRows))
		if owner {
			n += partial + peers*partial // what is merged, and the answers
		}
	}
	if ring {
		n += perLane*int64(parcelBlocks(block))*layer + perQueue // parcels come from one neighbour only
	}
	return n
}

// perQueue is what waits at a receiver both of whose messages are taken: the frames for which its sender had
// credits, 8 of 64 KiB.
const perQueue = 512 << 10

// perLane is how many messages a lane's receiver holds: one with its reader, and one that arrives.
const perLane = 2

// deviceRows bounds the queries times parts of the keys for which a device keeps partial results of its own,
// when it divides the keys of a few queries among its threads.
const deviceRows = 192
