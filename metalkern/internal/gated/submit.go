package gated

import (
	"encoding/binary"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// encoder turns operations into the steps of a batch.
type encoder struct {
	q     *Queue
	grids gpu.Range // of launches behind gates
	count int       // of them
	gated bool      // whether launches are behind a gate
	waits bool      // whether a gate waits
}

// submit gives the operations before to to the GPU.
func (q *Queue) submit(to int) {
	if q.next >= to || q.err != nil || q.split || q.stuck {
		return
	}
	q.give(to)
}

// give is submit, also for steps that are split, whose awaits and signals are the host's.
func (q *Queue) give(to int) {
	list := q.list[q.next:to]
	e := encoder{q: q, gated: q.waits && !q.split}
	needed := e.gated
	for i := range list {
		needed = needed || list[i].kind == awaits && !q.split
	}
	if needed && !q.options.Halts {
		var err error // a signal is two launches, an await a gate and one
		if e.grids, err = q.now().grids.take(q.device, int64(2*len(list)*gridBytes), gridChunk); err != nil {
			q.fail(err)
			return
		}
	}
	q.steps, q.gates = q.steps[:0], q.gates[:0]
	switch {
	case !q.options.Halts && e.gated:
		e.gate(nil, gateParams{})
	case q.options.Halts && needed && q.halted:
		e.restore()
	}
	for i := 0; i < len(list); i++ {
		o := &list[i]
		switch {
		case o.kind == launches:
			e.launch(o.call)
		case q.split:
		case o.fused > 0 && o.kind == awaits:
			e.receive(o, q.next+i)
			i += o.fused
		case o.fused > 0:
			e.send(o)
			i += o.fused
		case o.kind == awaits:
			e.await(o, q.next+i)
		case o.kind == signals:
			e.signal(o)
		}
	}
	for _, g := range q.gates {
		if g.grids = uint32(e.count); q.options.Halts {
			g.grids = 1
		}
	}
	q.next = to
	q.waits = q.waits || e.waits
	if len(q.steps) == 0 {
		return
	}
	if e.waits {
		q.watcher.begin()
	}
	batch, err := q.device.Submit(q.steps)
	clear(q.steps)
	if err != nil {
		q.fail(err)
		return
	}
	f := flight{batch: batch, end: to, timed: len(q.marks) > 0, gated: e.waits}
	if f.timed {
		q.timed++
	}
	q.flying = append(q.flying, f)
}

func (e *encoder) add(s Step) { e.q.steps = append(e.q.steps, s) }

// launch runs a kernel unless a gate before has poisoned the step.
func (e *encoder) launch(c gpu.Call) {
	s := Step{Call: c, Halt: e.halt()}
	if e.gated && !e.q.options.Halts {
		s.Groups = gpu.Range{Buffer: e.grids.Buffer, Offset: e.grids.Offset + int64(e.count*gridBytes)}
		to := bytes(s.Groups, gridBytes)
		for i, n := range []int{c.Grid.X, c.Grid.Y, c.Grid.Z} {
			binary.LittleEndian.PutUint32(to[4*i:], uint32(n))
		}
		e.count++
	}
	e.add(s)
}

// halt is what launches behind a gate look at.
func (e *encoder) halt() gpu.Range {
	if e.gated && e.q.options.Halts {
		return gpu.Range{Buffer: e.q.halt}
	}
	return gpu.Range{}
}

// restore lets launches run again after a step that was poisoned.
func (e *encoder) restore() {
	q := e.q
	p := copyParams{n: gridBytes}
	from, to := gpu.Range{Buffer: q.control, Offset: goAt}, gpu.Range{Buffer: q.halt}
	e.add(Step{Call: call(&q.now().arena, q.kernels.copy, copyGrid(gridBytes), gpu.Buffers(from, to), p)})
	q.halted = false
}

// gate is a gate on a lane's words, or one that only asks whether the step is poisoned.
func (e *encoder) gate(l *lane, p gateParams) {
	control := gpu.Range{Buffer: e.q.control}
	counts, words := control, control
	if l != nil {
		counts, words = gpu.Range{Buffer: l.buffer}, gpu.Range{Buffer: l.own}
	}
	e.pass(call(&e.q.now().arena, e.q.kernels.gate, oneGroup(gpu.SimdWidth), gpu.Buffers(counts, words, control, e.stopped()), p))
}

// stopped is what a gate sets to 0.
func (e *encoder) stopped() gpu.Range {
	if e.q.options.Halts {
		return gpu.Range{Buffer: e.q.halt}
	}
	return e.grids
}

// pass adds a launch that is a gate for what follows. Its value begins with that of a gate.
func (e *encoder) pass(c gpu.Call) {
	e.q.gates = append(e.q.gates, (*gateParams)(unsafe.Pointer(unsafe.SliceData(c.Value))))
	e.add(Step{Call: c, Halt: e.halt(), Settle: true})
	e.gated = true
}

// oneGroup is a grid of one group of so many threads.
func oneGroup(threads int) gpu.Grid { return gpu.Grid{X: 1, Y: 1, Z: 1, Threads: threads} }

// arrival is what a gate on a message is told; what the GPU waits for before it looks is recorded.
func (e *encoder) arrival(o *operation, place int) gateParams {
	q, l := e.q, o.lane
	p := gateParams{waits: 1, ready: device.WordSent, want: l.Needs(o.seq), looks: q.options.Looks, place: q.base + uint32(place), bytes: device.WordBytes + o.seq%2, length: uint32(o.bytes)}
	if l.Out {
		p.ready = device.WordTaken
	}
	count := l.await(o.seq)
	if !q.options.Fast {
		p.looks = eventLooks
		e.add(Step{Wait: l.arrivals, Count: count})
	}
	e.waits = true
	return p
}

func (e *encoder) await(o *operation, place int) {
	q, l := e.q, o.lane
	e.gate(l, e.arrival(o, place))
	if q.options.Fast && !q.options.Coherent {
		e.publish(l, o.seq, publishParams{count: uint32(l.size+3) / 4, bytes: device.WordBytes + o.seq%2})
	}
}

func (e *encoder) signal(o *operation) {
	q, l := e.q, o.lane
	if o.bytes > 0 && q.options.Fast && !q.options.Coherent {
		e.publish(l, o.seq, publishParams{count: uint32(o.bytes+3) / 4})
	}
	p := e.counting(o)
	e.launch(call(&q.now().arena, q.kernels.signal, oneGroup(gpu.SimdWidth), gpu.Buffers(e.counted(l)), p))
	e.tell(l)
}

// counting is what a kernel is told that counts a message.
func (e *encoder) counting(o *operation) signalParams {
	o.lane.told = extend(o.lane.told, o.seq+1)
	if o.lane.Out {
		return signalParams{done: device.WordSent, count: o.seq + 1, at: device.WordBytes + o.seq%2, bytes: uint32(o.bytes)}
	}
	return signalParams{done: device.WordTaken, count: o.seq + 1}
}

// counted is where it counts.
func (e *encoder) counted(l *lane) gpu.Range {
	if e.q.options.Fast {
		return gpu.Range{Buffer: l.buffer}
	}
	return gpu.Range{Buffer: l.own, Offset: shadowAt}
}

// tell lets the host see what was counted.
func (e *encoder) tell(l *lane) {
	if !e.q.options.Fast {
		e.add(Step{Signal: l.signals, Count: l.told})
	}
}

// receive is an await, and what follows it, in one launch.
func (e *encoder) receive(o *operation, place int) {
	q, l := e.q, o.lane
	p := receiveParams{gate: e.arrival(o, place), signal: e.counting(o)}
	slot := l.slot(o.seq)
	from := slot.Offset
	var to [mostParts]gpu.Range
	for i := range mostParts {
		part := o.parts[min(i, len(o.parts)-1)]
		to[i] = part.At
		if i < len(o.parts) {
			p.count[i], p.wide[i] = uint32(part.Bytes/4), wide(from, part.At.Offset)
			from += part.Bytes
		}
	}
	lane, own, control := gpu.Range{Buffer: l.buffer}, gpu.Range{Buffer: l.own}, gpu.Range{Buffer: q.control}
	e.pass(call(&q.now().arena, q.kernels.receive, oneGroup(fusedThreads),
		gpu.Buffers(lane, own, control, e.stopped(), e.counted(l), slot, to[0], to[1], to[2]), p))
	e.tell(l)
}

// wide says, as kernels are told, whether what begins at both offsets can be copied 16 bytes at a time.
func wide(a, b int64) uint32 {
	if (a|b)%16 == 0 {
		return 1
	}
	return 0
}

// send is a copy to a slot, and its signal, in one launch.
func (e *encoder) send(o *operation) {
	q, l := e.q, o.lane
	slot, from := l.slot(o.seq), o.parts[0].At
	p := sendParams{count: uint32(o.bytes / 4), wide: wide(slot.Offset, from.Offset), signal: e.counting(o)}
	e.launch(call(&q.now().arena, q.kernels.send, oneGroup(fusedThreads), gpu.Buffers(e.counted(l), slot, from), p))
	e.tell(l)
}

func (e *encoder) publish(l *lane, seq uint32, p publishParams) {
	grid := gpu.Grid{X: (int(p.count) + publishWords - 1) / publishWords, Y: 1, Z: 1, Threads: 256}
	e.launch(call(&e.q.now().arena, e.q.kernels.publish, grid, gpu.Buffers(l.slot(seq), gpu.Range{Buffer: l.buffer}), p))
}
