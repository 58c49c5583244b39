package transport

import (
	"runtime"

	"github.com/orrery-ai/orrery/internal/offheap"
)

// PeerBytes is the most that the connections to and from one peer keep in buffers at this end, in bytes, besides
// messages, what waits for them, and the largest actor message that has come. Over TCP that is the read buffers, two for one where waits read, and
// what was read ahead by a wrong guess where lanes took turns, on the two inbound connections that have lanes; under
// TLS it is records, on all six.
const PeerBytes = controlBuffer + 2*smallBuffer + bulkBuffer + 5*creditBuffer + max(2*(spillBytes+aheadFrames*mostHead), 6*tlsBytes)

// tlsBytes is what a connection under TLS keeps: the record that is being read, the one that is written, and the
// state of TLS with the peer's certificate.
const tlsBytes = 48 << 10

// offheapMessage is from what size on the messages of a lane lie outside of the Go heap.
const offheapMessage = 256 << 10

// room is the message's buffer with length n, of a lane whose messages have up to limit bytes. A large one
// is mapped once, at the limit, of which only what arrives takes memory: it neither grows by being copied
// nor counts in what the collector lets the heap grow to. It goes back to the system when the message is
// garbage, for nobody else knows when its last reader is done.
func (m *Message) room(n, limit int) []byte {
	if limit < offheapMessage {
		return grow(m.buf, n, limit)
	}
	if m.buf == nil {
		b, err := offheap.Map(max(n, limit))
		if err != nil {
			return grow(m.buf, n, limit)
		}
		runtime.AddCleanup(m, offheap.Unmap, b)
		m.buf = b
	}
	return grow(m.buf, n, limit)
}
