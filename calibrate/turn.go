package calibrate

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/device"
)

// What is recorded, of launches and of exchanges, in the shorter of two recordings whose difference is what one takes; the longer has three times as many. A device that is
// given launches some at a time has begun when the shorter's last is recorded. One that takes long for one is given fewer.
const (
	launches     = 64
	exchanges    = 4
	turnSamples  = 7
	launchesFor  = 2e-3 // seconds that the first few may take
	slowLaunches = 4
)

// measureTurn measures what a wait for the device takes besides what it waits for: the time of a few short operations, and of what goes there
// and back with them, less what as many take within a longer recording.
func (b *bench) measureTurn() float64 {
	const width = 64
	x, weight, src := b.filled(1, width), b.filled(1, width).Data, someFloats(width)
	if *b.err != nil {
		return 0
	}
	step := func(n int) float64 {
		start := time.Now()
		b.stream.Write(x, src)
		for range n {
			b.stream.RMSNorm(x, x, weight, 1e-5)
		}
		b.stream.Download(bytesOf(x.Data[:1]))
		b.finish()
		return time.Since(start).Seconds()
	}
	n := launches
	if step(slowLaunches) > launchesFor {
		n = slowLaunches
	}
	few, each := b.slope(n, step)
	return max(few-each*float64(n), 0)
}

// slope is what a step of so much takes, and what each more of it does.
func (b *bench) slope(n int, step func(n int) float64) (few, each float64) {
	few, many := b.typical(func() float64 { return step(n) }), b.typical(func() float64 { return step(3 * n) })
	return few, max((many-few)/float64(2*n), shortest)
}

// typical is the lower quartile of some samples, of few once the time is up.
func (b *bench) typical(sample func() float64) float64 {
	var all []float64
	for len(all) == 0 || len(all) < turnSamples && !b.late() && !b.once && *b.err == nil {
		all = append(all, sample())
	}
	slices.Sort(all)
	return all[len(all)/4]
}

// gateBytes is the size of an exchange's messages: the queries of a large model.
const gateBytes = 16 << 10

// measureGate measures the device's part of an exchange that it was given ahead: it sends messages to this host, which answers each at once. 0 is a device that makes no exchanges.
func (b *bench) measureGate() float64 {
	ex, ok := b.Device.NewStream().(device.Exchanger)
	if !ok {
		return 0
	}
	defer func() { b.fail(ex.Close()) }()
	in, err := ex.NewLane(gateBytes, b.Spin)
	b.fail(err)
	out, err := ex.NewLane(gateBytes, b.Spin)
	b.fail(err)
	data := bytesOf(b.filled(1, gateBytes/4).Data)
	if *b.err != nil {
		return 0
	}
	e := echo{in: in, out: out}
	out.SetReady(uint32(len(out.Slots)))
	var peer sync.WaitGroup
	peer.Go(e.serve)
	defer peer.Wait()
	defer e.ended.Store(true)
	seq := uint32(0)
	step := func(n int) float64 {
		start := time.Now()
		for range n {
			ex.Send(out, seq, data)
			ex.Await(out, seq+1, 0)
			ex.Receive(in, seq, data)
			seq++
		}
		b.fail(ex.Wait())
		return time.Since(start).Seconds()
	}
	n := exchanges
	if step(1) > launchesFor {
		n = 1
	}
	_, each := b.slope(n, step)
	return each
}

// echo answers a device's messages.
type echo struct {
	in, out *device.Lane // as the device sees them
	ended   atomic.Bool
}

func (e *echo) serve() {
	for seq := uint32(0); ; seq++ {
		for !device.Reached(e.out.Words.Done.Load(), seq+1) {
			if e.ended.Load() {
				return
			}
			runtime.Gosched()
		}
		e.in.Words.Bytes[seq%2].Store(gateBytes)
		e.in.SetReady(seq + 1)
		e.out.SetReady(seq + 1 + uint32(len(e.out.Slots)))
	}
}
