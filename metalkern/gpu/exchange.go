package gpu

import "github.com/orrery-ai/orrery/device"

// Part is so many bytes of a buffer.
type Part struct {
	At    Range
	Bytes int64
}

// Exchanger is a [Queue] that takes part in exchanges with other nodes by itself, as [device.Exchanger] says of streams.
type Exchanger interface {
	Queue
	// NewLane makes a lane's end, whose memory kernels reach too. Close frees it.
	NewLane(end device.LaneEnd) (*device.Lane, error)
	// Slot is where message seq of a lane of this queue lies.
	Slot(l *device.Lane, seq uint32) (Range, error)
	// Signal and Await are those of [device.Exchanger].
	Signal(l *device.Lane, seq uint32, n int)
	Await(l *device.Lane, seq uint32, n int)
	// Receive is Await of a message as long as the parts, one to three, copies of it to each, one after the other, and Signal. Send is a copy to the slot,
	// and Signal. Parts have a multiple of 4 bytes, and begin at one.
	Receive(l *device.Lane, seq uint32, parts ...Part)
	Send(l *device.Lane, seq uint32, part Part)
}
