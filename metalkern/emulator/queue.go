package emulator

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

const (
	maxArgs      = 16
	errorBytes   = 512
	valueAlign   = 16
	maxValueSize = 4096
)

// queue keeps what it is given, and runs it in Wait.
type queue struct {
	host    *Host
	pending []func(deadline time.Time) error
	err     error
	fences  []int // how many of pending are before each
	marks   []time.Time
	marked  int // marks given out
	blank   gpu.Call
}

var _ gpu.Fencer = (*queue)(nil)

// launch is what emu_launch takes.
type launch struct {
	kernel                                uintptr
	x, y, z, threads, pool, limit, order_ uint32
	workers                               uint32
	timeoutMillis                         uint64
	args                                  unsafe.Pointer
	argCount                              uint64
	message                               unsafe.Pointer
	messageSize                           uint64
}

func (q *queue) fail(err error) {
	if q.err == nil {
		q.err = err
	}
}

// Next implements [gpu.Queue].
func (q *queue) Next() *gpu.Call { return &q.blank }

// Launch implements [gpu.Queue].
func (q *queue) Launch(c *gpu.Call) {
	own, ok := c.Kernel.(*kernel)
	g := c.Grid
	if !ok || len(c.Buffers) >= maxArgs || len(c.Value) > maxValueSize || g.X <= 0 || g.Y <= 0 || g.Z <= 0 {
		q.fail(fmt.Errorf("emulator: launch of %v over [%d][%d][%d] groups with %d buffers and a value of %d bytes", c.Kernel, g.X, g.Y, g.Z, len(c.Buffers), len(c.Value)))
		return
	}
	addresses := make([]unsafe.Pointer, 0, maxArgs)
	for i, r := range c.Buffers {
		b, ok := r.Buffer.(*buffer)
		if !ok || b.data == nil || r.Offset < 0 || r.Offset > b.size {
			q.fail(fmt.Errorf("emulator: argument %d of %s is not a buffer, or begins past its end", i, own.name))
			return
		}
		addresses = append(addresses, unsafe.Add(b.data, r.Offset))
	}
	if n := len(c.Value); n > 0 {
		value := make([]byte, n+valueAlign)
		at := -int(uintptr(unsafe.Pointer(&value[0]))) & (valueAlign - 1)
		copy(value[at:], c.Value)
		addresses = append(addresses, unsafe.Pointer(&value[at]))
	}
	order := q.host.order.Load()
	q.pending = append(q.pending, func(deadline time.Time) error {
		message := make([]byte, errorBytes)
		l := &launch{
			kernel: own.entry, x: uint32(g.X), y: uint32(g.Y), z: uint32(g.Z), threads: uint32(g.Threads), pool: uint32(g.Pool),
			limit: uint32(poolBytes[q.host.target]), order_: order, workers: uint32(min(runtime.NumCPU(), g.X*g.Y*g.Z)),
			timeoutMillis: uint64(max(1, time.Until(deadline).Milliseconds())),
			args:          unsafe.Pointer(unsafe.SliceData(addresses)), argCount: uint64(len(addresses)),
			message: unsafe.Pointer(&message[0]), messageSize: errorBytes,
		}
		r, _, _ := purego.SyscallN(library.run, uintptr(unsafe.Pointer(l)))
		runtime.KeepAlive(l)
		runtime.KeepAlive(addresses)
		switch uint32(r) {
		case 0:
			return nil
		case 2:
			return &gpu.TimeoutError{Device: "the emulator, in " + own.name + ","}
		}
		text, _, _ := bytes.Cut(message, []byte{0})
		return fmt.Errorf("emulator: %s: %s", own.name, text)
	})
}

// inside reports whether n bytes of a buffer begin at the offset, and where.
func inside(r gpu.Range, n int64) ([]byte, bool) {
	b, ok := r.Buffer.(*buffer)
	if !ok || b.data == nil || r.Offset < 0 || n < 0 || r.Offset > b.size-n {
		return nil, false
	}
	return b.Bytes()[r.Offset : r.Offset+n], true
}

func (q *queue) copy(dst, src []byte, ok bool) {
	if !ok {
		q.fail(fmt.Errorf("emulator: a copy of %d bytes to %d reaches outside of its buffer", len(src), len(dst)))
		return
	}
	q.pending = append(q.pending, func(time.Time) error { copy(dst, src); return nil })
}

// Write implements [gpu.Queue].
func (q *queue) Write(dst gpu.Range, src []byte) {
	to, ok := inside(dst, int64(len(src)))
	q.copy(to, src, ok)
}

// Read implements [gpu.Queue].
func (q *queue) Read(dst []byte, src gpu.Range) {
	from, ok := inside(src, int64(len(dst)))
	q.copy(dst, from, ok)
}

// Copy implements [gpu.Queue].
func (q *queue) Copy(dst, src gpu.Range, n int64) {
	to, ok := inside(dst, n)
	from, also := inside(src, n)
	q.copy(to, from, ok && also)
}

// Mark implements [gpu.Queue].
func (q *queue) Mark() int {
	q.pending = append(q.pending, func(time.Time) error { q.marks = append(q.marks, time.Now()); return nil })
	q.marked++
	return q.marked - 1
}

// Elapsed implements [gpu.Queue].
func (q *queue) Elapsed(from, to int) (time.Duration, error) {
	if from < 0 || to < 0 || from >= len(q.marks) || to >= len(q.marks) {
		return 0, fmt.Errorf("emulator: marks %d and %d of %d that have run", from, to, len(q.marks))
	}
	return q.marks[to].Sub(q.marks[from]), nil
}

// ResetMarks implements [gpu.Queue].
func (q *queue) ResetMarks() { q.marks, q.marked = q.marks[:0], 0 }

// Fence implements [gpu.Fencer].
func (q *queue) Fence() {
	if len(q.fences) == gpu.MostFences {
		q.fail(errors.New("emulator: a fence beyond those that there may be"))
		return
	}
	q.fences = append(q.fences, len(q.pending))
}

// Reached implements [gpu.Fencer]. Everything runs in Reach, so there is nothing to wait for before.
func (q *queue) Reached() bool { return true }

// Reach implements [gpu.Fencer].
func (q *queue) Reach(deadline time.Time) error {
	if len(q.fences) == 0 {
		return q.run(0, deadline)
	}
	n := q.fences[0]
	q.fences = q.fences[1:]
	return q.run(n, deadline)
}

// Wait implements [gpu.Queue].
func (q *queue) Wait(deadline time.Time) error { return q.run(len(q.pending), deadline) }

// run runs the first n of what is pending. If one fails the others do not run.
func (q *queue) run(n int, deadline time.Time) error {
	err := q.err
	for _, run := range q.pending[:n] {
		if err != nil {
			break
		}
		if !time.Now().Before(deadline) {
			err = &gpu.TimeoutError{Device: "the emulator"}
			break
		}
		err = run(deadline)
	}
	q.pending, q.err = append(q.pending[:0], q.pending[n:]...), nil
	for i := range q.fences {
		q.fences[i] = max(q.fences[i]-n, 0)
	}
	return err
}

// Close implements [gpu.Queue].
func (q *queue) Close() error {
	q.pending = nil
	return nil
}
