package gated

import (
	"unsafe"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// operation is a launch, or what a step does to a lane.
type operation struct {
	kind  kind
	call  gpu.Call
	lane  *lane
	seq   uint32
	bytes int
	parts []gpu.Part // of a message that is received, or the one that is sent: what the operations behind, as many as fused says, do with it too
	fused int
}

type kind uint8

const (
	launches kind = iota
	awaits
	signals
	sends // does nothing by itself: the copy and the signal behind it do
)

// segment is the end of the operations from next on that can be given to the GPU at once while the host waits for messages itself: all
// before the next await, and up to the next signal, which the host makes when they have run.
func segment(list []operation, next int) int {
	for i := next; i < len(list); i++ {
		switch list[i].kind {
		case awaits:
			return i
		case signals:
			return i + 1
		}
	}
	return len(list)
}

// arena keeps arguments until they have been submitted.
type arena struct {
	buffers []gpu.Range
	parts   []gpu.Part
	values  []byte
}

const (
	argChunk   = 4096
	valueChunk = 64 << 10
	valueAlign = 16
	maxValue   = 4096 // bytes, as Metal has it
)

// kept copies a list to a room, or to one that is larger: so one suffices for a step, once there was one like it.
func kept[T any](room *[]T, list []T, chunk int) []T {
	if len(*room)+len(list) > cap(*room) {
		*room = make([]T, 0, max(2*cap(*room), chunk, len(list)))
	}
	from := len(*room)
	*room = append(*room, list...)
	return (*room)[from:len(*room):len(*room)]
}

// keep is a call with copies of its arguments.
func (a *arena) keep(k gpu.Kernel, g gpu.Grid, buffers []gpu.Range, value []byte) gpu.Call {
	c := gpu.Call{Kernel: k, Grid: g, Buffers: kept(&a.buffers, buffers, argChunk), Value: kept(&a.values, value, valueChunk)}
	a.values = a.values[:min(cap(a.values), (len(a.values)+valueAlign-1)/valueAlign*valueAlign)]
	return c
}

// call is a call of a kernel of this package's.
func call[P any](a *arena, k gpu.Kernel, g gpu.Grid, buffers []gpu.Range, value P) gpu.Call {
	return a.keep(k, g, buffers, unsafe.Slice((*byte)(unsafe.Pointer(&value)), unsafe.Sizeof(value)))
}

// keepParts copies parts.
func (a *arena) keepParts(parts []gpu.Part) []gpu.Part { return kept(&a.parts, parts, argChunk) }

// reset forgets everything.
func (a *arena) reset() {
	clear(a.buffers)
	clear(a.parts)
	a.buffers, a.parts, a.values = a.buffers[:0], a.parts[:0], a.values[:0]
}

// rooms are pieces of memory for the time of a step.
type rooms struct {
	chunks []gpu.Buffer
	at     int   // the chunk in use
	used   int64 // of it
}

const roomAlign = 256

// take is n bytes.
func (r *rooms) take(d Device, n, chunk int64) (gpu.Range, error) {
	for ; r.at < len(r.chunks); r.at, r.used = r.at+1, 0 {
		if b := r.chunks[r.at]; r.used+n <= b.Len() {
			at := r.used
			r.used += (n + roomAlign - 1) / roomAlign * roomAlign
			return gpu.Range{Buffer: b, Offset: at}, nil
		}
	}
	b, err := d.Alloc(max(n, chunk), gpu.Mapped)
	if err != nil {
		return gpu.Range{}, err
	}
	r.chunks = append(r.chunks, b)
	r.used = (n + roomAlign - 1) / roomAlign * roomAlign
	return gpu.Range{Buffer: b}, nil
}

// reset frees what is beyond keep bytes.
func (r *rooms) reset(keep int64) error {
	var first error
	kept, sum := r.chunks[:0], int64(0)
	for _, b := range r.chunks {
		if sum += b.Len(); sum <= keep {
			kept = append(kept, b)
		} else if err := b.Free(); err != nil && first == nil {
			first = err
		}
	}
	clear(r.chunks[len(kept):])
	r.chunks, r.at, r.used = kept, 0, 0
	return first
}
