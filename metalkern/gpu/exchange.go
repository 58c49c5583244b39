package gpu

import "github.com/orrery-ai/orrery/device"

// Exchanger is a [Queue] that takes part in exchanges with other nodes by itself, as [device.Exchanger] says of streams.
type Exchanger interface {
	Queue
	// NewLane makes a lane's end, whose memory kernels reach too. Close frees it.
	NewLane(size int, spin bool) (*device.Lane, error)
	// Slot is where message seq of a lane of this queue lies.
	Slot(l *device.Lane, seq uint32) (Range, error)
	// Signal and Await are those of [device.Exchanger].
	Signal(l *device.Lane, seq uint32, n int)
	Await(l *device.Lane, seq uint32, n int)
}
