package gated

import (
	"encoding/binary"

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
	gates []*gateParams
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
	q.steps = q.steps[:0]
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
			e.launch(o.kernel, o.grid, o.args)
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
	for _, g := range e.gates {
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
func (e *encoder) launch(k gpu.Kernel, g gpu.Grid, args []gpu.Arg) {
	s := Step{Kernel: k, Grid: g, Args: args, Halt: e.halt()}
	if e.gated && !e.q.options.Halts {
		s.Groups = gpu.Range{Buffer: e.grids.Buffer, Offset: e.grids.Offset + int64(e.count*gridBytes)}
		to := bytes(s.Groups, gridBytes)
		for i, n := range []int{g.X, g.Y, g.Z} {
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
	e.add(Step{Kernel: q.kernels.copy, Grid: copyGrid(gridBytes), Args: q.now().arena.keep([]gpu.Arg{gpu.At(q.control, goAt), gpu.Buf(q.halt), gpu.Value(&p)})})
	q.halted = false
}

// gate is a gate on a lane's words, or one that only asks whether the step is poisoned.
func (e *encoder) gate(l *lane, p gateParams) {
	counts, words := gpu.Buf(e.q.control), gpu.Buf(e.q.control)
	if l != nil {
		counts, words = gpu.Buf(l.buffer), gpu.Buf(l.own)
	}
	args := e.q.now().arena.keep([]gpu.Arg{counts, words, gpu.Buf(e.q.control), e.stopped(), gpu.Value(&p)})
	e.pass(Step{Kernel: e.q.kernels.gate, Grid: gpu.Grid{X: 1, Y: 1, Z: 1, Threads: gpu.SimdWidth}, Args: args}, (*gateParams)(args[len(args)-1].Value))
}

// stopped is what a gate sets to 0.
func (e *encoder) stopped() gpu.Arg {
	if e.q.options.Halts {
		return gpu.Buf(e.q.halt)
	}
	return gpu.At(e.grids.Buffer, e.grids.Offset)
}

// pass adds a launch that is a gate for what follows.
func (e *encoder) pass(s Step, p *gateParams) {
	e.gates = append(e.gates, p)
	s.Halt, s.Settle = e.halt(), true
	e.add(s)
	e.gated = true
}

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
		e.add(Step{Wait: l.arrivals, Value: count})
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
	e.launch(q.kernels.signal, gpu.Grid{X: 1, Y: 1, Z: 1, Threads: gpu.SimdWidth}, q.now().arena.keep([]gpu.Arg{e.counted(l), gpu.Value(&p)}))
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
func (e *encoder) counted(l *lane) gpu.Arg {
	if e.q.options.Fast {
		return gpu.Buf(l.buffer)
	}
	return gpu.At(l.own, shadowAt)
}

// tell lets the host see what was counted.
func (e *encoder) tell(l *lane) {
	if !e.q.options.Fast {
		e.add(Step{Signal: l.signals, Value: l.told})
	}
}

// receive is an await, and what follows it, in one launch.
func (e *encoder) receive(o *operation, place int) {
	q, l := e.q, o.lane
	p := receiveParams{gate: e.arrival(o, place), signal: e.counting(o)}
	slot := l.slot(o.seq)
	args := [...]gpu.Arg{gpu.Buf(l.buffer), gpu.Buf(l.own), gpu.Buf(q.control), e.stopped(), e.counted(l), gpu.At(slot.Buffer, slot.Offset), {}, {}, {}, gpu.Value(&p)}
	from := slot.Offset
	for i := range mostParts {
		part := o.parts[min(i, len(o.parts)-1)]
		args[6+i] = gpu.At(part.At.Buffer, part.At.Offset)
		if i < len(o.parts) {
			p.count[i], p.wide[i] = uint32(part.Bytes/4), wide(from, part.At.Offset)
			from += part.Bytes
		}
	}
	kept := q.now().arena.keep(args[:])
	e.pass(Step{Kernel: q.kernels.receive, Grid: gpu.Grid{X: 1, Y: 1, Z: 1, Threads: fusedThreads}, Args: kept}, &(*receiveParams)(kept[len(kept)-1].Value).gate)
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
	e.launch(q.kernels.send, gpu.Grid{X: 1, Y: 1, Z: 1, Threads: fusedThreads},
		q.now().arena.keep([]gpu.Arg{e.counted(l), gpu.At(slot.Buffer, slot.Offset), gpu.At(from.Buffer, from.Offset), gpu.Value(&p)}))
	e.tell(l)
}

func (e *encoder) publish(l *lane, seq uint32, p publishParams) {
	slot := l.slot(seq)
	args := e.q.now().arena.keep([]gpu.Arg{gpu.At(slot.Buffer, slot.Offset), gpu.Buf(l.buffer), gpu.Value(&p)})
	e.launch(e.q.kernels.publish, gpu.Grid{X: (int(p.count) + publishWords - 1) / publishWords, Y: 1, Z: 1, Threads: 256}, args)
}
