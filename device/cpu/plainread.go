package cpu

import (
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/device/cpu/simd"
	"github.com/orrery-ai/orrery/internal/offheap"
)

const (
	readBytes = 512 << 20 // more than caches hold
	readPiece = 1 << 20   // between looks at the clock
	pageBytes = 4096
)

// ReadOnce reads b once, on so many threads at the same time, doing as little with it as can be done, and returns how long that took.
func ReadOnce(b []byte, threads int) time.Duration {
	start := time.Now()
	together(b, threads, func(part []byte) { simd.Sum(part) })
	return time.Since(start)
}

// together does something with parts of b, one to a thread, all at the same time. They are whole cache lines, so a few bytes may be left out.
// A process that drives nodes may have given all but one of the runtime's processors away; it has as many as threads meanwhile.
func together(b []byte, threads int, do func(part []byte)) {
	if runs := runtime.GOMAXPROCS(0); runs < threads {
		runtime.GOMAXPROCS(threads)
		defer runtime.GOMAXPROCS(runs)
	}
	var all sync.WaitGroup
	part := len(b) / threads &^ 127
	for i := range threads {
		all.Go(func() { do(b[i*part : (i+1)*part]) })
	}
	all.Wait()
}

// PlainRead is memory to read, by which to tell how fast a machine's can be read.
type PlainRead struct {
	threads int
	memory  []byte // mapped
	filled  []byte // the beginning of it: a page that was never written takes no memory
}

// NewPlainRead takes memory for so many threads of this process to read: 512 MiB, an eighth of the program's memory limit if that is less, or what
// can be taken in the time given if that is less still. Close must follow.
func NewPlainRead(threads int, within time.Duration) (*PlainRead, error) {
	size := int64(readBytes)
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		size = min(size, limit/8)
	}
	piece := threads * readPiece
	size = max(size/int64(piece), 1) * int64(piece)
	memory, err := offheap.MapHuge(int(size))
	if err != nil {
		return nil, err
	}
	p := &PlainRead{threads: threads, memory: memory}
	for start := time.Now(); len(p.filled) < len(memory) && (len(p.filled) == 0 || time.Since(start) < within); {
		together(memory[len(p.filled):][:piece], threads, func(part []byte) {
			for i := 0; i < len(part); i += pageBytes {
				part[i] = 1
			}
		})
		p.filled = memory[:len(p.filled)+piece]
	}
	return p, nil
}

// Rate is how fast all threads together read now, see [ReadRate].
func (p *PlainRead) Rate(within time.Duration) float64 { return ReadRate(p.filled, p.threads, within) }

// ReadRate is how fast so many threads together read b, in bytes/s: they go over it for about so long, once at the least.
func ReadRate(b []byte, threads int, within time.Duration) float64 {
	read, took := 0, time.Duration(0)
	for read == 0 || took < within {
		took += ReadOnce(b, threads)
		read += len(b)
	}
	return float64(read) / max(took, 1).Seconds()
}

// Close gives the memory back.
func (p *PlainRead) Close() { offheap.Unmap(p.memory) }

// MeasureBandwidth is how fast so many threads of this process together read memory, in bytes/s, see [PlainRead]. Half of the time goes
// into taking it at the most.
func MeasureBandwidth(threads int, within time.Duration) (float64, error) {
	p, err := NewPlainRead(threads, within/2)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	return p.Rate(within / 2), nil
}

// ReadRate is how fast the device's threads together read memory, in bytes/s: memory that is given, or else some that is taken.
func (d *Device) ReadRate(memory []byte, within time.Duration) (float64, error) {
	if memory == nil {
		return MeasureBandwidth(d.pool.threads, within)
	}
	return ReadRate(memory, d.pool.threads, within), nil
}
