package calibrate

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/placement"
)

// How long parts of a measurement may take. Together they stay well below Limit on a machine of our day; on a
// slower one each operation runs once after Limit, so that all ends within two seconds.
const (
	Limit        = 1450 * time.Millisecond
	bandwidthFor = 150 * time.Millisecond
	passes       = 3                    // over what decode goes by, each for these times
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
	// Bandwidth measures how fast memory can be read, in bytes/s, for about the given time: that given to it, where it is the host's.
	Bandwidth func(arena []byte, within time.Duration) (float64, error)
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

// Measure measures a device, in less than two seconds besides what compiling its kernels takes, which it does the first time. It goes over what decode goes by a few times and takes medians,
// since a processor may be slower for a while than it is before and after. It measures again if it finds what cannot be.
func Measure(s Subject) (m Measured, err error) {
	arena, free, err := newArena(s.Device, s.Memory, arenaTime)
	if err != nil {
		return m, err
	}
	defer free()
	b := newBench(s, arena, time.Now())
	defer func() { err = errors.Join(err, b.close()) }()
	if s.Alike {
		if _, err := s.Bandwidth(arena, 0); err != nil {
			return m, err
		}
		b.once = true
		compiled := new(placement.Rates)
		b.decode(compiled)
		b.rest(compiled)
		b.once = false
	}
	for range tries {
		if m, err = b.measure(); err != nil || *b.err != nil { // which close gives
			return m, err
		}
		if err = m.Rates.Check(); err == nil {
			break
		}
	}
	return m, err
}

// tries is how often it is measured what cannot be, as when the process is stopped meanwhile.
const tries = 2

// measure is Measure, once.
func (b *bench) measure() (m Measured, err error) {
	b.deadline = time.Now().Add(Limit)
	before, err := workNow()
	if err != nil {
		return m, err
	}
	if m.Bandwidth, err = b.bandwidth(bandwidthFor); err != nil {
		return m, err
	}
	all := make([]placement.Rates, 1, passes)
	took := b.decode(&all[0])
	b.rest(&all[0])
	for len(all) < passes && time.Until(b.deadline) > took { // a pass that has not the time for all of it would be worth nothing
		r := all[0]
		took = b.decode(&r)
		all = append(all, r)
	}
	if *b.err != nil {
		return m, nil
	}
	m.Rates = median(all)
	after, err := workNow()
	if err != nil {
		return m, err
	}
	m.Others = others(before, after)
	return m, nil
}

// decode measures what every step of decode goes by, once, and returns how long that took.
func (b *bench) decode(r *placement.Rates) time.Duration {
	start := time.Now()
	b.measureTurn(r)
	b.turn = r.Turn
	b.kernels(r)
	b.packed(r)
	b.kept(r, 1)
	r.Gate = b.measureGate()
	b.release()
	return time.Since(start)
}

// rest measures what need not be measured again: quotients of what is measured at the same time, and what takes long.
func (b *bench) rest(r *placement.Rates) {
	b.cached(r)
	b.weighed(r)
	b.severalTokens(r)
	b.prefill(r)
	b.crowd(r)
	b.release()
}

// AgainBytes is the memory that Again takes for the time being.
const AgainBytes = mostArena

// AgainLimit is how long Again takes at the most, besides filling its memory.
const AgainLimit = tries * (againFor + keptLimit)

const (
	againFor    = 2 * time.Second
	passesAgain = 5           // over what decode goes by
	keptLimit   = time.Second // of what caches keep
)

// Again measures once more those of a node's rates that steps of decode go by, in a second or two, and leaves
// the others as they are known: it goes over operations a few times and takes medians, as Measure does. It is for who holds predictions against what is measured at the same time: a
// machine's speed changes within seconds where others share it. What caches hold is measured with the others of the machine, see [Sit]. The device is a processor.
func Again(known placement.Rates, d device.Device) (r placement.Rates, err error) {
	if _, ok := d.(interface{ AllocSparse(n int) ([]byte, error) }); !ok { // it has not the host's memory, in which weights are mapped
		return known, fmt.Errorf("only processors are measured again, not %s", d.Name())
	}
	s := Subject{Device: d, Memory: 8 * mostArena, KVHeads: KVHeads, HeadDim: HeadDim}
	arena, free, err := newArena(d, s.Memory, fillTime)
	if err != nil {
		return known, err
	}
	defer free()
	b := newBench(s, arena, time.Now().Add(againFor))
	defer func() {
		if failed := b.close(); failed != nil {
			r, err = known, failed
		}
	}()
	for range tries {
		if r = b.again(known); *b.err != nil {
			return known, nil // close gives it
		}
		if err = r.Check(); err == nil {
			break
		}
		b.deadline = time.Now().Add(againFor)
	}
	return r, err
}

// again is Again, once.
func (b *bench) again(known placement.Rates) placement.Rates {
	var all []placement.Rates
	for took := time.Duration(0); len(all) < passesAgain && time.Until(b.deadline) > took; {
		start, once := time.Now(), known
		b.kernels(&once)
		b.release()
		all, took = append(all, once), time.Since(start)
	}
	r := median(all)
	b.deadline = time.Now().Add(keptLimit)
	b.kept(&r, keptSamples)
	return median([]placement.Rates{r})
}

// cacheBytes is so few that they stay in the last cache of any machine.
const cacheBytes = 4 << 20

// longest is how long an operation may take to be measured at one size more, in seconds.
const longest = 2 * 6e-3

// kernels measures the decode operations, from memory and from the caches.
func (b *bench) kernels(r *placement.Rates) {
	memory := b.over(b.arena)
	memory.cold = true
	memory.curves(&r.Memory)
	b.over(first(b.arena, cacheBytes)).curves(&r.Cache)
}

// curves measures the decode operations over the bench's arena.
func (b *bench) curves(k *placement.Kernels) {
	b.curve(&k.Layer, b.layer)
	b.curve(&k.Product, b.product)
	b.curve(&k.Attend, b.attendOne)
	size := b.brisk(&k.Attend, shortWhile)
	one := b.seconds(intenseFor, b.attendOne(size))
	for i := range k.Intense {
		k.Intense[i] = b.seconds(intenseFor, b.attend(size, int(placement.Intensities[i+1]), attention.F16)) / one
	}
}

// attendOne is attention in halves with the fewest query heads to a KV head.
func (b *bench) attendOne(bytes int) func() {
	return b.attend(bytes, int(placement.Intensities[0]), attention.F16)
}

// curve measures an operation at sizes. Those that do not fit into the arena, or would take long, are told from those before.
func (b *bench) curve(c *placement.Curve, op func(bytes int) func()) {
	for i, size := range placement.CurveSizes {
		if i > 0 {
			c[i] = c[i-1] * size / placement.CurveSizes[i-1]
		}
		if i > 1 {
			slope := (c[i-1] - c[i-2]) / (placement.CurveSizes[i-1] - placement.CurveSizes[i-2])
			c[i] = c[i-1] + slope*(size-placement.CurveSizes[i-1])
		}
		if i == 0 || b.fits(int(size)) && c[i] < longest && (b.once || !b.late()) {
			c[i] = b.seconds(curveFor, op(int(size)))
		}
	}
}

// shortWhile is not long, in seconds, but longer than attention takes to begin.
const shortWhile = 120e-6

// brisk is so many bytes that an operation takes about so long with them, or less, but longer than to begin.
func (b *bench) brisk(c *placement.Curve, while float64) int {
	for i := len(placement.CurveSizes) - 1; i > 0; i-- {
		size := int(placement.CurveSizes[i])
		if b.fits(size) && (c[i] < while || i == 1 && c[i] < longest) {
			return size
		}
	}
	return int(placement.CurveSizes[0])
}

// packed measures attention to quantized keys and values, against halves.
func (b *bench) packed(r *placement.Rates) {
	const group = 4
	size := b.brisk(&r.Memory.Attend, shortWhile)
	halves := b.seconds(intenseFor, b.attend(size, group, attention.F16))
	for i, f := range []attention.Format{attention.Q8, attention.Q4} {
		r.Packed[i] = b.seconds(intenseFor, b.attend(size, group, f)) / halves
	}
}

// prefill measures what a chunk takes: with small operations, and with larger ones as long as they take less than they may.
func (b *bench) prefill(r *placement.Rates) {
	speed := func(op func(a, b int) (func(), float64), sizes ...[2]int) (rate float64) {
		for i, size := range sizes {
			run, operations := op(size[0], size[1])
			late := !b.once && b.late() && !b.Alike // of a GPU a small operation says next to nothing, and larger ones take no time
			if run == nil || i > 0 && (late || operations/rate > 2*chunkFor.Seconds()) {
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
	products := [][2]int{{16, 64}, {1024, 128}, {1024, 1024}, {1024, 4096}}
	r.PrefillProduct = speed(b.chunkProduct(device.BF16), products...)
	if b.once || b.Alike || !b.late() {
		r.PrefillPacked = speed(b.chunkProduct(device.Q8_0), products[1:]...)
	}
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
