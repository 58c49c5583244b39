package plan

import "github.com/orrery-ai/orrery/placement"

// Footprint is what a model takes in the given formats: to hold, and to compute with. Chunks of
// prefill, blocks and the number of nodes size its activations and lanes.
func (a *Arch) Footprint(name string, w Weights, kv KV, block, nodes int) (placement.Model, placement.Work) {
	const kept = 2 // bytes of a parameter that is not quantized
	m := placement.Model{
		Name: name, EmbedBytes: w.bytes(a.table()), Tied: a.Tied,
		HeadBytes:    w.bytes(a.table()) + kept*int64(a.Hidden),
		ScratchBytes: func(chunk int) int64 { return a.activations(kv, chunk, block, nodes) },
	}
	work := placement.Work{HeadRead: m.HeadBytes, HeadFLOPs: 2 * float64(a.table()), HiddenBytes: 4 * int64(a.Hidden)}
	windowed := false
	for i := range a.Layers {
		l := &a.Layers[i]
		experts := w.bytes(l.Expert)
		if l.MXFP4 {
			experts = (l.Expert*mxfp4Group + 31) / 32
		}
		experts += kept * l.Bias
		rest := w.bytes(l.Dense) + kept*l.Kept
		m.LayerBytes = append(m.LayerBytes, rest+int64(l.Experts)*experts)
		m.KVBytesPerToken = append(m.KVBytesPerToken, l.kvBytes(kv))
		m.Windows = append(m.Windows, l.Window)
		windowed = windowed || l.Window > 0

		work.ReadBytes = append(work.ReadBytes, rest+int64(l.Active)*experts)
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

// activations is what a node needs for a chunk: the sum of package engine's Footprint, with float32
// activations and what lanes may hold, here from an Arch.
func (a *Arch) activations(kv KV, chunk, block, nodes int) int64 {
	rows := int64(chunk)
	if nodes > 1 { // a round of ring prefill keeps its triangle balanced
		rows = int64(max(chunk, 2*nodes*block) + 5*block)
	}
	var cols, query, partial, kvBlock int64
	for i := range a.Layers {
		l := &a.Layers[i]
		var elements int64
		for _, n := range l.Rows {
			elements += int64(n)
		}
		// The hidden state and its norm, queries and results, keys and values, angles, gate and up.
		cols = max(cols, int64(2*a.Hidden+a.Heads*(l.Key+l.Value))+elements+int64(l.Key/2*2)+int64(2*l.Wide))
		query = max(query, 4*rows*int64(a.Heads*l.Key))
		partial = max(partial, 4*rows*int64(a.Heads*(l.Value+2)))
		kvBlock = max(kvBlock, int64(block)*l.kvBytes(kv))
	}
	hidden, peers := 4*rows*int64(a.Hidden), int64(nodes-1)
	const perLane = 2 // messages that a lane's receiver holds at the most
	lanes := perLane * (hidden + peers*(query+partial+kvBlock))
	if nodes > 1 {
		lanes += perLane * max(1, parcelTokens/int64(block)) * kvBlock
	}
	logits := 4 * min(rows, max(1, logitsBytes/4/int64(a.Vocab))) * int64(a.Vocab)
	return 4*rows*cols + (2+peers)*partial + logits + lanes
}

// parcelTokens is how many tokens go round the ring at a time.
const parcelTokens = 1024

// logitsBytes bounds the logits that are computed at a time.
const logitsBytes = 4 << 20
