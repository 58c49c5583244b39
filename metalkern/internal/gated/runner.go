package gated

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/internal/nap"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

const (
	// launchLimit is the longest that a launch of a runner may take.
	launchLimit = time.Minute
	// eventNap is how long a runner sleeps between two looks at an event.
	eventNap = 20 * time.Microsecond
)

// Runner is a [Device] that runs batches on a plain queue of a host, launch by launch, on a goroutine of its own. Closing it closes the queue, and
// not the host.
type Runner struct {
	gpu.Host
	queue gpu.Queue
	work  chan *ran
	done  sync.WaitGroup
	start time.Time
	spare []*ran // released
}

var (
	_ Device     = (*Runner)(nil)
	_ gpu.Sharer = (*Runner)(nil)
)

// NewRunner makes a runner, which uses the queue from then on.
func NewRunner(h gpu.Host, q gpu.Queue) *Runner {
	r := &Runner{Host: h, queue: q, work: make(chan *ran, MostBatches), start: time.Now()}
	r.done.Go(func() {
		for b := range r.work {
			begin, err := time.Since(r.start), r.run(b.steps)
			b.mu.Lock()
			b.done, b.err, b.begin, b.end = true, err, begin, time.Since(r.start)
			b.mu.Unlock()
		}
	})
	return r
}

// Share implements [gpu.Sharer], if the host does.
func (r *Runner) Share(memory []byte) (gpu.Buffer, error) {
	if s, ok := r.Host.(gpu.Sharer); ok {
		return s.Share(memory)
	}
	return nil, fmt.Errorf("%s: memory cannot be shared with other processes", r.Info().Name)
}

// Close implements [Device].
func (r *Runner) Close() error {
	close(r.work)
	r.done.Wait()
	return r.queue.Close()
}

func (r *Runner) run(steps []Step) error {
	for i := range steps {
		s := &steps[i]
		switch {
		case s.Wait != nil:
			if err := await(s.Wait, s.Count); err != nil {
				return err
			}
			continue
		case s.Signal != nil:
			s.Signal.Set(s.Count)
			continue
		}
		g, runs := s.size()
		if !runs {
			continue
		}
		s.Grid = g
		r.queue.Launch(&s.Call)
		if err := r.queue.Wait(time.Now().Add(launchLimit)); err != nil {
			return err
		}
	}
	return nil
}

// await waits for an event. Who has recorded it raises it before the limit, whatever happens.
func await(e Event, v uint64) error {
	for end := time.Now().Add(launchLimit); e.Value() < v; nap.For(eventNap) {
		if time.Now().After(end) {
			return errors.New("gated: an event was not reached in time")
		}
	}
	return nil
}

// size is that of a launch when its turn has come; false if it does nothing.
func (s *Step) size() (gpu.Grid, bool) {
	g := s.Grid
	if s.Groups.Buffer != nil {
		n := bytes(s.Groups, gridBytes)
		g.X, g.Y, g.Z = int(binary.LittleEndian.Uint32(n)), int(binary.LittleEndian.Uint32(n[4:])), int(binary.LittleEndian.Uint32(n[8:]))
	}
	halted := s.Halt.Buffer != nil && binary.LittleEndian.Uint32(bytes(s.Halt, 4)) == 0
	return g, g.X*g.Y*g.Z != 0 && !halted
}

// batch is one that was released, or a new one.
func (r *Runner) batch() *ran {
	n := len(r.spare)
	if n == 0 {
		return &ran{runner: r}
	}
	b := r.spare[n-1]
	r.spare = r.spare[:n-1]
	return b
}

// Submit implements [Device].
func (r *Runner) Submit(steps []Step) (Batch, error) {
	b := r.batch()
	b.steps, b.done, b.err = append(b.steps[:0], steps...), false, nil
	b.arena.reset()
	for i := range b.steps { // the queue may reuse what arguments lie in
		c := &b.steps[i].Call
		*c = b.arena.keep(c.Kernel, c.Grid, c.Buffers, c.Value)
	}
	select {
	case r.work <- b:
		return b, nil
	default:
		return nil, fmt.Errorf("gated: %d batches have been submitted and not run", len(r.work))
	}
}

// ran is a batch of a runner.
type ran struct {
	runner     *Runner
	steps      []Step
	arena      arena
	mu         sync.Mutex
	done       bool
	err        error
	begin, end time.Duration
}

func (b *ran) Done() (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done, b.err
}
func (b *ran) Times() (time.Duration, time.Duration) { return b.begin, b.end }
func (b *ran) Release()                              { b.runner.spare = append(b.runner.spare, b) }

// count is an event of a runner.
type count struct{ v atomic.Uint64 }

// NewEvent implements [Device].
func (r *Runner) NewEvent() (Event, error) { return new(count), nil }

func (c *count) Set(v uint64) {
	if c.v.Swap(v) > v {
		panic("gated: an event goes down")
	}
}
func (c *count) Value() uint64 { return c.v.Load() }
func (c *count) Release()      {}
