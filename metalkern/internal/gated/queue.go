package gated

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// Options are how a queue waits for messages.
type Options struct {
	// Fast lets gates spin, on devices whose kernels see what the host writes meanwhile. Otherwise the GPU waits for events.
	Fast bool
	// Coherent says that kernels and the processor see in mapped memory what the other has written, behind a fence and without more.
	Coherent bool
	// Halts says that launches look at [Step].Halt; they need no sizes in memory then.
	Halts bool
	// Looks is how often a spinning gate looks for its message, at most: the bound that holds if the host itself is stopped.
	Looks uint32
	// Patience is how long the host lets gates spin, or events be waited for, in one Wait while nothing is signalled, before it splits the step.
	Patience time.Duration
}

// MaxFlying is how many batches run at the same time, but for those that fences and a wait submit: MostBatches at most.
const (
	MaxFlying   = 256
	MostBatches = MaxFlying + gpu.MostFences + 1
)

const (
	batchLaunches = 64 // operations that are recorded before they are submitted
	firstLaunches = 16 // before the first batch of a step, so that it begins soon
	eventLooks    = 64 // of a gate behind an event
	fusedThreads  = 512
	fusedMost     = 256 << 10 // bytes of a message that one group copies
	stageChunk    = 1 << 20
	stageKept     = 32 << 20
	gridChunk     = 1024 * gridBytes
	gridKept      = 16 * gridChunk
	gridBytes     = 12
	maxArgs       = 16
	controlBytes  = 256
	goAt          = 64 // of the control buffer: what halts are restored from
	closeTimeout  = 10 * time.Second
)

// control is the words of the queue in gate.metal.
type control struct{ abort, poison, place uint32 }

// Queue is a [gpu.Queue] whose launches may depend on messages. Like those it belongs to one goroutine.
type Queue struct {
	device  Device
	options Options
	kernels kernels
	control gpu.Buffer
	words   *control
	halt    gpu.Buffer // three words that are 0 once a gate has poisoned the step; nil without Halts
	halted  bool       // they may be 0, and nothing runs
	lanes   map[*device.Lane]*lane
	order   []*lane      // in which they were made
	watcher *watcher     // nil without lanes
	moved   atomic.Int64 // when it was last seen that the device has signalled, in nanoseconds of Unix time

	// What has been recorded and has not ended: since Wait returned, behind the last part that Reach has returned for.
	list    []operation
	base    uint32               // operations recorded before the first of list
	next    int                  // the first operation that has not been submitted
	waits   bool                 // whether an await has been submitted
	talks   bool                 // whether a message has been recorded
	split   bool                 // whether the host waits for messages
	given   int                  // in list, the end of what was submitted when the step was poisoned: all of it goes on split, so that no event is set to less than it is
	parts   [gpu.MostFences]part // by turns, so that the memory of one is used again when it has ended
	current int                  // of parts, the one that is recorded
	fences  []fence              // not forgotten

	flying []flight // submitted, not ended, the first first
	stuck  bool     // what flies is of a step that was given up at its deadline; nothing is submitted until it has ended
	steps  []Step
	gates  []*gateParams // among the steps
	blank  gpu.Call
	err    error

	marks []int // batches with times that were submitted before
	timed int   // batches with times, submitted
	times []span
}

// read is to be made when the step has run.
type read struct {
	dst []byte
	src gpu.Range
}

type span struct{ begin, end time.Duration }

// flight is a batch that runs.
type flight struct {
	batch Batch
	end   int // in list, of its operations
	timed bool
	gated bool // it has a gate that waits
}

var (
	_ gpu.Exchanger = (*Queue)(nil)
	_ gpu.Fencer    = (*Queue)(nil)
)

// New makes a queue of a device, which its Close closes.
func New(d Device, o Options) (*Queue, error) {
	k, err := compile(d, o.Coherent)
	if err != nil {
		return nil, err
	}
	b, err := d.Alloc(controlBytes, gpu.Mapped)
	if err != nil {
		return nil, err
	}
	clear(b.Bytes())
	q := &Queue{device: d, options: o, kernels: k, control: b, words: (*control)(unsafe.Pointer(&b.Bytes()[0])), lanes: map[*device.Lane]*lane{}}
	if !o.Halts {
		return q, nil
	}
	for i := range gridBytes {
		b.Bytes()[goAt+i] = 1
	}
	if q.halt, err = d.Alloc(gridBytes, gpu.Local); err != nil {
		return nil, errors.Join(err, b.Free())
	}
	q.halted = true
	return q, nil
}

func (q *Queue) fail(err error) {
	if q.err == nil {
		q.err = err
	}
}

func (q *Queue) name() string { return q.device.Info().Name }

// Idle says that nothing is recorded, and nothing runs or is to be reached.
func (q *Queue) Idle() bool {
	return len(q.list) == 0 && len(q.flying) == 0 && len(q.now().reads) == 0 && len(q.fences) == 0
}

// record adds an operation to the step.
func (q *Queue) record(o operation) {
	q.add(o)
	q.begin()
}

// add is record without more: nothing is submitted.
func (q *Queue) add(o operation) {
	q.list = append(q.list, o)
}

// begin submits what was recorded, once it is enough.
func (q *Queue) begin() {
	if n := len(q.list) - q.next; n < firstLaunches || q.next > 0 && n < batchLaunches {
		return
	}
	q.Submit()
}

// Next implements [gpu.Queue].
func (q *Queue) Next() *gpu.Call { return &q.blank }

// Launch implements [gpu.Queue].
func (q *Queue) Launch(c *gpu.Call) {
	k, g := c.Kernel, c.Grid
	if k == nil || len(c.Buffers) >= maxArgs || len(c.Value) > maxValue || g.X <= 0 || g.Y <= 0 || g.Z <= 0 || g.Threads <= 0 || g.Threads%gpu.SimdWidth != 0 || g.Pool < 0 {
		q.fail(fmt.Errorf("%s: launch of %v over [%d][%d][%d] groups of %d threads with %d buffers, a value of %d bytes and %d bytes of threadgroup memory", q.name(), k, g.X, g.Y, g.Z, g.Threads, len(c.Buffers), len(c.Value), g.Pool))
		return
	}
	for i, b := range c.Buffers {
		if b.Buffer == nil || b.Offset < 0 || b.Offset > b.Buffer.Len() {
			q.fail(fmt.Errorf("%s: argument %d of %s is not a place in a buffer", q.name(), i, k.Name()))
			return
		}
	}
	q.tighten()
	q.record(operation{call: q.now().arena.keep(k, g, c.Buffers, c.Value)})
}

// inside says whether n bytes of a buffer begin at the offset.
func (q *Queue) inside(r gpu.Range, n int64) bool {
	if r.Buffer == nil || r.Offset < 0 || n < 0 || r.Offset > r.Buffer.Len()-n {
		q.fail(fmt.Errorf("%s: a copy of %d bytes reaches outside of its buffer", q.name(), n))
		return false
	}
	return true
}

// bytes is n bytes of a buffer that the host addresses, or nil.
func bytes(r gpu.Range, n int) []byte {
	if b := r.Buffer.Bytes(); b != nil {
		return b[r.Offset : r.Offset+int64(n)]
	}
	return nil
}

// Write implements [gpu.Queue].
func (q *Queue) Write(dst gpu.Range, src []byte) {
	if !q.inside(dst, int64(len(src))) || len(src) == 0 {
		return
	}
	if to := bytes(dst, len(src)); to != nil && q.Idle() {
		copy(to, src)
		return
	}
	from, err := q.now().stage.take(q.device, int64(len(src)), stageChunk)
	if err != nil {
		q.fail(err)
		return
	}
	copy(bytes(from, len(src)), src)
	q.Copy(dst, from, int64(len(src)))
}

// Read implements [gpu.Queue].
func (q *Queue) Read(dst []byte, src gpu.Range) {
	if !q.inside(src, int64(len(dst))) || len(dst) == 0 {
		return
	}
	from := bytes(src, len(dst))
	if from != nil && q.Idle() {
		copy(dst, from)
		return
	}
	p := q.now()
	p.reads = append(p.reads, read{dst, src})
	p.loose++
	if from == nil {
		q.tighten()
	}
}

// tighten copies what the last reads read, because what is recorded next may change it.
func (q *Queue) tighten() {
	for p := q.now(); p.loose > 0; {
		r := &p.reads[len(p.reads)-p.loose]
		p.loose--
		n := int64(len(r.dst))
		to, err := q.now().stage.take(q.device, n, stageChunk)
		if err != nil {
			q.fail(err)
			return
		}
		q.copy(to, r.src, n)
		q.begin()
		r.src = to
	}
}

// Copy implements [gpu.Queue].
func (q *Queue) Copy(dst, src gpu.Range, n int64) {
	if !q.inside(dst, n) || !q.inside(src, n) || n == 0 {
		return
	}
	q.tighten()
	q.copy(dst, src, n)
	q.begin()
}

func (q *Queue) copy(dst, src gpu.Range, n int64) {
	p := copyParams{n: uint64(n), wide: wide(dst.Offset, src.Offset)}
	q.add(operation{call: call(&q.now().arena, q.kernels.copy, copyGrid(n), gpu.Buffers(src, dst), p)})
}

// copyGrid is the size of the launch that copies n bytes.
func copyGrid(n int64) gpu.Grid {
	return gpu.Grid{X: int((n + copyBytes - 1) / copyBytes), Y: 1, Z: 1, Threads: 256}
}

// Submit gives the GPU what has been recorded, unless MaxFlying batches run.
func (q *Queue) Submit() {
	if q.reap(); len(q.flying) < MaxFlying {
		q.submit(len(q.list))
	}
}

// Mark implements [gpu.Queue]. What lies before a mark that comes when MaxFlying batches run is counted to what follows.
func (q *Queue) Mark() int {
	q.Submit()
	q.marks = append(q.marks, q.timed)
	return len(q.marks) - 1
}

// Elapsed implements [gpu.Queue]: from the begin of the first batch after the one mark to the end of the last before the other.
func (q *Queue) Elapsed(from, to int) (time.Duration, error) {
	if from < 0 || to < 0 || from >= len(q.marks) || to >= len(q.marks) || q.marks[to] > len(q.times) {
		return 0, fmt.Errorf("%s: marks %d and %d of %d that have run", q.name(), from, to, len(q.marks))
	}
	if q.marks[from] >= q.marks[to] {
		return 0, nil
	}
	return q.times[q.marks[to]-1].end - q.times[q.marks[from]].begin, nil
}

// ResetMarks implements [gpu.Queue].
func (q *Queue) ResetMarks() { q.marks, q.times, q.timed = q.marks[:0], q.times[:0], 0 }

// Close implements [gpu.Queue].
func (q *Queue) Close() error {
	q.forget()
	err := q.Wait(time.Now().Add(closeTimeout))
	if len(q.flying) > 0 {
		return err // it still uses all of it
	}
	if q.watcher != nil {
		q.watcher.end()
	}
	errs := []error{err, q.control.Free()}
	for i := range q.parts {
		errs = append(errs, q.parts[i].stage.reset(0), q.parts[i].grids.reset(0))
	}
	if q.halt != nil {
		errs = append(errs, q.halt.Free())
	}
	for _, l := range q.order {
		errs = append(errs, l.free())
	}
	return errors.Join(append(errs, q.device.Close())...)
}
