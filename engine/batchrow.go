package engine

import (
	"encoding/binary"
	"fmt"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/sampling"
)

// BatchRows is how many sequences a step may have: as many tokens as all devices multiply weights by in one way, so
// that a token's result does not depend on who goes with it, and as have room for their logits at a time.
const BatchRows = placement.BatchRows

// BatchRow is a sequence's part of a step of several: a token, behind which one is chosen. It is a step of its own by
// its number, of which the result is told.
type BatchRow struct {
	Seq, Step, Epoch uint64
	First            int // position of the token
	ID               int32
	Sampling         sampling.Params
}

// rowBytes is the size of an encoded BatchRow.
const rowBytes = 56

func (r *BatchRow) encode(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b, r.Seq)
	le.PutUint64(b[8:], r.Step)
	le.PutUint64(b[16:], r.Epoch)
	le.PutUint32(b[24:], uint32(r.First))
	le.PutUint32(b[28:], uint32(r.ID))
	encodeSampling(b[32:], &r.Sampling)
}

func (r *BatchRow) decode(b []byte) {
	le := binary.LittleEndian
	*r = BatchRow{Seq: le.Uint64(b), Step: le.Uint64(b[8:]), Epoch: le.Uint64(b[16:]), First: int(le.Uint32(b[24:])), ID: int32(le.Uint32(b[28:])), Sampling: decodeSampling(b[32:])}
}

// header is that of the row as a step of its own, from a layer on.
func (r *BatchRow) header(layer uint32) header {
	return header{Kind: kindChunk, Flags: wantToken, Layer: layer, Seq: r.Seq, Step: r.Step, Epoch: r.Epoch, First: uint32(r.First), Count: 1, Sampling: r.Sampling}
}

// decodeRows reads the rows of a message, behind which there are so many elements for each, and returns those.
func decodeRows(rows *[BatchRows]BatchRow, h *header, payload []byte, width int) ([]float32, error) {
	n := int(h.Count)
	if n < 1 || n > BatchRows || len(payload) != n*(rowBytes+4*width) {
		return nil, fmt.Errorf("a step of %d sequences came in %d bytes (at most %d sequences, %d bytes for each)", n, len(payload), BatchRows, rowBytes+4*width)
	}
	for i := range n {
		rows[i].decode(payload[i*rowBytes:])
	}
	return viewOf[float32](payload[n*rowBytes:], n*width)
}

// repeated is the first sequence that is in rows twice, if one is.
func repeated(rows []BatchRow) (seq uint64, is bool) {
	for i := range rows {
		for j := range i {
			if rows[i].Seq == rows[j].Seq {
				return rows[i].Seq, true
			}
		}
	}
	return 0, false
}

// chosenBytes is the size of an encoded token of a row.
const chosenBytes = 20

func encodeChosen(b []byte, r *BatchRow, token int32) {
	le := binary.LittleEndian
	le.PutUint64(b, r.Seq)
	le.PutUint64(b[8:], r.Step)
	le.PutUint32(b[16:], uint32(token))
}

// chosenAt is result i of those that came together.
func chosenAt(payload []byte, i int, res Result) Result {
	le, b := binary.LittleEndian, payload[i*chosenBytes:]
	res.Seq, res.Step, res.Token = le.Uint64(b), le.Uint64(b[8:]), int32(le.Uint32(b[16:]))
	return res
}
