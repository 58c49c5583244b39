package gated

import (
	"encoding/binary"

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
		if e.grids, err = q.grids.take(q.device, int64(2*len(list)*gridBytes), gridChunk); err != nil {
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
	for i := range list {
		o := &list[i]
		switch {
		case o.kind == launches:
			e.launch(o.kernel, o.grid, o.args)
		case q.split:
		case o.kind == awaits:
			e.await(o, q.next+i)
		default:
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
	batch, err := q.device.Submit(q.steps)
	clear(q.steps)
	if err != nil {
		q.fail(err)
		return
	}
	f := flight{batch: batch, timed: len(q.marks) > 0, gated: e.waits}
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
	e.add(Step{Kernel: q.kernels.copy, Grid: copyGrid(gridBytes), Args: q.arena.keep([]gpu.Arg{gpu.At(q.control, goAt), gpu.Buf(q.halt), gpu.Value(&p)})})
	q.halted = false
}

// gate is a gate on a lane's words, or one that only asks whether the step is poisoned.
func (e *encoder) gate(l *lane, p gateParams) {
	words := gpu.Buf(e.q.control)
	if l != nil {
		words = gpu.Buf(l.buffer)
	}
	grids := gpu.At(e.grids.Buffer, e.grids.Offset)
	if e.q.options.Halts {
		grids = gpu.Buf(e.q.halt)
	}
	args := e.q.arena.keep([]gpu.Arg{words, gpu.Buf(e.q.control), grids, gpu.Value(&p)})
	e.gates = append(e.gates, (*gateParams)(args[len(args)-1].Value))
	e.add(Step{Kernel: e.q.kernels.gate, Grid: gpu.Grid{X: 1, Y: 1, Z: 1, Threads: gpu.SimdWidth}, Args: args, Settle: true, Halt: e.halt()})
	e.gated = true
}

func (e *encoder) await(o *operation, place int) {
	q, l := e.q, o.lane
	p := gateParams{waits: 1, want: o.seq + 1, looks: q.options.Looks, place: uint32(place), bytes: wordBytes + o.seq%2, length: uint32(o.bytes)}
	l.awaited = extend(l.awaited, o.seq+1)
	if !q.options.Fast {
		p.looks = eventLooks
		e.add(Step{Wait: l.arrivals, Value: l.awaited})
	}
	e.gate(l, p)
	e.waits = true
	if q.options.Fast && !q.options.Coherent {
		e.publish(l, o.seq, publishParams{count: uint32(l.size+3) / 4, bytes: wordBytes + o.seq%2})
	}
}

func (e *encoder) signal(o *operation) {
	q, l := e.q, o.lane
	p := signalParams{slot: o.seq % 2, bytes: uint32(o.bytes), count: o.seq + 1}
	l.told = extend(l.told, o.seq+1)
	switch {
	case !q.options.Fast:
		p.base = shadowAt / 4
	case o.bytes > 0 && !q.options.Coherent:
		e.publish(l, o.seq, publishParams{count: uint32(o.bytes+3) / 4})
	}
	e.launch(q.kernels.signal, gpu.Grid{X: 1, Y: 1, Z: 1, Threads: gpu.SimdWidth}, q.arena.keep([]gpu.Arg{gpu.Buf(l.buffer), gpu.Value(&p)}))
	if !q.options.Fast {
		e.add(Step{Signal: l.signals, Value: l.told})
	}
}

func (e *encoder) publish(l *lane, seq uint32, p publishParams) {
	slot := l.slot(seq)
	args := e.q.arena.keep([]gpu.Arg{gpu.At(slot.Buffer, slot.Offset), gpu.Buf(l.buffer), gpu.Value(&p)})
	e.launch(e.q.kernels.publish, gpu.Grid{X: (int(p.count) + publishWords - 1) / publishWords, Y: 1, Z: 1, Threads: 256}, args)
}
