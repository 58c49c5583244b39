package rdma

import "fmt"

// flow is the account of messages and receives of one end: pure bookkeeping. In each direction, the credits
// of the sender, the messages of data on the way or not yet read, what the receiver owes, and the credits
// on the way back add up to the receives that the receiver has for data.
type flow struct {
	mine, theirs int // receives for data at this end and at the peer's

	credits int // messages of data that may be sent
	granted int // messages of data that the peer may send, as far as it has been told
	owed    int // receives posted again that the peer has not been told of

	sent, received uint64 // messages of all kinds: the numbers of the next
}

func newFlow(mine, theirs int) flow {
	return flow{mine: mine, theirs: theirs, credits: theirs, granted: mine}
}

// next is the header of a message that is sent now. It pays what is owed. Data costs a credit, which there
// must be.
func (f *flow) next(k kind, length int) header {
	h := header{length: uint32(length), credits: uint16(f.owed), kind: k, seq: f.sent}
	f.granted += f.owed
	f.owed = 0
	f.sent++
	if k == kindData {
		f.credits--
	}
	return h
}

// accept enters a message that has come, or says what is wrong with it.
func (f *flow) accept(h header) error {
	if h.seq != f.received {
		return fmt.Errorf("%w: message %d where %d was due", ErrProtocol, h.seq, f.received)
	}
	f.received++
	if f.credits += int(h.credits); f.credits > f.theirs {
		return fmt.Errorf("%w: message %d brings the credits to %d of %d", ErrProtocol, h.seq, f.credits, f.theirs)
	}
	if h.kind == kindData {
		if f.granted--; f.granted < 0 {
			return fmt.Errorf("%w: message %d came without a credit", ErrProtocol, h.seq)
		}
	}
	return nil
}

// release enters that a receive for data has been posted again.
func (f *flow) release() { f.owed++ }

// due says that enough is owed for a message of its own: half of the receives, so that no more than two
// such messages can be on the way.
func (f *flow) due() bool { return f.owed >= (f.mine+1)/2 }
