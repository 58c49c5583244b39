package plan

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/placement"
)

// Footprint is what a model takes in the given formats: to hold, and to compute with. Chunks of
// prefill, blocks and the number of nodes size its activations and lanes. WeightsStored needs a.Stored.
func (a *Arch) Footprint(name string, w Weights, kv KV, block, nodes int) (placement.Model, placement.Work) {
	const kept = 2 // bytes of a parameter that is not quantized
	m := placement.Model{
		Name: name, Tied: a.Tied, BlockOverhead: placement.BlockOverhead,
		ScratchBytes: a.buffers(w, kv, block, nodes).Bytes,
	}
	if w == WeightsStored {
		m.EmbedBytes, m.HeadBytes = a.Stored.Embed, a.Stored.Head
	} else {
		m.EmbedBytes, m.HeadBytes = w.bytes(a.table()), w.bytes(a.table())+kept*int64(a.Hidden)
	}
	work := placement.Work{HeadRead: m.HeadBytes, HeadFLOPs: 2 * float64(a.table()), HiddenBytes: 4 * int64(a.Hidden), KVBits: kv.bits()}
	packed := map[Weights]string{WeightsQ8: "Q8_0", WeightsQ4: "Q4_0"}[w] // the name of the format, where rates are measured of it
	switch {
	case w == WeightsStored:
		work.HeadIn, work.ReadIn = a.Stored.HeadIn, a.Stored.ReadIn
	case packed != "":
		work.HeadIn = map[string]int64{packed: w.bytes(a.table())}
	}
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
			if packed != "" {
				in := w.bytes(l.Dense)
				if !l.MXFP4 {
					in += int64(l.Active) * w.bytes(l.Expert)
				}
				work.ReadIn = append(work.ReadIn, map[string]int64{packed: in})
			}
		}
		m.LayerBytes = append(m.LayerBytes, held)
		m.KVBytesPerToken = append(m.KVBytesPerToken, l.kvBytes(kv))
		m.Windows = append(m.Windows, l.Window)
		windowed = windowed || l.Window > 0

		work.ReadBytes = append(work.ReadBytes, read)
		share := 0.0
		if l.Experts > 0 {
			share = float64(l.Active) / float64(l.Experts)
		}
		work.ExpertShare = append(work.ExpertShare, share)
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

// buffers is what package engine's Footprint is, with float32 activations and connections under TLS, here from an Arch.
func (a *Arch) buffers(w Weights, kv KV, block, nodes int) *placement.Buffers {
	b := &placement.Buffers{Nodes: nodes, Block: block, Layers: len(a.Layers), Hidden: 4 * int64(a.Hidden), Peer: perPeer, Client: perClient, Stream: perStream}
	var cols, routes, wide int64
	widest := 0 // elements that a matrix takes
	for i := range a.Layers {
		l := &a.Layers[i]
		var elements int64
		for _, n := range l.Rows {
			elements += int64(n)
		}
		// The hidden state and its norm, queries and results, keys and values, angles, routes, and what is within the MLP.
		cols = max(cols, int64(2*a.Hidden+a.Heads*(l.Key+l.Value))+elements+int64(l.Key/2*2))
		routes, wide = max(routes, int64(roundUp(l.Experts)+2*roundUp(l.Active))), max(wide, int64(l.Wide))
		widest = max(widest, a.Hidden, a.Heads*l.Value, l.Inner)
		b.Query = max(b.Query, 4*int64(a.Heads*l.Key))
		b.Answer = max(b.Answer, 4*int64(a.Heads*(l.Value+2)))
		b.KV = max(b.KV, int64(block)*l.kvBytes(kv))
	}
	b.Step = func(tokens int) int64 {
		rows := int64(tokens)
		n := 4 * rows * (cols + routes + wide)
		if logits := min(rows, max(8, logitsBytes/4/int64(a.Vocab))) * int64(a.Vocab); logits > rows*wide {
			n += 4 * logits // otherwise they lie where the MLP computes
		}
		if a.quantized(w) {
			n += device.NumbersBytes(tokens, widest)
		}
		return n
	}
	return b
}

// quantized reports whether matrices are, in such a format.
func (a *Arch) quantized(w Weights) bool {
	if w != WeightsStored {
		return w != WeightsBF16
	}
	for _, in := range a.Stored.ReadIn {
		for name := range in {
			if name != device.F32.String() && name != device.F16.String() && name != device.BF16.String() {
				return true
			}
		}
	}
	return false
}

// roundUp is the next multiple of what devices read at once, in elements.
func roundUp(n int) int { return (n + 3) &^ 3 }

// What connections keep in buffers, in bytes: those to and from another member, and who drives, and what a stream through shared memory takes besides.
const (
	perPeer   = (329 + 4*12) << 10
	perClient = (113 + 2*12) << 10
	perStream = 512 << 10
)

// logitsBytes bounds the logits that are computed at a time, but for a large vocabulary.
const logitsBytes = 1 << 20
