//go:build linux

package cuda

import (
	"errors"
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/internal/gated"
)

// How queues wait for messages. Nothing ends a kernel that runs for long on a GPU without a display; one with a display has some seconds.
const (
	looks    = 1 << 22
	patience = time.Second
)

// exchanger is a queue with lanes. What a step records up to its first message goes straight to the stream; what comes behind it until
// everything has been waited for is given to it by way of a gated queue.
type exchanger struct {
	*queue
	gated *gated.Queue // nil until there is a lane
	ahead bool         // what comes next is behind a message
	gates []bool       // fences that were not forgotten: whether the gated queue has each of them
}

var (
	_ gpu.Exchanger = (*exchanger)(nil)
	_ gpu.Fencer    = (*exchanger)(nil)
)

// NewQueue implements [gpu.Host]. The queue is a [gpu.Exchanger].
func (h *Host) NewQueue() (gpu.Queue, error) {
	q, err := h.newQueue()
	if err != nil {
		return nil, err
	}
	return &exchanger{queue: q}, nil
}

// NewLane implements [gpu.Exchanger]. All lanes wait as the first was asked to: spinning, or by waiting for values in memory, which takes nothing of the GPU's.
func (e *exchanger) NewLane(end device.LaneEnd) (*device.Lane, error) {
	if e.gated == nil {
		q, err := gated.New(&commands{Host: e.host, queue: e.queue}, gated.Options{Fast: end.Spin, Coherent: true, Halts: true, Looks: looks, Patience: patience})
		if err != nil {
			return nil, err
		}
		e.gated = q
	}
	return e.gated.NewLane(end)
}

// Slot implements [gpu.Exchanger].
func (e *exchanger) Slot(l *device.Lane, seq uint32) (gpu.Range, error) {
	if e.gated == nil {
		return gpu.Range{}, errNoLanes
	}
	return e.gated.Slot(l, seq)
}

var errNoLanes = errors.New("cuda: the queue has no lanes")

// begin has what comes next go by way of the gated queue.
func (e *exchanger) begin() bool {
	if e.gated == nil {
		e.fail(errNoLanes)
		return false
	}
	if !e.ahead {
		e.flush()
		e.ahead = true
	}
	return true
}

// Signal implements [gpu.Exchanger].
func (e *exchanger) Signal(l *device.Lane, seq uint32, n int) {
	if e.begin() {
		e.gated.Signal(l, seq, n)
	}
}

// Await implements [gpu.Exchanger].
func (e *exchanger) Await(l *device.Lane, seq uint32, n int) {
	if e.begin() {
		e.gated.Await(l, seq, n)
	}
}

// Receive implements [gpu.Exchanger].
func (e *exchanger) Receive(l *device.Lane, seq uint32, parts ...gpu.Part) {
	if e.begin() {
		e.gated.Receive(l, seq, parts...)
	}
}

// Send implements [gpu.Exchanger].
func (e *exchanger) Send(l *device.Lane, seq uint32, part gpu.Part) {
	if e.begin() {
		e.gated.Send(l, seq, part)
	}
}

// now is where an operation goes.
func (e *exchanger) now() gpu.Queue {
	if e.ahead {
		return e.gated
	}
	return e.queue
}

// Launch implements [gpu.Queue]; Next is the queue's.
func (e *exchanger) Launch(c *gpu.Call) { e.now().Launch(c) }

// Write implements [gpu.Queue].
func (e *exchanger) Write(dst gpu.Range, src []byte) { e.now().Write(dst, src) }

// Read implements [gpu.Queue].
func (e *exchanger) Read(dst []byte, src gpu.Range) { e.now().Read(dst, src) }

// Copy implements [gpu.Queue].
func (e *exchanger) Copy(dst, src gpu.Range, n int64) { e.now().Copy(dst, src, n) }

// Mark implements [gpu.Queue].
func (e *exchanger) Mark() int {
	if e.ahead {
		e.gated.Submit()
	}
	return e.queue.Mark()
}

// Fence implements [gpu.Fencer].
func (e *exchanger) Fence() {
	if len(e.gates) == gpu.MostFences {
		e.fail(errors.New("cuda: a fence beyond those that there may be"))
		return
	}
	if e.gates = append(e.gates, e.ahead); e.ahead {
		e.gated.Fence()
	} else {
		e.queue.Fence()
	}
}

// Reached implements [gpu.Fencer].
func (e *exchanger) Reached() bool {
	if len(e.gates) > 0 && e.gates[0] {
		return e.gated.Reached()
	}
	return e.queue.Reached()
}

// Reach implements [gpu.Fencer]. Once nothing is behind a message any more what comes next goes straight to the stream again.
func (e *exchanger) Reach(deadline time.Time) error {
	if len(e.gates) == 0 || !e.gates[0] {
		if len(e.gates) > 0 {
			e.gates = append(e.gates[:0], e.gates[1:]...)
		}
		return e.queue.Reach(deadline)
	}
	e.gates = append(e.gates[:0], e.gates[1:]...)
	err := e.gated.Reach(deadline)
	e.ahead = !e.gated.Idle()
	return err
}

// Wait implements [gpu.Queue].
func (e *exchanger) Wait(deadline time.Time) error {
	var err error
	if e.ahead {
		err = e.gated.Wait(deadline)
		e.ahead = false
	}
	return errors.Join(err, e.queue.Wait(deadline))
}

// Close implements [gpu.Queue].
func (e *exchanger) Close() error {
	var err error
	if e.gated != nil {
		err = e.gated.Close()
	}
	return errors.Join(err, e.queue.Close())
}
