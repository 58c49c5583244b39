package trace

import (
	"encoding/binary"
	"fmt"

	"github.com/orrery-ai/orrery/transport"
)

// SpanBytes is the size of a packed span.
const SpanBytes = 56

// PageSpans is how many spans cross the network in a message at the most.
const PageSpans = 4096

// AppendSpans packs spans, little-endian, SpanBytes each.
func AppendSpans(b []byte, spans []Span) []byte {
	le := binary.LittleEndian
	for i := range spans {
		s := &spans[i]
		for _, v := range [...]uint64{uint64(s.Begin), uint64(s.End), s.Seq, s.Step, uint64(s.Bytes)} {
			b = le.AppendUint64(b, v)
		}
		for _, v := range [...]uint32{s.First, s.Count, uint32(s.Layer)} {
			b = le.AppendUint32(b, v)
		}
		b = append(le.AppendUint16(b, uint16(s.Peer)), byte(s.Kind), byte(s.Lane))
	}
	return b
}

// ParseSpans appends what AppendSpans packed to spans, of a model that is loaded on so many nodes. It refuses what no
// node records.
func ParseSpans(spans []Span, b []byte, nodes int) ([]Span, error) {
	if len(b)%SpanBytes != 0 || len(b) > PageSpans*SpanBytes {
		return spans, fmt.Errorf("a page of spans has %d bytes: it is not of at most %d spans of %d bytes each", len(b), PageSpans, SpanBytes)
	}
	le := binary.LittleEndian
	for i := 0; len(b) > 0; i, b = i+1, b[SpanBytes:] {
		s := Span{Begin: int64(le.Uint64(b)), End: int64(le.Uint64(b[8:])), Seq: le.Uint64(b[16:]), Step: le.Uint64(b[24:]), Bytes: int64(le.Uint64(b[32:])),
			First: le.Uint32(b[40:]), Count: le.Uint32(b[44:]), Layer: int32(le.Uint32(b[48:])), Peer: int16(le.Uint16(b[52:])), Kind: Kind(b[54]), Lane: transport.Purpose(b[55])}
		switch {
		case !s.Kind.valid():
			return spans, fmt.Errorf("span %d of a page is of kind %d, which is not known", i, s.Kind)
		case s.Begin <= 0 || s.End < s.Begin || s.End > maxTime:
			return spans, fmt.Errorf("span %d of a page is from %d to %d ns", i, s.Begin, s.End)
		case s.Layer < NoLayer || s.Bytes < 0 || s.Peer < Client || int(s.Peer) >= nodes:
			return spans, fmt.Errorf("span %d of a page is of layer %d, %d bytes and peer %d of %d", i, s.Layer, s.Bytes, s.Peer, nodes)
		}
		spans = append(spans, s)
	}
	return spans, nil
}

// maxTime is beyond what a clock that began with its process shows: 36 years. Sums and differences of such times do
// not overflow.
const maxTime = 1 << 60
