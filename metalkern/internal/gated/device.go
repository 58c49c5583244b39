package gated

import (
	"time"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// Device runs batches.
type Device interface {
	Info() gpu.Info
	Alloc(n int64, m gpu.Memory) (gpu.Buffer, error)
	Compile(u dialect.Unit) (gpu.Library, error)
	// NewEvent makes an event that has the value 0.
	NewEvent() (Event, error)
	// Submit starts a batch, whose steps run in order, after all batches submitted before. It does not wait, and keeps nothing of
	// the steps. What is wrong with one of them is an error, and then none runs.
	Submit(steps []Step) (Batch, error)
	// Close frees what the device holds for the queue. Nothing runs any more.
	Close() error
}

// Step is a launch, or a use of an event.
type Step struct {
	gpu.Call // the launch; without a kernel there is none
	// Groups is where the launch's X, Y and Z lie, as three uint32, instead of in Grid, if its buffer is not nil. They are read when the launch's
	// turn comes; nothing runs if one is 0.
	Groups gpu.Range
	// Settle says that steps after this one read their Groups only when this one has written them.
	Settle bool
	// Halt is where a uint32 lies, on devices whose launches look at one themselves: nothing runs if it is 0 when the launch's turn comes. It is used instead of
	// Groups, if its buffer is not nil.
	Halt gpu.Range

	Wait   Event // steps after this one run when the event has reached Count
	Signal Event // the event is set to Count when the steps before have run, and the host sees what they wrote
	Count  uint64
}

// Batch is what has been submitted at once.
type Batch interface {
	// Done says whether it has ended, and how it failed. It does not wait.
	Done() (bool, error)
	// Times are when it began and ended, on the GPU's clock.
	Times() (begin, end time.Duration)
	// Release frees what is kept for it.
	Release()
}

// Event is a count that the host and the GPU see. It never goes down. Its methods may be called from any goroutine.
type Event interface {
	Set(v uint64)
	Value() uint64
	Release()
}
