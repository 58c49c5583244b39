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

func (t *traffic) out(n int) { t.outMany(1, n) }

func (t *traffic) in(n int) { t.inMany(1, n) }

// outMany counts messages with so many bytes together.
func (t *traffic) outMany(messages, bytes int) {
	t.messagesOut.Add(uint64(messages))
	t.bytesOut.Add(uint64(bytes))
}

// inMany counts messages with so many bytes together.
func (t *traffic) inMany(messages, bytes int) {
	t.messagesIn.Add(uint64(messages))
	t.bytesIn.Add(uint64(bytes))
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
