package transport

import (
	"runtime"

	"github.com/orrery-ai/orrery/internal/offheap"
	"github.com/orrery-ai/orrery/transport/shm"
)

// PeerBytes is the most that the connections to and from one peer keep in buffers at this end, in bytes: read buffers (two
// of a connection that waiting goroutines read), and what streams through shared memory take before anything goes through
// them. Messages, frames that wait for them, and the largest actor message that has come are not in it.
const PeerBytes = controlBuffer + 2*smallBuffer + bulkBuffer + 5*creditBuffer + peerStreams*idleStream

// ClientBytes is the same, in bytes, of the connections with the process that drives the steps: by which steps come, and
// results go.
const ClientBytes = 2*smallBuffer + creditBuffer + clientStreams*idleStream

// Connections between processes of one machine go through streams, where they can: those for small messages and for bulk
// to and from each peer, and those for small ones to and from the process that drives the steps.
const (
	peerStreams   = 2 * 2
	clientStreams = 2
	// StreamBytes is what a stream takes more once enough messages have gone through it, in bytes: it is a ring, all of
	// which is used in turn.
	StreamBytes = outRoom - firstPage
	idleStream  = shm.HeadsBytes + backRoom + firstPage
	firstPage   = 4 << 10 // of what goes out
)

// SecuredBytes is what all six connections to and from one peer keep besides under TLS, in bytes: records.
// SecuredClientBytes is the same of those to and from the process that drives the steps.
const (
	SecuredBytes       = 6 * tlsBytes
	SecuredClientBytes = clientStreams * tlsBytes
)

// TurnsBytes is what an inbound connection without TLS keeps besides if lanes take turns on it, in bytes: what was read
// ahead on a wrong guess.
const TurnsBytes = spillBytes + aheadFrames*mostHead

// tlsBytes is what a connection under TLS keeps: the record that is being read, the one that is written, and the
// state of TLS with the peer's certificate.
const tlsBytes = 48 << 10

// offheapMessage is the size from which on the messages of a lane lie outside of the Go heap, in bytes.
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
