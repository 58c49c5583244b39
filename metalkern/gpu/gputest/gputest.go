// Package gputest is a host for tests that runs nothing: what is left of a step on it is the time to record it.
package gputest

import (
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// Host takes kernels for compiled and launches for run, and says of itself what Device says. Its memory holds zeros. What is large and
// Local has no contents: models would take as much as on a GPU.
type Host struct {
	Device gpu.Info
	given  atomic.Uint64 // addresses, in bytes
}

var _ gpu.Host = (*Host)(nil)

const (
	// pageBytes is what buffers begin at multiples of.
	pageBytes = 4096
	// large is the size, in bytes, of the least Local buffer without contents.
	large = 1 << 20
)

// Info implements [gpu.Host].
func (h *Host) Info() gpu.Info { return h.Device }

// Alloc implements [gpu.Host].
func (h *Host) Alloc(n int64, m gpu.Memory) (gpu.Buffer, error) {
	room := uint64(n+pageBytes-1)/pageBytes*pageBytes + pageBytes
	b := &buffer{address: h.given.Add(room) - room + pageBytes, size: n}
	if m == gpu.Mapped || n < large {
		b.data = make([]byte, n)
	}
	return b, nil
}

// Compile implements [gpu.Host].
func (h *Host) Compile(dialect.Unit) (gpu.Library, error) { return library{}, nil }

// NewQueue implements [gpu.Host]. The queue is a *[Queue].
func (h *Host) NewQueue() (gpu.Queue, error) { return &Queue{}, nil }

// Close implements [gpu.Host].
func (h *Host) Close() error { return nil }

type buffer struct {
	address uint64
	size    int64
	data    []byte
}

func (b *buffer) Len() int64      { return b.size }
func (b *buffer) Bytes() []byte   { return b.data }
func (b *buffer) Address() uint64 { return b.address }
func (b *buffer) Free() error     { return nil }

type library struct{}

// Kernel implements [gpu.Library].
func (library) Kernel(name string) (gpu.Kernel, error) { return &kernel{name}, nil }

type kernel struct{ name string }

func (k *kernel) Name() string { return k.name }

// Queue counts what it is given.
type Queue struct {
	Launches, Copies int
	call             gpu.Call
}

var _ gpu.Fencer = (*Queue)(nil)

// Next implements [gpu.Queue].
func (q *Queue) Next() *gpu.Call { return &q.call }

// Launch implements [gpu.Queue].
func (q *Queue) Launch(*gpu.Call) { q.Launches++ }

// Write implements [gpu.Queue].
func (q *Queue) Write(gpu.Range, []byte) { q.Copies++ }

// Read implements [gpu.Queue].
func (q *Queue) Read([]byte, gpu.Range) { q.Copies++ }

// Copy implements [gpu.Queue].
func (q *Queue) Copy(gpu.Range, gpu.Range, int64) { q.Copies++ }

// Mark implements [gpu.Queue].
func (q *Queue) Mark() int { return 0 }

// Elapsed implements [gpu.Queue].
func (q *Queue) Elapsed(int, int) (time.Duration, error) { return 0, nil }

// ResetMarks implements [gpu.Queue].
func (q *Queue) ResetMarks() {}

// Fence implements [gpu.Fencer].
func (q *Queue) Fence() {}

// Reached implements [gpu.Fencer].
func (q *Queue) Reached() bool { return true }

// Reach implements [gpu.Fencer].
func (q *Queue) Reach(time.Time) error { return nil }

// Wait implements [gpu.Queue].
func (q *Queue) Wait(time.Time) error { return nil }

// Close implements [gpu.Queue].
func (q *Queue) Close() error { return nil }
