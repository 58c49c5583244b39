package gated

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/metalkern/cuda"
	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/emulator"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// hosted runs batches on a host of package gpu, launch by launch: on the emulator, or with ORRERY_TEST_DEVICE=cuda on an NVIDIA GPU.
type hosted struct {
	gpu.Host
	queue gpu.Queue
	work  chan *batch
	done  sync.WaitGroup
	start time.Time

	refuse error // of Submit
}

type batch struct {
	steps      []Step
	mu         sync.Mutex
	done       bool
	err        error
	begin, end time.Duration
}

// limit is the longest that a launch may take.
const limit = time.Minute

// tb is what a test and a property have in common.
type tb interface {
	Helper()
	Cleanup(func())
	Skip(...any)
	Error(...any)
	Fatal(...any)
	Fatalf(string, ...any)
}

func newHosted(t tb) *hosted {
	open := func() (gpu.Host, error) { return emulator.Open(dialect.CPPMetal) }
	if os.Getenv("ORRERY_TEST_DEVICE") == "cuda" {
		open = func() (gpu.Host, error) { return cuda.Open(0) }
	}
	h, err := open()
	if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	q, err := h.NewQueue()
	if err != nil {
		t.Fatal(err)
	}
	e := &hosted{Host: h, queue: q, work: make(chan *batch, 1000), start: time.Now()}
	e.done.Go(func() {
		for b := range e.work {
			begin, err := time.Since(e.start), e.run(b.steps)
			b.mu.Lock()
			b.done, b.err, b.begin, b.end = true, err, begin, time.Since(e.start)
			b.mu.Unlock()
		}
	})
	return e
}

func (e *hosted) Close() error {
	close(e.work)
	e.done.Wait()
	return errors.Join(e.queue.Close(), e.Host.Close())
}

func (e *hosted) run(steps []Step) error {
	for _, s := range steps {
		switch {
		case s.Wait != nil:
			for s.Wait.Value() < s.Value {
				time.Sleep(20 * time.Microsecond)
			}
			continue
		case s.Signal != nil:
			s.Signal.Set(s.Value)
			continue
		}
		g := s.Grid
		if s.Groups.Buffer != nil {
			n := bytes(s.Groups, gridBytes)
			g.X, g.Y, g.Z = int(binary.LittleEndian.Uint32(n)), int(binary.LittleEndian.Uint32(n[4:])), int(binary.LittleEndian.Uint32(n[8:]))
			if g.X*g.Y*g.Z == 0 {
				continue
			}
		}
		e.queue.Launch(s.Kernel, g, s.Args...)
		if err := e.queue.Wait(time.Now().Add(limit)); err != nil {
			return err
		}
	}
	return nil
}

func (e *hosted) Submit(steps []Step) (Batch, error) {
	if e.refuse != nil {
		return nil, e.refuse
	}
	b := &batch{steps: append([]Step{}, steps...)}
	for i := range b.steps { // the queue may reuse what values and arguments point to
		b.steps[i].Args = new(arena).keep(b.steps[i].Args)
	}
	e.work <- b
	return b, nil
}

func (b *batch) Done() (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done, b.err
}
func (b *batch) Times() (time.Duration, time.Duration) { return b.begin, b.end }
func (b *batch) Release()                              {}

// event is an event of a hosted device. It must not go down.
type event struct {
	mu sync.Mutex
	v  uint64
}

func (e *hosted) NewEvent() (Event, error) { return &event{}, nil }

func (e *event) Set(v uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if v < e.v {
		panic("an event goes down")
	}
	e.v = v
}

func (e *event) Value() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.v
}
func (e *event) Release() {}
