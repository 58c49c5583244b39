package transport

import (
	"runtime"

	"github.com/orrery-ai/orrery/internal/offheap"
	"github.com/orrery-ai/orrery/transport/shm"
)

// PeerBytes is the most that the connections to and from one peer keep in buffers at this end, in bytes, besides
// messages, what waits for them, and the largest actor message that has come: the read buffers, two for one where waits read, and what streams through
// shared memory take before anything goes through them.
const PeerBytes = controlBuffer + 2*smallBuffer + bulkBuffer + 5*creditBuffer + peerStreams*idleStream

// ClientBytes is the same of who drives the steps: of the connections by which they come, and results go.
const ClientBytes = 2*smallBuffer + creditBuffer + clientStreams*idleStream

// The connections of a machine's processes go through streams, where they can: for small messages and for bulk to and from each peer, for small ones to and from who drives.
const (
	peerStreams   = 2 * 2
	clientStreams = 2
	// StreamBytes is what a stream takes more once enough messages have gone through it: it is a ring, and all of it is used in turn.
	StreamBytes = outRoom - firstPage
	idleStream  = shm.HeadsBytes + backRoom + firstPage
	firstPage   = 4 << 10 // of what goes out
)

// SecuredBytes is what all six connections to and from one peer keep besides under TLS: records. SecuredClientBytes is that of those to and from who drives.
const (
	SecuredBytes       = 6 * tlsBytes
	SecuredClientBytes = clientStreams * tlsBytes
)

// TurnsBytes is what an inbound connection without TLS keeps besides if lanes take turns on it: what was read ahead by a wrong guess.
const TurnsBytes = spillBytes + aheadFrames*mostHead

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
