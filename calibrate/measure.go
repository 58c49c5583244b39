package calibrate

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/attention"
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
	Device device.Device
	// Another makes a device such as this one on the same processors; several may be there at the same time. Nil is a device that nodes take turns on.
	Another func() device.Device
	// Bandwidth measures how fast memory can be read, in bytes/s, for about the given time.
	Bandwidth func(time.Duration) (float64, error)
	Memory    int64 // bytes that may be used, of which an eighth is

	KVHeads, HeadDim int  // of what is attended to
	Alike            bool // the device keeps launches that come again, so samples are alike; else each reads on where the last one ended
	Spin             bool // exchanges may spin
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

// Measure measures a device, in less than two seconds besides what compiling its kernels takes, which it does the first time. It goes over everything a few times and takes medians,
// since a processor may be slower for a while than it is before and after.
func Measure(s Subject) (m Measured, err error) {
	arena, free, err := newArena(s.Device, s.Memory, arenaTime)
	if err != nil {
		return m, err
	}
	defer free()
	b := newBench(s, arena, time.Now())
	defer func() { err = errors.Join(err, b.close()) }()
	if s.Alike {
		b.once = true
		b.pass(new(placement.Rates))
		b.once = false
	}
	b.deadline = time.Now().Add(Limit)
	before, err := workNow()
	if err != nil {
		return m, err
	}
	if m.Bandwidth, err = s.Bandwidth(bandwidthFor); err != nil {
		return m, err
	}
	var all []placement.Rates
	for len(all) == 0 || len(all) < passes && !b.late() {
		var r placement.Rates
		if b.pass(&r); *b.err != nil {
			return m, nil // close gives it
		}
		all = append(all, r)
	}
	m.Rates = median(all)
	after, err := workNow()
	if err != nil {
		return m, err
	}
	m.Others = others(before, after)
	return m, m.Rates.Check()
}

// pass measures everything once.
func (b *bench) pass(r *placement.Rates) {
	r.Turn, r.Record = b.measureTurn()
	b.turn = r.Turn
	b.kernels(&r.Memory)
	inCache := b.over(cacheBytes)
	inCache.kernels(&r.Cache)
	b.packed(r)
	b.cached(r)
	inCache.kept(r)
	b.prefill(r)
	r.Gate = b.measureGate()
	b.crowd(r)
	b.release()
}

// median is the median of each rate, held to what a machine can have, and to what 4 bytes hold, so that a node
// sees its own rates as the others do.
func median(all []placement.Rates) (r placement.Rates) {
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
	for i := 1; i < len(r.Cached); i++ {
		r.Cached[i] = min(r.Cached[i], r.Cached[i-1])
	}
	for i := 1; i < len(r.Kept); i++ {
		r.Kept[i] = min(r.Kept[i], r.Kept[i-1])
	}
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

// cacheBytes is so few that they stay in the last cache of any machine.
const cacheBytes = 4 << 20

// longest is how long an operation may take to be measured at one size more, in seconds.
const longest = 2 * 6e-3

// kernels measures the decode operations over the bench's arena. Sizes that do not fit there, or would take long, are told from
// those before.
func (b *bench) kernels(k *placement.Kernels) {
	for _, c := range []struct {
		curve *placement.Curve
		op    func(bytes int) func()
	}{
		{&k.Layer, b.layer}, {&k.Product, b.product}, {&k.Attend, func(bytes int) func() { return b.attend(bytes, int(placement.Intensities[0]), attention.F16) }},
	} {
		for i, size := range placement.CurveSizes {
			if i > 0 {
				c.curve[i] = c.curve[i-1] * size / placement.CurveSizes[i-1]
			}
			if i > 1 {
				slope := (c.curve[i-1] - c.curve[i-2]) / (placement.CurveSizes[i-1] - placement.CurveSizes[i-2])
				c.curve[i] = c.curve[i-1] + slope*(size-placement.CurveSizes[i-1])
			}
			if i == 0 || b.fits(int(size)) && c.curve[i] < longest && (b.once || !b.late()) {
				c.curve[i] = b.seconds(curveFor, c.op(int(size)))
			}
		}
	}
	size := b.brisk(k)
	one := b.seconds(intenseFor, b.attend(size, int(placement.Intensities[0]), attention.F16))
	for i := range k.Intense {
		k.Intense[i] = b.seconds(intenseFor, b.attend(size, int(placement.Intensities[i+1]), attention.F16)) / one
	}
}

// brisk is so many bytes that attention to them takes not long, but longer than to begin.
func (b *bench) brisk(k *placement.Kernels) int {
	const while = 120e-6 // seconds
	for i := len(placement.CurveSizes) - 1; i > 0; i-- {
		size := int(placement.CurveSizes[i])
		if b.fits(size) && (k.Attend[i] < while || i == 1 && k.Attend[i] < longest) {
			return size
		}
	}
	return int(placement.CurveSizes[0])
}

// packed measures attention to quantized keys and values, against halves.
func (b *bench) packed(r *placement.Rates) {
	const group = 4
	size := b.brisk(&r.Memory)
	halves := b.seconds(intenseFor, b.attend(size, group, attention.F16))
	for i, f := range []attention.Format{attention.Q8, attention.Q4} {
		r.Packed[i] = b.seconds(intenseFor, b.attend(size, group, f)) / halves
	}
}

// cached measures how much of the reading the caches serve, by how much is read in turn: from how a matrix
// product's time lies between what it takes from the caches and from memory.
func (b *bench) cached(r *placement.Rates) {
	const size = 512 << 10
	fast, slow := r.Cache.Product.At(size), r.Memory.Product.At(size)
	for i, reads := range placement.CacheSizes {
		share := 1.0
		if b.late() || int(reads) > len(b.arena) || reads/size*slow > longestRound {
			share = 0
		} else if slow > fast {
			part := b.over(int(reads))
			rounds := max(len(part.arena)/size, 1)
			op := part.product(size)
			took := part.seconds(0, func() { // the first time to fill the caches
				for range rounds {
					op()
				}
			})
			share = (slow - took/float64(rounds)) / (slow - fast)
		}
		r.Cached[i] = min(max(share, 0), 1)
	}
}

// longestRound is how long reading as much as caches hold may take, to find out whether they do, in seconds.
const longestRound = 50e-3

// kept measures how long the caches keep what nobody reads, in the same way; the bench is one whose arena fits
// them.
func (b *bench) kept(r *placement.Rates) {
	if b.once {
		return
	}
	const size = 512 << 10
	fast, slow := r.Cache.Product.At(size), r.Memory.Product.At(size)
	rounds := max(len(b.arena)/size, 1)
	op := b.product(size)
	read := func() float64 {
		start := time.Now()
		for range rounds {
			op()
		}
		b.finish()
		return (time.Since(start).Seconds() - b.turn) / float64(rounds)
	}
	if float64(rounds)*slow > longestRound {
		return // nothing is known to be kept
	}
	for i, after := range placement.KeptAfter {
		var samples []float64
		for range keptSamples {
			if b.late() {
				return // nothing is known to be kept
			}
			read()
			time.Sleep(time.Duration(after * float64(time.Second)))
			share := 1.0
			if took := read(); slow > fast {
				share = (slow - took) / (slow - fast)
			}
			samples = append(samples, min(max(share, 0), 1))
		}
		slices.Sort(samples)
		r.Kept[i] = samples[len(samples)/2]
	}
}

const keptSamples = 3

// prefill measures what a chunk takes: with small operations, and with larger ones as long as they take less than they may.
func (b *bench) prefill(r *placement.Rates) {
	speed := func(op func(a, b int) (func(), float64), sizes ...[2]int) (rate float64) {
		for i, size := range sizes {
			run, operations := op(size[0], size[1])
			if i > 0 && (!b.once && b.late() || operations/rate > 2*chunkFor.Seconds()) {
				break
			}
			within := chunkFor
			if i < len(sizes)-1 {
				within = 0
			}
			rate = operations / b.seconds(within, run)
		}
		return rate
	}
	r.PrefillProduct = speed(b.chunkProduct, [2]int{16, 64}, [2]int{1024, 128}, [2]int{1024, 1024}, [2]int{1024, 4096})
	r.PrefillAttend = speed(b.chunkAttend, [2]int{16, 64}, [2]int{64, 256}, [2]int{256, 2048}, [2]int{1024, 8192})
}

// crowd measures how attention slows down when several devices, as several nodes would have them, work at
// once on the processors of this process: until the last of them is done, against one alone. Nodes that take turns take as many times longer as there are.
func (b *bench) crowd(r *placement.Rates) {
	const (
		size  = 2 << 20
		times = 4 // each, so that the time in which goroutines are woken matters little
	)
	if b.Another == nil {
		for i := range r.Crowd {
			r.Crowd[i] = float64(2 + i)
		}
		return
	}
	var benches []*bench
	var alone float64
	for n := 1; n <= 1+len(r.Crowd); n++ {
		s := b.Subject
		s.Device = b.Another()
		one := newBench(s, b.arena, b.deadline)
		defer func() {
			b.fail(one.close())
			b.fail(s.Device.Close())
		}()
		one.at = len(b.arena) / (1 + len(r.Crowd)) * (n - 1) &^ (pieceAlign - 1) // each reads all of the arena, far from where the others are
		benches = append(benches, one)
		ops := make([]func(), n)
		for i, o := range benches {
			ops[i] = o.attend(size, int(placement.Intensities[0]), attention.F16)
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
}
