package verbs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
)

// ErrNoChannels says that the library has no completion channels: completions can only be polled for.
var ErrNoChannels = errors.New("the library has no completion channels")

// Channel tells that there are completions, through a file.
type Channel struct {
	c   *Context
	ptr uintptr
	out [2]uintptr // where ibv_get_cq_event puts the queue and its context

	eventArgs, ackArgs []uintptr
}

// Channel makes a completion channel. The error is [ErrNoChannels] if the library has none.
func (c *Context) Channel() (*Channel, error) {
	l := c.l
	if l.createChannel == 0 || l.destroyChannel == 0 || l.getCQEvent == 0 || l.ackCQEv == 0 {
		return nil, ErrNoChannels
	}
	ptr, err := object("ibv_create_comp_channel", l.createChannel, c.ptr)
	if err != nil {
		return nil, err
	}
	ch := &Channel{c: c, ptr: ptr, ackArgs: []uintptr{0, 1}}
	ch.eventArgs = []uintptr{ptr, uintptr(unsafe.Pointer(&ch.out[0])), uintptr(unsafe.Pointer(&ch.out[1]))}
	return ch, nil
}

// File is a file that becomes readable at an event, which [Channel.Event] takes. It does not block, and Go's
// runtime waits for it; reading from it any other way breaks the channel. It is a duplicate: the caller
// closes it, and the channel.
func (ch *Channel) File() (*os.File, error) {
	fd, err := syscall.Dup(int(in[cChannel](ch.ptr).fd))
	if err == nil {
		syscall.CloseOnExec(fd)
		err = syscall.SetNonblock(fd, true) // shared with the channel's own descriptor
	}
	if err != nil {
		return nil, fmt.Errorf("completion channel: %w", err)
	}
	return os.NewFile(uintptr(fd), "completion channel"), nil
}

// Event takes an event, if there is one, and acknowledges it. It does not wait once File was called.
func (ch *Channel) Event() (bool, error) {
	runtime.LockOSThread() // errno is the thread's
	defer runtime.UnlockOSThread()
	r, _, told := purego.SyscallN(ch.c.l.getCQEvent, ch.eventArgs...)
	if int32(r) == 0 {
		ch.ackArgs[0] = ch.out[0]
		purego.SyscallN(ch.c.l.ackCQEv, ch.ackArgs...)
		return true, nil
	}
	if errno := lastError(told); errno != syscall.EAGAIN && errno != syscall.EINTR {
		return false, &Error{"ibv_get_cq_event", errno}
	}
	return false, nil
}

// Close ends the channel, after its queues.
func (ch *Channel) Close() error {
	return status("ibv_destroy_comp_channel", ch.c.l.destroyChannel, ch.ptr)
}

// Opcode is what a completed work request was: enum ibv_wc_opcode.
type Opcode int32

// The kinds of completions of this package's work requests.
const (
	Sent     Opcode = 0
	Received Opcode = 1 << 7
)

// Completion is the end of a work request: struct ibv_wc. If Status is not [Success], only ID, Status and
// Vendor mean anything.
type Completion struct {
	ID     uint64 // as given when it was posted
	Status Status
	Opcode Opcode
	Vendor uint32 // the adapter's own error number
	Bytes  uint32 // received
	_      [6]uint32
}

// CQ is a completion queue.
type CQ struct {
	c            *Context
	ptr          uintptr
	poll, notify uintptr

	entries    []Completion
	pollArgs   []uintptr
	notifyArgs []uintptr
}

// CQ makes a queue for so many completions at a time; more would be lost, and break it. [CQ.Poll] returns at
// most batch of them. The channel may be nil.
func (c *Context) CQ(depth, batch int, ch *Channel) (*CQ, error) {
	channel := uintptr(0)
	if ch != nil {
		channel = ch.ptr
	}
	ptr, err := object("ibv_create_cq", c.l.createCQ, c.ptr, uintptr(int32(depth)), 0, channel, 0)
	if err != nil {
		return nil, err
	}
	ops := &in[cContext](in[cCQ](ptr).context).ops
	q := &CQ{c: c, ptr: ptr, poll: ops.pollCQ, notify: ops.reqNotifyCQ, entries: make([]Completion, batch)}
	q.pollArgs = []uintptr{ptr, uintptr(batch), uintptr(unsafe.Pointer(&q.entries[0]))}
	q.notifyArgs = []uintptr{ptr, 0}
	return q, nil
}

// Poll takes what is complete off the queue, without waiting. The result is valid until the next call.
func (q *CQ) Poll() ([]Completion, error) {
	r, _, _ := purego.SyscallN(q.poll, q.pollArgs...)
	n := int32(r)
	if n < 0 {
		return nil, result("ibv_poll_cq", n)
	}
	return q.entries[:n], nil
}

// Notify asks for one event on the channel at the next completion; with solicited, at the next message
// received that its sender has marked as solicited, or the next failure. A completion that came before gives
// none: poll once more before waiting.
func (q *CQ) Notify(solicited bool) error {
	q.notifyArgs[1] = 0
	if solicited {
		q.notifyArgs[1] = 1
	}
	r, _, _ := purego.SyscallN(q.notify, q.notifyArgs...)
	return result("ibv_req_notify_cq", int32(r))
}

// Close ends the queue, after its queue pairs.
func (q *CQ) Close() error { return status("ibv_destroy_cq", q.c.l.destroyCQ, q.ptr) }
