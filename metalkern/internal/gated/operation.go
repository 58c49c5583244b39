package gated

import (
	"unsafe"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// operation is a launch, or what a step does to a lane.
type operation struct {
	kind   kind
	kernel gpu.Kernel
	grid   gpu.Grid
	args   []gpu.Arg
	lane   *lane
	seq    uint32
	bytes  int
	parts  []gpu.Part // of a message that is received, or the one that is sent: what the operations behind, as many as fused says, do with it too
	fused  int
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
	args   []gpu.Arg
	parts  []gpu.Part
	values []byte
}

const (
	argChunk   = 4096
	valueChunk = 64 << 10
	valueAlign = 16
	maxValue   = 4096 // bytes, as Metal has it
)

// keep copies arguments, and the values that they point to.
func (a *arena) keep(args []gpu.Arg) []gpu.Arg {
	if len(a.args)+len(args) > cap(a.args) {
		a.args = make([]gpu.Arg, 0, max(argChunk, len(args)))
	}
	from := len(a.args)
	a.args = append(a.args, args...)
	kept := a.args[from:len(a.args):len(a.args)]
	for i := range kept {
		if v := &kept[i]; v.Buffer == nil {
			v.Value = a.value(v.Value, v.Size)
		}
	}
	return kept
}

func (a *arena) value(p unsafe.Pointer, n int) unsafe.Pointer {
	if len(a.values)+n > cap(a.values) {
		a.values = make([]byte, 0, valueChunk)
	}
	from := len(a.values)
	a.values = append(a.values, unsafe.Slice((*byte)(p), n)...)
	kept := unsafe.Pointer(&a.values[from])
	a.values = a.values[:min(cap(a.values), (len(a.values)+valueAlign-1)/valueAlign*valueAlign)]
	return kept
}

// keepParts copies parts.
func (a *arena) keepParts(parts []gpu.Part) []gpu.Part {
	if len(a.parts)+len(parts) > cap(a.parts) {
		a.parts = make([]gpu.Part, 0, max(argChunk, len(parts)))
	}
	from := len(a.parts)
	a.parts = append(a.parts, parts...)
	return a.parts[from:len(a.parts):len(a.parts)]
}

// reset forgets everything.
func (a *arena) reset() {
	clear(a.args)
	clear(a.parts)
	a.args, a.parts, a.values = a.args[:0], a.parts[:0], a.values[:0]
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
