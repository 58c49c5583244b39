//go:build linux

package cuda

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/internal/nap"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

const (
	// napFor is how long a wait sleeps between polls.
	napFor = 50 * time.Microsecond
	// closeTimeout bounds Close.
	closeTimeout = 10 * time.Second
	// eventNoTiming is CU_EVENT_DISABLE_TIMING.
	eventNoTiming = 2
)

// queue is a stream. Launches are recorded, and given to it some at a time.
type queue struct {
	host     *Host
	stream   uintptr
	err      error
	events   []uintptr // taken so far; the first marked of them are in use
	marked   int
	recorded recording
	graphs   graphs

	fences     [gpu.MostFences]uintptr // events; fenced of them from firstFence on are not reached
	firstFence int
	fenced     int

	ungraphed bool // the driver has refused to make a graph
	watch     nap.Watch

	halt   uintptr                     // where the word lies that stops the launches that come next, or 0
	params [maxArgs + 1]unsafe.Pointer // what the driver takes
	config launchConfig                // likewise
	node   nodeParams                  // likewise
	call   gpu.Call                    // the next
}

var _ gpu.Fencer = (*queue)(nil)

// newQueue makes a stream.
func (h *Host) newQueue() (*queue, error) {
	defer h.current()()
	q := &queue{host: h, graphs: newGraphs()}
	if err := h.driver.check("cuStreamCreate", call(h.driver.streamCreate, uintptr(unsafe.Pointer(&q.stream)), streamNotBlocking)); err != nil {
		return nil, err
	}
	return q, nil
}

func (q *queue) fail(err error) {
	if q.err == nil {
		q.err = err
	}
}

func (q *queue) note(what string, r int32) {
	if r != 0 {
		q.fail(q.host.driver.check(what, r))
	}
}

// allow lets launches of k have so much threadgroup memory.
func (k *kernel) allow(pool int) error {
	if int64(pool) <= k.pool.Load() {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if int64(pool) <= k.pool.Load() { // another queue has asked meanwhile
		return nil
	}
	defer k.host.current()()
	d := k.host.driver
	if err := d.check(fmt.Sprintf("%s with %d bytes of shared memory", k.name, pool), call(d.functionSet, k.function, functionPoolBytes, uintptr(pool))); err != nil {
		return err
	}
	k.pool.Store(int64(pool))
	return nil
}

// Next implements [gpu.Queue].
func (q *queue) Next() *gpu.Call { return &q.call }

// Launch implements [gpu.Queue].
func (q *queue) Launch(c *gpu.Call) {
	own, ok := c.Kernel.(*kernel)
	if !ok || len(c.Buffers) >= maxArgs {
		q.fail(fmt.Errorf("cuda: launch of %v with %d buffers", c.Kernel, len(c.Buffers)))
		return
	}
	if q.err != nil {
		return
	}
	if err := own.allow(c.Grid.Pool); err != nil {
		q.fail(err)
		return
	}
	if err := q.recorded.add(own, c, q.halt); err != nil {
		q.fail(err)
		return
	}
	if len(q.recorded.launches) == mostRecorded {
		q.flush()
	}
}

// inside is the address of n bytes of a buffer from the offset on.
func (q *queue) inside(r gpu.Range, n int) uintptr {
	b, ok := r.Buffer.(*buffer)
	if !ok || b.device == 0 || r.Offset < 0 || n < 0 || r.Offset > b.size-int64(n) {
		q.fail(fmt.Errorf("cuda: a copy of %d bytes reaches outside of its buffer", n))
		return 0
	}
	return b.device + uintptr(r.Offset)
}

// Write implements [gpu.Queue].
func (q *queue) Write(dst gpu.Range, src []byte) {
	to := q.inside(dst, len(src))
	if to == 0 || len(src) == 0 {
		return
	}
	q.flush()
	defer q.host.current()()
	q.note("a copy to the device", call4(q.host.driver.copyTo, to, uintptr(unsafe.Pointer(&src[0])), uintptr(len(src)), q.stream))
}

// Read implements [gpu.Queue].
func (q *queue) Read(dst []byte, src gpu.Range) {
	from := q.inside(src, len(dst))
	if from == 0 || len(dst) == 0 {
		return
	}
	q.flush()
	defer q.host.current()()
	q.note("a copy from the device", call4(q.host.driver.copyFrom, uintptr(unsafe.Pointer(&dst[0])), from, uintptr(len(dst)), q.stream))
}

// Copy implements [gpu.Queue].
func (q *queue) Copy(dst, src gpu.Range, n int64) {
	to, from := q.inside(dst, int(n)), q.inside(src, int(n))
	if to == 0 || from == 0 || n == 0 {
		return
	}
	q.flush()
	defer q.host.current()()
	q.note("a copy on the device", call4(q.host.driver.copyWithin, to, from, uintptr(n), q.stream))
}

// Mark implements [gpu.Queue].
func (q *queue) Mark() int {
	q.flush()
	defer q.host.current()()
	d := q.host.driver
	if q.marked == len(q.events) {
		var e uintptr
		q.note("cuEventCreate", call(d.eventCreate, uintptr(unsafe.Pointer(&e)), 0))
		q.events = append(q.events, e)
	}
	q.note("cuEventRecord", call4(d.eventRecord, q.events[q.marked], q.stream, 0, 0))
	q.marked++
	return q.marked - 1
}

// Elapsed implements [gpu.Queue].
func (q *queue) Elapsed(from, to int) (time.Duration, error) {
	if from < 0 || to < 0 || from >= q.marked || to >= q.marked {
		return 0, fmt.Errorf("cuda: marks %d and %d of %d", from, to, q.marked)
	}
	defer q.host.current()()
	d := q.host.driver
	var ms float32
	if err := d.check("cuEventElapsedTime", call(d.eventElapsed, uintptr(unsafe.Pointer(&ms)), q.events[from], q.events[to])); err != nil {
		return 0, err
	}
	return time.Duration(float64(ms) * float64(time.Millisecond)), nil
}

// ResetMarks implements [gpu.Queue].
func (q *queue) ResetMarks() { q.marked = 0 }

// Fence implements [gpu.Fencer].
func (q *queue) Fence() {
	q.flush()
	if q.fenced == len(q.fences) {
		q.fail(errors.New("cuda: a fence beyond those that there may be"))
		return
	}
	defer q.host.current()()
	d, e := q.host.driver, &q.fences[(q.firstFence+q.fenced)%len(q.fences)]
	if *e == 0 {
		q.note("cuEventCreate", call(d.eventCreate, uintptr(unsafe.Pointer(e)), eventNoTiming))
	}
	q.note("cuEventRecord", call4(d.eventRecord, *e, q.stream, 0, 0))
	q.fenced++
}

// Reached implements [gpu.Fencer].
func (q *queue) Reached() bool {
	return q.fenced == 0 || q.err != nil || status(q.query(q.host.driver.eventQuery, q.fences[q.firstFence])) != notReady
}

// Reach implements [gpu.Fencer].
func (q *queue) Reach(deadline time.Time) error {
	err := q.err
	q.err = nil
	if q.fenced == 0 {
		return err
	}
	failed := q.until(q.host.driver.eventQuery, q.fences[q.firstFence], deadline)
	q.firstFence, q.fenced = (q.firstFence+1)%len(q.fences), q.fenced-1
	if err == nil {
		err = failed
	}
	return err
}

// Wait implements [gpu.Queue].
func (q *queue) Wait(deadline time.Time) error {
	q.flush()
	err := q.err
	q.err = nil
	failed := q.until(q.host.driver.streamQuery, q.stream, deadline)
	if failed == nil {
		q.tidy()
	}
	if err == nil {
		err = failed
	}
	return err
}

// query asks the driver how far a stream or an event has come.
func (q *queue) query(function, of uintptr) int32 {
	defer q.host.current()()
	return call4(function, of, 0, 0, 0)
}

// until waits until a stream or an event has come to its end.
func (q *queue) until(function, of uintptr, deadline time.Time) error {
	start := time.Now()
	for {
		r := q.query(function, of)
		switch {
		case status(r) == success:
			q.watch.Ended()
			return nil
		case status(r) != notReady:
			return q.host.driver.check("a kernel failed", r)
		}
		now := time.Now()
		if now.After(deadline) {
			return &gpu.TimeoutError{Device: q.host.info.Name}
		}
		if q.watch.Naps(now.Sub(start)) {
			nap.For(napFor)
		}
	}
}

// tidy gives back graphs that have not been used for long. Nothing is running.
func (q *queue) tidy() {
	for _, g := range q.graphs.oldest() {
		release := q.host.current()
		q.destroy(g)
		release()
	}
}

// Close implements [gpu.Queue].
func (q *queue) Close() error {
	err := q.Wait(time.Now().Add(closeTimeout))
	defer q.host.current()()
	for _, g := range q.graphs.all {
		q.destroy(g)
	}
	for _, e := range append(q.events, q.fences[:]...) {
		if e == 0 {
			continue
		}
		call(q.host.driver.eventDestroy, e)
	}
	call(q.host.driver.streamDestroy, q.stream)
	return err
}
