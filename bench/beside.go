package bench

import (
	"sync"
	"time"

	"github.com/orrery-ai/orrery/device/cpu/simd"
	"github.com/orrery-ai/orrery/internal/offheap"
)

// readPlain reads b once, on so many threads, doing as little with it as can be done, and returns how long that took.
func readPlain(b []byte, threads int) time.Duration {
	var all sync.WaitGroup
	part := len(b) / threads
	start := time.Now()
	for i := range threads {
		all.Go(func() { simd.Sum(b[i*part : (i+1)*part]) })
	}
	all.Wait()
	return time.Since(start)
}

// PlainRead measures how fast a number of threads of this process read memory, to compare with.
type PlainRead struct {
	threads int
	memory  []byte
}

// plainBytes is more than caches hold.
const plainBytes = 512 << 20

// NewPlainRead takes 512 MiB to read. Close must follow.
func NewPlainRead(threads int) (*PlainRead, error) {
	memory, err := offheap.MapHuge(plainBytes)
	if err != nil {
		return nil, err
	}
	const page = 4096
	for i := 0; i < len(memory); i += page {
		memory[i] = 1 // a page that was never written takes no memory
	}
	return &PlainRead{threads, memory}, nil
}

// Rate is how fast it is now, in bytes/s.
func (p *PlainRead) Rate() float64 {
	return float64(len(p.memory)) / readPlain(p.memory, p.threads).Seconds()
}

// Close gives the memory back.
func (p *PlainRead) Close() { offheap.Unmap(p.memory) }
