package calibrate

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/placement"
)

// What is recorded, of layers and of exchanges, in the shorter of two recordings whose difference is what one takes; the longer has three times as many. A device that is
// given launches some at a time has begun when the shorter's last is recorded.
const (
	turnLayers  = 8
	exchanges   = 4
	turnSamples = 6
	launchesFor = 2e-3 // seconds; a device that takes longer for a short operation is not worth many samples
	turnBytes   = 64 << 10
)

// measureTurn measures what a step takes besides its operations: the time of a few short layers, and of what goes there
// and back with them, less what as many take within a longer recording; and what the host takes to hand over a layer, and a step besides its layers (the embedding, the head and the choice of a token), if the device tells how far it has come. A processor
// computes what it is handed at once: all are 0.
func (b *bench) measureTurn(r *placement.Rates) {
	if !b.Alike {
		return
	}
	const width = 64
	x, src, weight := b.filled(1, width), someFloats(width), b.filled(1, width).Data
	layer, attend := b.layer(turnBytes), b.attend(turnBytes, int(placement.Intensities[0]), attention.F16)
	if *b.err != nil {
		return
	}
	record := func(n int) {
		b.at = 0
		b.stream.Write(x, src)
		for range n {
			layer()
			attend()
		}
		b.stream.Download(bytesOf(x.Data[:1]))
	}
	step := func(n int) float64 {
		start := time.Now()
		record(n)
		b.finish()
		return time.Since(start).Seconds()
	}
	n := turnLayers
	if step(1) > launchesFor {
		n = 1
	}
	few, each := b.slope(n, step)
	r.Turn = max(few-each*float64(n), 0)
	p, ok := b.stream.(device.Pacer)
	if !ok || !p.Part() {
		return
	}
	b.fail(p.WaitPart())
	table, norm, logits, chosen := b.matrix(width, width), b.filled(1, width), b.filled(1, width), b.ints(1)
	few, r.Record = b.slope(n, func(n int) float64 {
		b.at = 0
		start := time.Now()
		p.EmbedChosen(x, table, chosen)
		for range n {
			layer()
			attend()
		}
		p.RMSNorm(norm, x, weight, eps)
		p.MatMul(logits, norm, table)
		p.Argmax(chosen, logits)
		p.Download(bytesOf(chosen))
		p.Part()
		recorded := time.Since(start).Seconds()
		b.fail(p.WaitPart())
		return recorded
	})
	r.Begin = max(few-r.Record*float64(n), 0)
}

// slope is what a step of so much takes, and what each more of it does.
func (b *bench) slope(n int, step func(n int) float64) (few, each float64) {
	few = b.quartile(0, turnSamples, func() float64 { return step(n) })
	many := b.quartile(0, turnSamples, func() float64 { return step(3 * n) })
	return few, max((many-few)/float64(2*n), shortest)
}

// measureGate measures the device's part of an exchange that it was given ahead: it sends messages to this host, which answers each at once. 0 is a device that makes no exchanges.
func (b *bench) measureGate() float64 {
	ex, ok := b.Device.NewStream().(device.Exchanger)
	if !ok {
		return 0
	}
	defer func() { b.fail(ex.Close()) }()
	in, err := ex.NewLane(device.LaneEnd{Size: placement.AheadBytes, Spin: b.Spin})
	b.fail(err)
	out, err := ex.NewLane(device.LaneEnd{Size: placement.AheadBytes, Out: true, Spin: b.Spin})
	b.fail(err)
	data := bytesOf(b.filled(1, placement.AheadBytes/4).Data)
	if *b.err != nil {
		return 0
	}
	e := echo{in: in, out: out}
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
		e.in.Words.Bytes[seq%2].Store(placement.AheadBytes)
		e.in.SetReady(seq + 1)
		e.out.SetReady(seq + 1)
	}
}
