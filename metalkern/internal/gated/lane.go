package gated

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// Where things lie in what a lane's end has for itself: the word that says that the lane has failed, and a head like that of the lane's memory, whose words
// the device writes, with events, without being seen at once.
const (
	shadowAt = 256
	ownBytes = shadowAt + device.HeadBytes
)

// begin is where counts begin as 64 bits, so that none lies below 0.
const begin = 1 << 32

// lost is the value of the event of a lane that has failed: no count reaches it.
const lost = 1 << 62

// extend is a count as 64 bits, the nearest to another count.
func extend(near uint64, count uint32) uint64 {
	return near + uint64(int64(int32(count-uint32(near))))
}

// lane is a lane's end on this queue.
type lane struct {
	*device.Lane
	buffer gpu.Buffer // the lane's memory
	own    gpu.Buffer // of this end
	size   int
	shadow device.LaneWords
	done   func() // the memory is used no more; nil if it is the device's

	arrivals, signals Event  // with events, else nil
	told              uint64 // count that was last signalled

	mu      sync.Mutex
	ready   uint64 // value of arrivals
	awaited uint64 // count that was last waited for
	seen    uint32 // of Done, the last that the host was told of
}

// NewLane implements [gpu.Exchanger]. How the GPU waits is the queue's: the lane's Spin does not matter.
func (q *Queue) NewLane(end device.LaneEnd) (*device.Lane, error) {
	if end.Size <= 0 {
		return nil, fmt.Errorf("%s: a lane for messages of %d bytes", q.name(), end.Size)
	}
	l := &lane{size: end.Size, awaited: begin, told: begin, ready: begin}
	if err := l.take(q.device, end); err != nil {
		return nil, errors.Join(err, l.free())
	}
	var ready func()
	if !q.options.Fast {
		ready = l.arrived
		var err error
		if l.arrivals, err = q.device.NewEvent(); err == nil {
			l.arrivals.Set(begin)
			l.signals, err = q.device.NewEvent()
		}
		if err != nil {
			return nil, errors.Join(err, l.free())
		}
	}
	own := l.own.Bytes()
	l.shadow = device.WordsIn(own[shadowAt:], end.Out, nil)
	l.Lane = device.NewLane(l.buffer.Bytes(), end, (*atomic.Uint32)(unsafe.Pointer(&own[0])), ready)
	l.done = end.Free
	q.lanes[l.Lane] = l
	q.order = append(q.order, l)
	if q.watcher == nil {
		q.watcher = q.watch()
	}
	q.watcher.add(l)
	return l.Lane, nil
}

// take takes the memory of a lane's end.
func (l *lane) take(d Device, end device.LaneEnd) (err error) {
	if l.own, err = d.Alloc(ownBytes, gpu.Mapped); err != nil {
		return err
	}
	clear(l.own.Bytes())
	n := device.LaneBytes(end.Size)
	if end.Memory == nil {
		if l.buffer, err = d.Alloc(int64(n), gpu.Mapped); err == nil {
			clear(l.buffer.Bytes())
		}
		return err
	}
	sharer, ok := d.(gpu.Sharer)
	switch {
	case !ok:
		return fmt.Errorf("%s: memory cannot be shared with other processes", d.Info().Name)
	case len(end.Memory) != n:
		return fmt.Errorf("%s: a lane of %d bytes in %d bytes of memory", d.Info().Name, n, len(end.Memory))
	}
	l.buffer, err = sharer.Share(end.Memory)
	return err
}

// slot is the memory of message seq.
func (l *lane) slot(seq uint32) gpu.Range {
	return gpu.Range{Buffer: l.buffer, Offset: int64(device.SlotAt(l.size, seq))}
}

// Slot implements [gpu.Exchanger].
func (q *Queue) Slot(l *device.Lane, seq uint32) (gpu.Range, error) {
	own := q.lanes[l]
	if own == nil {
		return gpu.Range{}, errors.New(q.name() + ": the lane is not of this queue")
	}
	return own.slot(seq), nil
}

// arrived tells the GPU what the host has written to the lane's words.
func (l *lane) arrived() {
	if l.Words.Failed.Load() != 0 {
		l.raise(lost)
		return
	}
	l.mu.Lock()
	v := extend(l.ready, l.Words.Ready.Load())
	l.mu.Unlock()
	l.raise(v)
}

// raise lets the GPU go on where it waits for v or less. The gate behind finds out what it may use.
func (l *lane) raise(v uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v > l.ready {
		l.ready = v
		l.arrivals.Set(v)
	}
}

// release lets the GPU go on wherever it waits for the lane.
func (l *lane) release() {
	l.mu.Lock()
	v := l.awaited
	l.mu.Unlock()
	l.raise(v)
}

// await notes that the GPU is to wait for message seq, and returns the value that it waits for.
func (l *lane) await(seq uint32) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.awaited = extend(l.awaited, l.Needs(seq))
	return l.awaited
}

// pump tells the host what the device has signalled since. It says whether there was any.
func (l *lane) pump() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := l.Words.Done.Load()
	if l.signals != nil {
		// What the kernel has counted is in the host's memory when the event behind it says so.
		count := l.shadow.Done.Load()
		if count == done {
			return false
		}
		if v := l.signals.Value(); extend(max(v, begin), count) > v {
			return false
		}
		for c := done; c != count && l.Out; c++ {
			l.Words.Bytes[c%2].Store(l.shadow.Bytes[c%2].Load())
		}
		l.Words.Done.Store(count)
		done = count
	}
	if done == l.seen {
		return false
	}
	l.seen = done
	l.Signalled()
	return true
}

// pump tells the host what the device has signalled since on any lane, which is noted: a step that goes on is waited for.
func (q *Queue) pump(lanes []*lane, now time.Time) {
	for _, l := range lanes {
		if l.pump() {
			q.moved.Store(now.UnixNano())
		}
	}
}

// patient says that a step that has begun to wait at a time is not given up yet.
func (q *Queue) patient(since, now time.Time) bool {
	return now.Sub(since) <= q.options.Patience || now.UnixNano()-q.moved.Load() <= int64(q.options.Patience)
}

// signal is the host's, for a step that is split.
func (l *lane) signal(seq uint32, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range []*device.LaneWords{&l.shadow, &l.Words} {
		if l.Out {
			w.Bytes[seq%2].Store(uint32(n))
		}
		w.Done.Store(seq + 1)
	}
	l.seen = seq + 1
	l.Signalled()
}

func (l *lane) free() error {
	for _, e := range []Event{l.arrivals, l.signals} {
		if e != nil {
			e.Release()
		}
	}
	var errs []error
	for _, b := range []gpu.Buffer{l.buffer, l.own} {
		if b != nil {
			errs = append(errs, b.Free())
		}
	}
	if l.done != nil {
		l.done()
	}
	return errors.Join(errs...)
}

// Signal implements [gpu.Exchanger].
func (q *Queue) Signal(l *device.Lane, seq uint32, n int) {
	q.exchange(operation{kind: signals, lane: q.lanes[l], seq: seq, bytes: n})
}

// Await implements [gpu.Exchanger].
func (q *Queue) Await(l *device.Lane, seq uint32, n int) {
	q.exchange(operation{kind: awaits, lane: q.lanes[l], seq: seq, bytes: n})
}

// Receive implements [gpu.Exchanger].
func (q *Queue) Receive(l *device.Lane, seq uint32, parts ...gpu.Part) {
	n := q.sum(parts)
	q.message(operation{kind: awaits, lane: q.lanes[l], seq: seq, bytes: int(n)}, len(parts)+1, parts, func(at gpu.Range) {
		for _, p := range parts {
			q.copy(p.At, at, p.Bytes)
			at.Offset += p.Bytes
		}
		q.add(operation{kind: signals, lane: q.lanes[l], seq: seq})
	})
}

// Send implements [gpu.Exchanger].
func (q *Queue) Send(l *device.Lane, seq uint32, part gpu.Part) {
	n := q.sum([]gpu.Part{part})
	q.message(operation{kind: sends, lane: q.lanes[l], seq: seq, bytes: int(n)}, 2, []gpu.Part{part}, func(at gpu.Range) {
		q.copy(at, part.At, n)
		q.add(operation{kind: signals, lane: q.lanes[l], seq: seq, bytes: int(n)})
	})
}

// message records an operation that is followed by others, which may be fused with it.
func (q *Queue) message(o operation, behind int, parts []gpu.Part, record func(slot gpu.Range)) {
	if !q.fits(o) || q.err != nil {
		return
	}
	q.tighten()
	q.talks = true
	if q.options.Coherent && o.bytes <= fusedMost {
		o.parts, o.fused = q.now().arena.keepParts(parts), behind
	}
	q.add(o)
	record(o.lane.slot(o.seq))
	q.begin()
}

// sum is the size of a message's parts, which must be of whole words.
func (q *Queue) sum(parts []gpu.Part) (n int64) {
	if len(parts) == 0 || len(parts) > mostParts {
		q.fail(fmt.Errorf("%s: a message of %d parts", q.name(), len(parts)))
	}
	for _, p := range parts {
		if q.inside(p.At, p.Bytes) && (p.Bytes == 0 || (p.Bytes|p.At.Offset)%4 != 0) {
			q.fail(fmt.Errorf("%s: a part of %d bytes of a message, which begins at %d", q.name(), p.Bytes, p.At.Offset))
		}
		n += p.Bytes
	}
	return n
}

func (q *Queue) exchange(o operation) {
	if q.fits(o) {
		q.tighten()
		q.talks = true
		q.record(o)
	}
}

// fits says whether a message of an operation may be on its lane.
func (q *Queue) fits(o operation) bool {
	if o.lane == nil || o.bytes < 0 || o.bytes > o.lane.size {
		q.fail(fmt.Errorf("%s: a message of %d bytes on a lane that is not of this queue, or is for shorter ones", q.name(), o.bytes))
		return false
	}
	return true
}
