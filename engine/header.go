package engine

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/sampling"
)

// kind says what a lane message is.
type kind uint8

const (
	kindChunk     kind = iota + 1 // Step, Hidden: run the owner's layers over a run of tokens
	kindRound                     // Step: a round of ring prefill
	kindQuery                     // Query: attend to what you hold
	kindPartial                   // Partial: the answer
	kindBlock                     // KVMove, KVRing: one layer of a block
	kindLogits                    // Result: some rows
	kindDone                      // Result: the step is finished on this node
	kindFail                      // Partial, KVRing, Result: the payload says why
	kindAhead                     // Query: a step will ask for layers [Layer, A) on the lanes of devices, from message C on. Hidden: a step's hidden state comes by their message C, and its token is to go by A
	kindBatch                     // Step, Hidden: kindChunk of the next tokens of several sequences. Query: attend to what you hold of each
	kindChosen                    // Result: the tokens of steps of several sequences, which are finished on this node
	kindAheadRows                 // Query: kindAhead of a step of several sequences, whose rows are behind it: all of them are asked for at each of the layers
)

// What a step should give back, and whether it is one of a row.
const (
	wantToken  = 1 << iota // sample a token after the last one
	wantLogits             // the logits of every token
	follows                // the step's one token is that which the sequence's step before chooses, whatever ids says
	followed               // such a step is on its way behind this one
	each                   // each owner tells when its part of the step is done
	relayed                // kindDone: the step has gone from device to device
)

// headerBytes is the size of an encoded header.
const headerBytes = 80

// header opens every lane message. The meaning of A-C depends on the kind.
type header struct {
	Kind         kind
	Flags        uint8
	Layer        uint32
	Seq          uint64
	Step         uint64 // kindBlock in KVMove: the copy's id
	Epoch        uint64 // kindBlock in KVMove: the batch
	First, Count uint32 // tokens
	A, B, C      uint32
	Sampling     sampling.Params // steps that want a token
}

func (h *header) encode(b *[headerBytes]byte) []byte {
	b[0], b[1] = byte(h.Kind), h.Flags
	le := binary.LittleEndian
	le.PutUint32(b[4:], h.Layer)
	le.PutUint64(b[8:], h.Seq)
	le.PutUint64(b[16:], h.Step)
	le.PutUint64(b[24:], h.Epoch)
	le.PutUint32(b[32:], h.First)
	le.PutUint32(b[36:], h.Count)
	le.PutUint32(b[40:], h.A)
	le.PutUint32(b[44:], h.B)
	le.PutUint32(b[48:], h.C)
	encodeSampling(b[52:], &h.Sampling)
	return b[:]
}

// encodeSampling takes 24 bytes.
func encodeSampling(b []byte, p *sampling.Params) {
	le := binary.LittleEndian
	le.PutUint32(b, math.Float32bits(p.Temperature))
	le.PutUint32(b[4:], math.Float32bits(p.TopP))
	le.PutUint32(b[8:], math.Float32bits(p.MinP))
	le.PutUint64(b[12:], p.Seed)
	le.PutUint32(b[20:], uint32(p.TopK))
}

func decodeSampling(b []byte) sampling.Params {
	le := binary.LittleEndian
	return sampling.Params{
		Temperature: math.Float32frombits(le.Uint32(b)),
		TopP:        math.Float32frombits(le.Uint32(b[4:])),
		MinP:        math.Float32frombits(le.Uint32(b[8:])),
		Seed:        le.Uint64(b[12:]),
		TopK:        int(le.Uint32(b[20:])),
	}
}

// decode splits a message into its header and payload.
func decode(msg []byte) (h header, payload []byte, err error) {
	if len(msg) < headerBytes {
		return h, nil, fmt.Errorf("a lane message of %d bytes has no header", len(msg))
	}
	le := binary.LittleEndian
	h = header{Kind: kind(msg[0]), Flags: msg[1], Layer: le.Uint32(msg[4:]), Seq: le.Uint64(msg[8:]), Step: le.Uint64(msg[16:]),
		Epoch: le.Uint64(msg[24:]), First: le.Uint32(msg[32:]), Count: le.Uint32(msg[36:]),
		A: le.Uint32(msg[40:]), B: le.Uint32(msg[44:]), C: le.Uint32(msg[48:])}
	h.Sampling = decodeSampling(msg[52:])
	return h, msg[headerBytes:], nil
}
