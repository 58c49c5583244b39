package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device/cpu/simd"
)

const (
	// grain is the least work for which to wake a worker, and to be left for everyone at it, in nanoseconds.
	grain = 30_000
	// share is the same for a worker that is awake.
	share = 8_000
)

// spinFor is how long to look for work, or for the end of it, before sleeping: about what being woken takes on a virtual machine, whose idle
// processors are given back, so that at worst twice the best is spent. Between two operations of a step it is seldom longer.
const spinFor = 100 * time.Microsecond

// spin looks until done, or for some time. Others may run meanwhile.
func spin(done func() bool) bool {
	for start := time.Now(); ; {
		for range 32 {
			if done() {
				return true
			}
		}
		if time.Since(start) > spinFor {
			return false
		}
		runtime.Gosched()
	}
}

// A job computes the items [first, end) of an operation. Several workers may do so at the same time.
type job interface {
	run(first, end int, w *worker)
}

// A worker is the scratch of one goroutine.
type worker struct {
	a, b  []float32 // packed tiles
	rows  []float32 // expanded weights on their way into b, or rows from here and there on theirs into a
	c     []float32 // a tile's result
	room  simd.TileRoom
	flash attention.Flash

	numbers  *simd.AffineNumbers // of the weights in use
	gathered []float32           // rows of x from here and there, one after the other
	whole    simd.Activations    // of an expert's tokens
}

// pool is the workers of a device. The queue holds at most one batch of each stream.
type pool struct {
	threads int
	workers sync.WaitGroup
	ready   atomic.Bool // something is in the queue, or the pool is closed

	mu       sync.Mutex
	wake     sync.Cond // for those who sleep
	sleeping int
	queue    []*batch // batches that workers may join
	closed   bool
}

// newPool starts threads-1 workers; the caller of an operation is the other one.
func newPool(threads int) *pool {
	p := &pool{threads: threads}
	p.wake.L = &p.mu
	for range threads - 1 {
		p.workers.Go(p.serve)
	}
	return p
}

// serve is the life of a worker.
func (p *pool) serve() {
	var w worker
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if len(p.queue) == 0 && !p.closed {
			p.mu.Unlock()
			spin(p.ready.Load)
			p.mu.Lock()
		}
		for len(p.queue) == 0 && !p.closed {
			p.sleeping++
			p.wake.Wait()
			p.sleeping--
		}
		if p.closed {
			return
		}
		b := p.queue[0]
		part := b.open
		b.open--
		if b.open == 0 {
			p.remove(b)
		}
		b.joined.Add(1)
		p.mu.Unlock()
		b.work(part, &w)
		p.mu.Lock()
		if b.joined.Add(-1) == 0 {
			b.left.Signal()
		}
	}
}

// run computes the n items of j on the caller and on workers that are idle, who take step at a time. cost is
// about how long it takes on one thread, in nanoseconds.
func (p *pool) run(b *batch, own *worker, j job, n, step int, cost float64) {
	if n == 0 {
		return
	}
	step, cost = max(1, step), min(cost, 1e12)
	helpers := min(p.threads-1, (n-1)/step, int(cost/share)-1)
	if helpers <= 0 {
		j.run(0, n, own)
		return
	}
	b.divide(j, n, step, helpers+1)
	b.left.L = &p.mu
	b.open = helpers
	p.mu.Lock()
	p.queue = append(p.queue, b)
	p.ready.Store(true)
	sleeping := p.sleeping
	p.mu.Unlock()
	for range min(helpers, sleeping, int(cost/grain)-1) {
		p.wake.Signal()
	}
	b.work(0, own)
	p.mu.Lock()
	p.remove(b) // nobody joins any more
	p.mu.Unlock()
	if spin(func() bool { return b.joined.Load() == 0 }) {
		return
	}
	p.mu.Lock()
	for b.joined.Load() > 0 {
		b.left.Wait()
	}
	p.mu.Unlock()
}

// remove takes b out of the queue if it is there.
func (p *pool) remove(b *batch) {
	for i, q := range p.queue {
		if q == b {
			last := len(p.queue) - 1
			copy(p.queue[i:], p.queue[i+1:])
			p.queue[last] = nil
			p.queue = p.queue[:last]
			p.ready.Store(last > 0 || p.closed)
			return
		}
	}
}

// close ends the workers.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.ready.Store(true)
	p.mu.Unlock()
	p.wake.Broadcast()
	p.workers.Wait()
}

// grow makes x at least n long; what it held may be lost.
func grow(x []float32, n int) []float32 {
	if cap(x) < n {
		return make([]float32, n)
	}
	return x[:n]
}
