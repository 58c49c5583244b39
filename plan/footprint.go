package plan

import "github.com/orrery-ai/orrery/placement"

// Footprint is what a model takes in the given formats: to hold, and to compute with. Chunks of
// prefill, blocks and the number of nodes size its activations and lanes. WeightsStored needs a.Stored.
func (a *Arch) Footprint(name string, w Weights, kv KV, block, nodes int) (placement.Model, placement.Work) {
	const kept = 2 // bytes of a parameter that is not quantized
	m := placement.Model{
		Name: name, Tied: a.Tied, BlockOverhead: placement.BlockOverhead,
		ScratchBytes: func(s placement.Steps) int64 { return a.activations(kv, block, nodes, s) },
	}
	if w == WeightsStored {
		m.EmbedBytes, m.HeadBytes = a.Stored.Embed, a.Stored.Head
	} else {
		m.EmbedBytes, m.HeadBytes = w.bytes(a.table()), w.bytes(a.table())+kept*int64(a.Hidden)
	}
	work := placement.Work{HeadRead: m.HeadBytes, HeadFLOPs: 2 * float64(a.table()), HiddenBytes: 4 * int64(a.Hidden), KVBits: kv.bits()}
	windowed := false
	for i := range a.Layers {
		l := &a.Layers[i]
		var held, read int64
		if w == WeightsStored {
			held, read = a.Stored.Layers[i], a.Stored.Reads[i]
		} else {
			expert := w.bytes(l.Expert)
			if l.MXFP4 {
				expert = (l.Expert*mxfp4Group + 31) / 32
			}
			expert += kept * l.Bias
			rest := w.bytes(l.Dense) + kept*l.Kept
			held, read = rest+int64(l.Experts)*expert, rest+int64(l.Active)*expert
		}
		m.LayerBytes = append(m.LayerBytes, held)
		m.KVBytesPerToken = append(m.KVBytesPerToken, l.kvBytes(kv))
		m.Windows = append(m.Windows, l.Window)
		windowed = windowed || l.Window > 0

		work.ReadBytes = append(work.ReadBytes, read)
		work.TokenFLOPs = append(work.TokenFLOPs, 2*float64(l.Dense+l.Kept+int64(l.Active)*(l.Expert+l.Bias)))
		work.PairFLOPs = append(work.PairFLOPs, 2*float64(a.Heads)*float64(l.Key+l.Value))
		work.QueryBytes = max(work.QueryBytes, 4*int64(a.Heads*l.Key))
		work.PartialBytes = max(work.PartialBytes, 4*int64(a.Heads*(l.Value+2)))
	}
	if !windowed {
		m.Windows = nil
	}
	return m, work
}

// KVBytesPerToken is what a token leaves in the cache, in the layers that attend to all tokens.
func (a *Arch) KVBytesPerToken(kv KV) int64 {
	n := int64(0)
	for i := range a.Layers {
		if a.Layers[i].Window == 0 {
			n += a.Layers[i].kvBytes(kv)
		}
	}
	return n
}

func (l *Layer) kvBytes(kv KV) int64 {
	n := int64(0)
	for _, elements := range l.Rows {
		n += kv.bytes(elements)
	}
	return n
}

// activations is what computing takes: the sum of package engine's Footprint, with float32 activations and
// what lanes hold, here from an Arch.
func (a *Arch) activations(kv KV, block, nodes int, s placement.Steps) int64 {
	owner := s.Layers.Len() > 0
	pooled := nodes > 1 && (s.Mode == 0 || s.Mode == placement.Pooled)
	ring := nodes > 1 && (s.Mode == 0 || s.Mode == placement.Ring)
	rows, peers := int64(s.Chunk), int64(nodes-1)
	if ring { // a pair of blocks at least
		rows = int64(max(s.Chunk, min(2*block, s.Context)))
	}
	var cols, routes, wide, query, partial, layer int64
	for i := range a.Layers {
		l := &a.Layers[i]
		var elements int64
		for _, n := range l.Rows {
			elements += int64(n)
		}
		// The hidden state and its norm, queries and results, keys and values, angles, routes, and what is within the MLP.
		cols = max(cols, int64(2*a.Hidden+a.Heads*(l.Key+l.Value))+elements+int64(l.Key/2*2))
		routes, wide = max(routes, int64(roundUp(l.Experts)+2*roundUp(l.Active))), max(wide, int64(l.Wide))
		query = max(query, 4*int64(a.Heads*l.Key))
		partial = max(partial, 4*int64(a.Heads*(l.Value+2)))
		layer = max(layer, int64(block)*l.kvBytes(kv))
	}
	const perLane = 2 // messages that a lane's receiver holds
	n := peers * (perPeer + perLane*layer)
	if pooled || ring {
		n += peers * perQueue
	}
	if owner {
		n += 4*rows*(cols+routes+wide) + (rows+deviceRows)*partial
		if logits := min(rows, max(8, logitsBytes/4/int64(a.Vocab))) * int64(a.Vocab); logits > rows*wide {
			n += 4 * logits // otherwise they lie where the MLP computes
		}
	}
	if owner && s.Layers.First > 0 {
		n += 4*int64(min(perLane*s.Chunk, s.Context))*int64(a.Hidden) + perQueue
	}
	if pooled {
		asking := int64(min(s.Chunk, max(s.Context-s.Chunk, 1)))
		n += peers * (perLane*asking*query + (asking+deviceRows)*partial)
		if owner {
			n += (1 + peers) * asking * partial
		}
	}
	if ring {
		n += perLane*max(1, parcelTokens/int64(block))*layer + perQueue
	}
	return n
}

// roundUp is the next multiple of what devices read at once, in elements.
func roundUp(n int) int { return (n + 3) &^ 3 }

// perPeer is what the connections to and from another member keep in buffers, in bytes.
const perPeer = 329 << 10

// perQueue is what waits at the end of a lane besides its messages, in bytes.
const perQueue = 512 << 10

// parcelTokens is how many tokens go round the ring at a time.
const parcelTokens = 1024

// logitsBytes bounds the logits that are computed at a time, but for a large vocabulary.
const logitsBytes = 1 << 20

// deviceRows is the partial results that a device keeps of its own, in rows.
const deviceRows = 192
