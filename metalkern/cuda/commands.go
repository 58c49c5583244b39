//go:build linux

package cuda

import (
	"errors"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/internal/gated"
)

// waitGEQ is CU_STREAM_WAIT_VALUE_GEQ: the stream goes on when the value, as a signed difference, is reached.
const waitGEQ = 0

// commands gives batches to a queue's stream. It implements [gated.Device]; launches look at [gated.Step].Halt.
type commands struct {
	*Host
	queue *queue
	base  uintptr  // the event that times are counted from
	spare []*batch // with events that nothing uses now
}

var _ gated.Device = (*commands)(nil)

// Submit implements [gated.Device].
func (c *commands) Submit(steps []gated.Step) (gated.Batch, error) {
	q := c.queue
	if q.err != nil {
		return nil, q.taken()
	}
	if c.base == 0 {
		if err := c.mark(&c.base); err != nil {
			return nil, err
		}
	}
	b := c.batch()
	if err := c.mark(&b.begin); err != nil {
		b.Release()
		return nil, err
	}
	for i := range steps {
		switch s := &steps[i]; {
		case s.Wait != nil:
			q.memory("cuStreamWaitValue", c.driver.streamWait, s.Wait.(*event), s.Count, waitGEQ)
		case s.Signal != nil:
			q.memory("cuStreamWriteValue", c.driver.streamWrite, s.Signal.(*event), s.Count, 0)
		case s.Groups.Buffer != nil:
			q.fail(errors.New("cuda: launches do not take their sizes from memory"))
		default:
			if s.Halt.Buffer != nil {
				q.halt = q.inside(s.Halt, 4)
			}
			q.Launch(&s.Call)
			q.halt = 0
		}
	}
	q.flush()
	err := c.mark(&b.end)
	if q.err != nil {
		err = q.taken()
	}
	if err != nil {
		b.Release()
		return nil, err
	}
	return b, nil
}

// taken is the queue's error, which it forgets.
func (q *queue) taken() error {
	err := q.err
	q.err = nil
	return err
}

// memory records an operation on an event's word.
func (q *queue) memory(what string, function uintptr, e *event, v uint64, flags uintptr) {
	q.flush()
	defer q.host.current()()
	q.note(what, call4(function, q.stream, e.buffer.device, uintptr(v), flags))
}

// batch is a batch with events, or with those that mark will make.
func (c *commands) batch() *batch {
	n := len(c.spare)
	if n == 0 {
		return &batch{commands: c}
	}
	b := c.spare[n-1]
	c.spare = c.spare[:n-1]
	return b
}

// mark records an event in the stream, which it makes if there is none.
func (c *commands) mark(at *uintptr) error {
	defer c.current()()
	if *at == 0 {
		if err := c.driver.check("cuEventCreate", call(c.driver.eventCreate, uintptr(unsafe.Pointer(at)), 0)); err != nil {
			return err
		}
	}
	return c.driver.check("cuEventRecord", call4(c.driver.eventRecord, *at, c.queue.stream, 0, 0))
}

// Close implements [gated.Device]. The queue is not closed.
func (c *commands) Close() error {
	defer c.current()()
	events := []uintptr{c.base}
	for _, b := range c.spare {
		events = append(events, b.begin, b.end)
	}
	for _, e := range events {
		if e != 0 {
			call(c.driver.eventDestroy, e)
		}
	}
	c.spare, c.base = nil, 0
	return nil
}

// batch is what lies between two events.
type batch struct {
	*commands
	begin, end uintptr
}

// Done implements [gated.Batch].
func (b *batch) Done() (bool, error) {
	defer b.current()()
	switch r := call4(b.driver.eventQuery, b.end, 0, 0, 0); status(r) {
	case success:
		return true, nil
	case notReady:
		return false, nil
	default:
		return true, b.driver.check("a kernel failed", r)
	}
}

// Times implements [gated.Batch].
func (b *batch) Times() (begin, end time.Duration) {
	defer b.current()()
	since := func(e uintptr) time.Duration {
		var ms float32
		if call(b.driver.eventElapsed, uintptr(unsafe.Pointer(&ms)), b.base, e) != 0 {
			return 0 // the batch failed, which Done has said
		}
		return time.Duration(float64(ms) * float64(time.Millisecond))
	}
	return since(b.begin), since(b.end)
}

// Release implements [gated.Batch].
func (b *batch) Release() { b.spare = append(b.spare, b) }

// event is a word that streams wait for and set.
type event struct {
	buffer *buffer
	word   *atomic.Uint64
}

// NewEvent implements [gated.Device].
func (c *commands) NewEvent() (gated.Event, error) {
	b, err := c.Alloc(8, gpu.Mapped)
	if err != nil {
		return nil, err
	}
	clear(b.Bytes())
	return &event{b.(*buffer), (*atomic.Uint64)(unsafe.Pointer(&b.Bytes()[0]))}, nil
}

func (e *event) Set(v uint64)  { e.word.Store(v) }
func (e *event) Value() uint64 { return e.word.Load() }
func (e *event) Release()      { _ = e.buffer.Free() } // it is not in use, and was taken by NewEvent
