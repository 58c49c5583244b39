package calibrate

import (
	"cmp"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/placement"
)

// How long parts of a measurement may take. Together they stay well below Limit on a machine of our day; on a
// slower one each operation runs once after Limit, so that all ends within two seconds.
const (
	Limit        = 1600 * time.Millisecond
	bandwidthFor = 150 * time.Millisecond
	passes       = 3                    // over everything else, each for these times
	curveFor     = 6 * time.Millisecond // a point of a curve
	intenseFor   = 3 * time.Millisecond
	chunkFor     = 25 * time.Millisecond
	crowdFor     = 10 * time.Millisecond
)

// Subject is what to measure.
type Subject struct {
	// NewDevice makes a device such as the node computes with; several may be there at the same time.
	NewDevice func() device.Device
	// Bandwidth measures how fast memory can be read, in bytes/s, for about the given time.
	Bandwidth func(time.Duration) float64
	Memory    int64 // bytes that may be used, of which an eighth is
}

// Measured is what a node can do.
type Measured struct {
	Bandwidth float64         `json:"bandwidth"` // bytes/s
	Rates     placement.Rates `json:"rates"`
	Others    float64         `json:"others"` // share of the machine's processors that other processes had meanwhile
}

// disturbed is from what share on others spoil a measurement.
const disturbed = 0.1

// Disturbed reports whether other processes had so much of the machine that the measurement says little.
func (m *Measured) Disturbed() bool { return m.Others > disturbed }

// Measure measures a device, in less than two seconds. It goes over everything a few times and takes medians,
// since a processor may be slower for a while than it is before and after.
func Measure(s Subject) (Measured, error) {
	deadline := time.Now().Add(Limit)
	before, err := workNow()
	if err != nil {
		return Measured{}, err
	}
	m := Measured{Bandwidth: s.Bandwidth(bandwidthFor)}
	arena, free, err := newArena(s.Memory, arenaTime)
	if err != nil {
		return m, err
	}
	defer free()
	d := s.NewDevice()
	defer d.Close()
	weights, freeWeights, err := newWeights(s.Memory)
	if err != nil {
		return m, err
	}
	defer freeWeights()
	b := &bench{stream: d.NewStream(), arena: arena, weights: weights, deadline: deadline}
	var all []placement.Rates
	for len(all) == 0 || len(all) < passes && !b.late() {
		r, err := b.pass(s.NewDevice, all)
		if err != nil {
			return m, err
		}
		all = append(all, r)
	}
	m.Rates = typical(all)
	after, err := workNow()
	if err != nil {
		return m, err
	}
	m.Others = others(before, after)
	return m, m.Rates.Check()
}

// pass measures everything once, but what takes longest not if it was in a pass before.
func (b *bench) pass(newDevice func() device.Device, before []placement.Rates) (r placement.Rates, err error) {
	b.kernels(&r)
	if len(before) == 0 {
		b.cached(&r)
	} else {
		r.Cached = before[0].Cached
	}
	b.kept(&r, 1)
	b.prefill(&r)
	return r, errors.Join(b.err, crowd(newDevice, b.arena, b.deadline, &r))
}

// AgainBytes is the memory that Again takes for the time being.
const AgainBytes = mostArena + weightsBytes

// Again measures once more those of a node's rates that steps of decode go by, in about half a second, and leaves
// the others as they are known. It is for who holds predictions against what is measured at the same time: a
// machine's speed changes within seconds where others share it.
func Again(known placement.Rates, d device.Device) (placement.Rates, error) {
	arena, free, err := newArena(8*mostArena, arenaTime)
	if err != nil {
		return known, err
	}
	defer free()
	weights, freeWeights, err := newWeights(8 * mostArena)
	if err != nil {
		return known, err
	}
	defer freeWeights()
	b := &bench{stream: d.NewStream(), arena: arena, weights: weights, deadline: time.Now().Add(Limit)}
	r := known
	b.kernels(&r)
	b.cached(&r)
	b.kept(&r, keptSamples)
	if b.err != nil {
		return known, b.err
	}
	r = typical([]placement.Rates{r})
	return r, r.Check()
}

// typical is the median of each rate, held to what a machine can have, and to what 4 bytes hold, so that a node
// sees its own rates as the others do.
func typical(all []placement.Rates) (r placement.Rates) {
	numbers := make([][]*float64, len(all))
	for i := range all {
		numbers[i] = all[i].Numbers()
	}
	for i, v := range r.Numbers() {
		var samples []float64
		for _, n := range numbers {
			samples = append(samples, *n[i])
		}
		slices.Sort(samples)
		*v = samples[len(samples)/2]
	}
	for _, k := range []*placement.Kernels{&r.Memory, &r.Cache} {
		for _, c := range []*placement.Curve{&k.Layer, &k.Product, &k.Attend} {
			for i := 1; i < len(c); i++ { // noise apart, more takes longer
				c[i] = max(c[i], c[i-1]*1.01)
			}
		}
		rising(k.Intense[:])
	}
	rising(r.Crowd[:])
	for _, c := range [][2]*placement.Curve{{&r.Cache.Layer, &r.Memory.Layer}, {&r.Cache.Product, &r.Memory.Product}, {&r.Cache.Attend, &r.Memory.Attend}} {
		for i := range c[0] { // and nothing is slower from the caches
			c[0][i] = min(c[0][i], c[1][i])
		}
	}
	falling(r.Cached[:])
	falling(r.Kept[:])
	for _, v := range r.Numbers() {
		*v = float64(float32(*v))
	}
	return r
}

// rising makes factors not fall, from one on.
func rising(factors []float64) {
	before := 1.0
	for i := range factors {
		factors[i] = max(factors[i], before)
		before = factors[i]
	}
}

// falling makes shares not rise, with the least change to them in squares: those that rise become their mean (the
// pool-adjacent-violators algorithm). So one that was disturbed does not pull down all that follow.
func falling(shares []float64) {
	for end := 2; end <= len(shares); end++ {
		first, sum := end-1, shares[end-1]
		for first > 0 && sum/float64(end-first) > shares[first-1] {
			first--
			sum += shares[first]
		}
		for i := first; i < end; i++ {
			shares[i] = sum / float64(end-first)
		}
	}
}

// cacheBytes is so few that they stay in the last cache of any machine.
const cacheBytes = 4 << 20

// kernels measures the decode operations, from memory and from the caches.
func (b *bench) kernels(r *placement.Rates) {
	b.over(b.arena).curves(&r.Memory)
	fits, weights := b.over(b.arena[:min(cacheBytes, len(b.arena))]), b.over(b.weights[:cacheBytes])
	fits.curves(&r.Cache)
	weights.curve(&r.Cache.Layer, weights.layer)
	weights.curve(&r.Cache.Product, weights.product)
}

// curves measures the decode operations over the bench's arena.
func (b *bench) curves(k *placement.Kernels) {
	b.curve(&k.Layer, b.layer)
	b.curve(&k.Product, b.product)
	b.curve(&k.Attend, func(bytes int) func() { return b.attend(bytes, int(placement.Intensities[0])) })
	const size = 512 << 10
	one := b.seconds(intenseFor, b.attend(size, int(placement.Intensities[0])))
	for i := range k.Intense {
		k.Intense[i] = b.seconds(intenseFor, b.attend(size, int(placement.Intensities[i+1]))) / one
	}
}

// curve measures an operation at sizes. Those that do not fit into the arena are told from the two before.
func (b *bench) curve(c *placement.Curve, op func(bytes int) func()) {
	for i, size := range placement.CurveSizes {
		if b.fits(int(size)) {
			c[i] = b.seconds(curveFor, op(int(size)))
		} else {
			slope := (c[i-1] - c[i-2]) / (placement.CurveSizes[i-1] - placement.CurveSizes[i-2])
			c[i] = c[i-1] + slope*(size-placement.CurveSizes[i-1])
		}
	}
}

// cached measures how much of the reading the caches serve, by how much is read in turn: from how an operation's time
// lies between what it takes from the caches and from memory. As much as models' weights have is read by matrix products, and
// what only a KV cache has by attention.
func (b *bench) cached(r *placement.Rates) {
	at := 0
	for i, reads := range placement.CacheSizes {
		size, n := 512<<10, int(reads)
		arena, op, fast, slow := b.weights, (*bench).product, &r.Cache.Product, &r.Memory.Product
		if n > len(b.weights) {
			size, arena, fast, slow = 1<<20, b.arena, &r.Cache.Attend, &r.Memory.Attend
			op = func(b *bench, bytes int) func() { return b.attend(bytes, int(placement.Intensities[0])) }
		}
		if b.late() || n > len(arena) {
			r.Cached[i] = 0
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

// share is how much of its reading an operation does from the caches that takes so long.
func share(fast, slow, took float64) float64 {
	if slow <= fast {
		return 1
	}
	return min(max((slow-took)/(slow-fast), 0), 1)
}

const (
	fewPasses  = 4
	manyPasses = 8
	settleFor  = 60 * time.Millisecond
)

// turn is how long an operation takes when it reads all parts of the arena once.
func (b *bench) turn(parts int, op func()) float64 {
	start := time.Now()
	for range parts {
		op()
	}
	b.finish()
	return time.Since(start).Seconds() / float64(parts)
}

// settled is how long an operation takes that reads a part of the arena, when all parts have been read in turn until
// the caches hold of them what they will: processors keep what they have seen read again, and
// so come to it slowly.
func (b *bench) settled(parts int, op func()) float64 {
	var all []float64
	for start := time.Now(); ; {
		all = append(all, b.turn(parts, op))
		n := len(all)
		if b.late() || n >= fewPasses && time.Since(start) > settleFor || n >= manyPasses && all[n-1] > 0.99*all[n-4] {
			last := slices.Sorted(slices.Values(all[n*2/3:]))
			return last[len(last)/2]
		}
	}
}

// kept measures how long the caches keep what nobody reads, in the same way, while this thread waits as one does that
// has nothing to compute: it spins for a while, and then sleeps. It is more than a core's own caches hold, which keep it
// for longer than those that are shared with others.
func (b *bench) kept(r *placement.Rates, samples int) {
	const size = 512 << 10
	part := b.over(b.weights[:min(keptBytes, len(b.weights))])
	op, parts := part.product(size), len(part.arena)/size
	settled := part.settled(parts, op)
	for i, after := range placement.KeptAfter {
		var shares []float64
		for range samples {
			if b.late() {
				return // nothing is known to be kept
			}
			idle(time.Duration(after * float64(time.Second)))
			shares = append(shares, share(settled, r.Memory.Product.At(size), part.turn(parts, op)))
			for range fewPasses {
				part.turn(parts, op)
			}
		}
		slices.Sort(shares)
		r.Kept[i] = shares[len(shares)/2]
	}
}

const (
	keptBytes   = 16 << 20
	keptSamples = 3 // where there is one pass only
)

// spins is how long nodes spin that wait for a message, unless they are told not to, before they sleep.
const spins = 2 * time.Millisecond

// idle waits like that.
func idle(d time.Duration) {
	for start := time.Now(); time.Since(start) < min(d, spins); {
		runtime.Gosched()
	}
	time.Sleep(d - spins)
}

// prefill measures what a chunk takes. On a device that is slow at it, the operations are small.
func (b *bench) prefill(r *placement.Rates) {
	speed := func(small, large func() (func(), float64)) float64 {
		op, operations := small()
		took := b.seconds(0, op)
		if took*10 < chunkFor.Seconds() {
			op, operations = large()
			took = b.seconds(chunkFor, op)
		}
		return operations / took
	}
	r.PrefillProduct = speed(func() (func(), float64) { return b.chunkProduct(128) }, func() (func(), float64) { return b.chunkProduct(1024) })
	r.PrefillAttend = speed(func() (func(), float64) { return b.chunkAttend(64, 256) }, func() (func(), float64) { return b.chunkAttend(256, 2048) })
}

// crowd measures how attention slows down when several devices, as several nodes would have them, work at
// once on the processors of this process: until the last of them is done, against one alone.
func crowd(newDevice func() device.Device, arena []byte, deadline time.Time, r *placement.Rates) error {
	const (
		size  = 2 << 20
		times = 4 // each, so that the time in which goroutines are woken matters little
	)
	var benches []*bench
	var alone float64
	for n := 1; n <= 1+len(r.Crowd); n++ {
		d := newDevice()
		defer d.Close()
		// Each reads all of the arena, far from where the others are.
		benches = append(benches, &bench{stream: d.NewStream(), arena: arena, at: len(arena) / (1 + len(r.Crowd)) * (n - 1), deadline: deadline})
		ops := make([]func(), n)
		for i, b := range benches {
			ops[i] = b.attend(size, int(placement.Intensities[0]))
		}
		took := benches[0].seconds(crowdFor, func() {
			var all sync.WaitGroup
			for i, op := range ops {
				all.Go(func() {
					for range times {
						op()
					}
					benches[i].finish()
				})
			}
			all.Wait()
		})
		if n == 1 {
			alone = took
			continue
		}
		r.Crowd[n-2] = took / alone
	}
	var err error
	for _, b := range benches {
		err = errors.Join(err, b.err)
	}
	return err
}

// finish waits for what the stream was given.
func (b *bench) finish() {
	if err := b.stream.Wait(); err != nil {
		for of := b; of != nil; of = of.part {
			of.err = cmp.Or(of.err, err)
		}
	}
}
