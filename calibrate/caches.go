package calibrate

import (
	"runtime"
	"slices"
	"time"

	"github.com/orrery-ai/orrery/placement"
)

// cached measures how much of the reading the caches serve, by how much is read in turn: from how an operation's time
// lies between what it takes from the caches and from memory. As much as models' weights have is read by matrix products, and
// what only a KV cache has by attention. Of what does not fit into the arena, or would take long, as much is taken to be there by chance.
func (b *bench) cached(r *placement.Rates) {
	at := len(b.weights)
	for i, reads := range placement.CacheSizes {
		size, n := 512<<10, int(reads)
		arena, op, fast, slow := b.weights, (*bench).product, &r.Cache.Product, &r.Memory.Product
		if n > len(b.weights) {
			size, arena, fast, slow = 1<<20, b.arena, &r.Cache.Attend, &r.Memory.Attend
			op = (*bench).attendOne
		}
		if !b.once && b.late() || n > len(arena) || float64(n/size)*slow.At(float64(size)) > longestRound {
			r.Cached[i] = 0
			if i > 0 {
				r.Cached[i] = r.Cached[i-1] * placement.CacheSizes[i-1] / reads
			}
			continue
		}
		first := 0
		if n > len(b.weights) { // where the one before did not read, which is there already
			first = min(at, len(arena)-n)
			at = first + n
		}
		part := b.over(arena[first:][:n])
		r.Cached[i] = share(fast.At(float64(size)), slow.At(float64(size)), part.settled(n/size, op(part, size)))
	}
}

// longestRound is how long reading as much as caches hold may take, to find out whether they do, in seconds.
const longestRound = 50e-3

// share is how much of its reading an operation does from the caches that takes so long.
func share(fast, slow, took float64) float64 {
	if slow <= fast {
		return 1
	}
	return min(max((slow-took)/(slow-fast), 0), 1)
}

// How often all parts are read at the least, and for how long at the most, until caches are taken to have settled. A last cache of 300 MiB that is
// shared with others took 10 times round to keep 64 MiB of one core, 30 for 112 MiB, and 64, which are 600 ms, for 128 MiB. That is too long for a node that
// starts; [Sit] waits for longer.
const (
	fewPasses = 4
	settleFor = 150 * time.Millisecond
)

// round is how long an operation takes when it reads all parts of the arena once.
func (b *bench) round(parts int, op func()) float64 {
	start := time.Now()
	for range parts {
		op()
	}
	b.finish()
	return max(time.Since(start).Seconds()-b.turn, shortest) / float64(parts)
}

// settled is how long an operation takes that reads a part of the arena, when all parts have been read in turn until
// the caches hold of them what they will: processors keep what they have seen read again, and
// so come to it slowly.
func (b *bench) settled(parts int, op func()) float64 {
	var all []float64
	for start := time.Now(); ; {
		all = append(all, b.round(parts, op))
		if n := len(all); b.once || b.late() || n >= fewPasses && time.Since(start) > settleFor || steady(all) {
			return middle(all[n*2/3:])
		}
	}
}

// steady says whether the last rounds took no less time than as many before them: four, or eight where there are enough.
func steady(all []float64) bool {
	n, last := len(all), fewPasses
	if n >= 4*fewPasses {
		last = 2 * fewPasses
	}
	return n >= 2*last && middle(all[n-last:]) > 0.99*middle(all[n-2*last:n-last])
}

// middle is the median, the upper of two.
func middle(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// kept measures how long the caches keep what nobody reads, in the same way, while this thread waits as one does that
// has nothing to compute: it spins for a while, and then sleeps. It is more than a core's own caches hold, which keep it
// for longer than those that are shared with others.
func (b *bench) kept(r *placement.Rates, samples int) {
	const size = 512 << 10
	part := b.over(first(b.weights, placement.KeptBytes))
	op, parts := part.product(size), len(part.arena)/size
	if b.once || float64(parts)*r.Memory.Product.At(size) > longestRound {
		return // nothing is known to be kept
	}
	settled := part.settled(parts, op)
	for i, after := range placement.KeptAfter {
		var shares []float64
		for range samples {
			if b.late() {
				return // nothing is known to be kept
			}
			idle(time.Duration(after * float64(time.Second)))
			shares = append(shares, share(settled, r.Memory.Product.At(size), part.round(parts, op)))
			for range fewPasses {
				part.round(parts, op)
			}
		}
		slices.Sort(shares)
		r.Kept[i] = shares[len(shares)/2]
	}
}

// keptSamples is where there is one pass only.
const keptSamples = 3

// spins is how long nodes spin that wait for a message, unless they are told not to, before they sleep.
const spins = 2 * time.Millisecond

// late is how much later than asked for the system may end a sleep.
const late = 2 * time.Millisecond

// idle waits like that, and spins again for what the sleep might have been too long.
func idle(d time.Duration) {
	start := time.Now()
	for time.Since(start) < min(d, spins) {
		runtime.Gosched()
	}
	time.Sleep(d - spins - late)
	for time.Since(start) < d {
		runtime.Gosched()
	}
}
