package transport

import "sync/atomic"

// Traffic counts whole messages and their bytes, without frame headers. In is received, out is sent.
type Traffic struct {
	MessagesOut, BytesOut uint64
	MessagesIn, BytesIn   uint64
}

type traffic struct {
	messagesOut, bytesOut atomic.Uint64
	messagesIn, bytesIn   atomic.Uint64
}

func (t *traffic) out(n int) {
	t.messagesOut.Add(1)
	t.bytesOut.Add(uint64(n))
}

func (t *traffic) in(n int) {
	t.messagesIn.Add(1)
	t.bytesIn.Add(uint64(n))
}

// Counters is what the endpoint has sent and received since it began, for each purpose. Actor messages
// are under Control. Lanes from the node to itself count in both directions.
func (e *Endpoint) Counters() map[Purpose]Traffic {
	m := make(map[Purpose]Traffic, numPurposes)
	for p := range numPurposes {
		t := &e.traffic[p]
		m[p] = Traffic{
			MessagesOut: t.messagesOut.Load(), BytesOut: t.bytesOut.Load(),
			MessagesIn: t.messagesIn.Load(), BytesIn: t.bytesIn.Load(),
		}
	}
	return m
}
