package placement

// Room is how many tokens a node has memory to compute at a time.
type Room struct {
	Rows   int // of the largest step that it computes; 0 if it computes nothing
	Asking int // of the largest step whose queries go from node to node; 0 if none do
}

// RoomFor is the room that a node needs for such steps, one of so many nodes, with KV blocks of block tokens.
func RoomFor(block, nodes int, s Steps) Room {
	switch {
	case nodes == 1:
		return Room{Rows: s.Chunk}
	case s.Mode == 0:
		var r Room
		for s.Mode = Pipeline; s.Mode <= Ring; s.Mode++ {
			m := RoomFor(block, nodes, s)
			r = Room{max(r.Rows, m.Rows), max(r.Asking, m.Asking)}
		}
		return r
	case s.Mode == Ring:
		// A step that is too small for a round is computed by the fastest node alone.
		alone := min(s.Chunk, nodes*block-1, s.Context)
		r := Room{min(MaxPiece(s.Chunk, block), s.Tokens, s.Context), min(MaxAsking(s.Chunk, block, nodes, s.Context), alone)}
		if s.Fastest {
			r.Rows = max(r.Rows, alone)
		}
		return r
	}
	var r Room
	if s.Layers.Len() > 0 {
		r.Rows = s.Chunk
	}
	if s.Mode == Pooled {
		r.Asking = MaxAsking(s.Chunk, block, nodes, s.Context)
	}
	return r
}

// MaxPiece bounds the tokens that one node computes in a round of ring prefill, whatever the shares: a chunk, or
// a pair of blocks if that is more.
func MaxPiece(chunk, block int) int { return max(chunk, 2*block) }

// MaxAsking bounds the tokens of a step that is not the first of its sequence, and may have to ask other nodes. It is a
// chunk, unless the context has no room for one behind a block on every node: then it is what is left of the context, a
// quarter of it at least. So every node may really be asked for so many at a time.
func MaxAsking(chunk, block, nodes, context int) int {
	return min(chunk, max(block, context-min(nodes*block, context/4*3)), context)
}

// ParcelBlocks is how many blocks of block tokens go round the ring at a time: 1,024 tokens of them, or one that is larger.
func ParcelBlocks(block int) int { return max(1, 1024/block) }

// Buffers is what the buffers of a node that computes with a model depend on. Sizes are in bytes; those of connections
// are transport's PeerBytes and the like.
type Buffers struct {
	Nodes  int                  // that have the model, this one included
	Block  int                  // tokens of a KV block
	Layers int                  // of the model
	KV     int64                // keys and values of a block in a layer
	Hidden int64                // hidden state of a token
	Query  int64                // queries of a token in a layer, all heads
	Answer int64                // partial result of a token in a layer, all heads
	Step   func(rows int) int64 // activations and logits of a step of so many tokens
	Peer   int64                // what the connections to and from another node keep before messages go through them
	Client int64                // the same of those to and from the process that drives the steps
	Stream int64                // what a connection through shared memory takes more once messages have gone through it: there are two each way with another node, one each way with the process that drives
	Turns  int64                // what a connection takes more on which lanes take turns
	Slots  int                  // tokens whose queries and answers fit the slots by which devices exchange with another node; 0 if they make no exchanges
}

// Bytes is what computing takes on a node, in bytes: activations, partial results, and what the lanes from the other nodes
// hold. Each is counted in the modes that use it, and at no more than there can ever be.
func (b *Buffers) Bytes(s Steps) int64 {
	room, peers := RoomFor(b.Block, b.Nodes, s), int64(b.Nodes-1)
	in := func(m Mode) bool { return b.Nodes > 1 && (s.Mode == 0 || s.Mode == m) }
	pooled, ring := in(Pooled), in(Ring)
	owner := s.Layers.Len() > 0
	parts := b.Answer * int64(partRows(s.Context))

	n := peers*b.Peer + b.Client + b.streams(s)*b.Stream
	switch {
	case b.Nodes == 1 || s.Mode == Pipeline: // one lane on each connection
	case s.Mode == 0:
		n += 2 * peers * b.Turns
	case pooled: // queries, answers and hidden states
		n += peers * b.Turns
	case !s.Fastest: // parcels, and copies from the fastest node
		n += b.Turns
	}
	if room.Rows > 0 {
		n += b.Step(room.Rows) + b.Answer*int64(room.Rows) + parts
	}
	if owner && s.Layers.First > 0 { // from the owner of the layers before
		n += received(1, b.Hidden*int64(s.Chunk), b.Hidden*int64(s.Context)*int64(s.Sequences))
	}

	// A node that asks merges, and has an answer of each peer. One that is asked has the query of each, which is released
	// before it is answered, and computes an answer to it.
	if pooled || ring { // two slots for each
		n += peers * 2 * (b.Query + b.Answer) * int64(min(b.Slots, room.Asking))
	}
	query, answer := b.Query*int64(room.Asking), b.Answer*int64(room.Asking)
	if pooled && owner || ring && s.Fastest {
		n += answer + peers*answer
	}
	switch {
	case s.Tokens == 0: // nobody asks
	case pooled:
		n += peers * (query + answer + parts)
	case ring && !s.Fastest: // only the fastest node asks
		n += query + answer + parts
	}

	// Blocks that are copied here are of layers that other nodes have computed. In ring mode they come from the fastest node.
	all := int64((s.Context + b.Block - 1) / b.Block)
	held := min(int64((s.Tokens+b.Block-1)/b.Block), all)
	layers := b.KV * int64(s.Sequences) * int64(b.Layers) // of a block
	switch {
	case s.Mode == 0:
		n += peers * received(2, b.KV, all*layers)
	case pooled:
		n += min(peers*received(2, b.KV, held*layers), held*(layers-b.KV*int64(s.Sequences)*int64(s.Layers.Len())))
	case ring && !s.Fastest:
		n += received(2, b.KV, held*layers)
	}
	if ring {
		// Parcels come from one neighbour only, and are of other nodes' blocks: of a layer and, from who is ahead, of the next.
		n += received(2, int64(ParcelBlocks(b.Block))*b.KV, int64(min(b.Layers, 2))*(all-min(held, 1))*b.KV)
	}
	return n
}

// streams is on how many of the connections there are messages. In pipeline and pooled steps come to the first owner, and hidden states go from each to the next. A ring has neighbours, and
// only the fastest node asks there and has blocks copied.
func (b *Buffers) streams(s Steps) int64 {
	peers := int64(b.Nodes - 1)
	owner, asked := s.Layers.Len() > 0, s.Tokens > 0
	first, last := owner && s.Layers.First == 0, owner && s.Layers.End == b.Layers
	count := func(used bool, n int64) int64 {
		if used {
			return n
		}
		return 0
	}
	steps, results := count(first, 1), count(owner, 1)
	switch {
	case peers == 0:
		return steps + results
	case s.Mode == 0 || b.Slots > 0: // devices tell each other what they exchange
		return 2 + 4*peers
	case s.Mode == Pipeline:
		return steps + results + count(owner && !first, 1) + count(owner && !last, 1)
	case s.Mode == Pooled: // queries and answers, hidden states, and copies
		return steps + results + count(owner || asked, 2*peers) + count(owner, peers) + count(asked, peers)
	case s.Fastest: // queries and answers, copies, and parcels: to a neighbour who gets copies, too, and from one
		return 2 + 3*peers + 1
	}
	return 2 + count(asked, 2) + 2 + count(asked && !s.Behind, 1)
}

// received is the most that a receiver holds that takes so many messages of message bytes, if there are all bytes of them at a time.
func received(messages, message, all int64) int64 { return min(messages*message+perQueue, all) }

// perQueue is what waits at a receiver whose messages are taken: the frames for which its sender had
// credits, 8 of 64 KiB.
const perQueue = 512 << 10

// partRows bounds the queries times parts of the keys for which a device keeps partial results of its own,
// when it divides the keys of a few queries among its threads. It does not divide fewer than 2,048.
func partRows(keys int) int {
	if keys < 2048 {
		return 0
	}
	return 192
}
