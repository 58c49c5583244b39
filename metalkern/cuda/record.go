//go:build linux

package cuda

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// mostRecorded is how many launches are given to the device together: enough for a graph to pay, few enough for the device to start soon.
const mostRecorded = 64

// padding follows arguments whose size is no multiple of 8.
var padding [8]byte

// recording is launches in order, with copies of their arguments.
type recording struct {
	launches []launch
	shape    []byte // what a graph of the launches consists of: functions, grids, and the addresses of buffers
	data     []byte // arguments, each at a multiple of 8
	sizes    []int32
}

// launch is one of them. Its arguments are the next sizes of the recording, and lie in data from at to end. The last is what every
// kernel has beyond its own: where the word lies that stops it, or 0.
type launch struct {
	kernel  *kernel
	grid    gpu.Grid
	args    [2]int32
	at, end int32
}

func (r *recording) reset() {
	r.launches, r.shape, r.data, r.sizes = r.launches[:0], r.shape[:0], r.data[:0], r.sizes[:0]
}

// add records a launch.
func (r *recording) add(k *kernel, g gpu.Grid, args []gpu.Arg, halt uintptr) error {
	l := launch{kernel: k, grid: g, args: [2]int32{int32(len(r.sizes)), int32(len(r.sizes) + len(args) + 1)}, at: int32(len(r.data))}
	le := binary.LittleEndian
	r.shape = le.AppendUint64(r.shape, uint64(k.function))
	for _, n := range [...]int{g.X, g.Y, g.Z, g.Threads, g.Pool} {
		r.shape = le.AppendUint32(r.shape, uint32(n))
	}
	for i, a := range args {
		if a.Buffer == nil {
			r.shape = le.AppendUint64(r.shape, uint64(a.Size))
			r.data = append(r.data, unsafe.Slice((*byte)(a.Value), a.Size)...)
			r.data = append(r.data, padding[:-a.Size&7]...)
			r.sizes = append(r.sizes, int32(a.Size+-a.Size&7))
			continue
		}
		b, ok := a.Buffer.(*buffer)
		if !ok || b.device == 0 || a.Offset < 0 || a.Offset > b.size {
			return fmt.Errorf("cuda: argument %d of %s is not a buffer, or begins past its end", i, k.name)
		}
		address := uint64(b.device) + uint64(a.Offset)
		r.shape = le.AppendUint64(r.shape, address)
		r.data = le.AppendUint64(r.data, address)
		r.sizes = append(r.sizes, 8)
	}
	r.data = le.AppendUint64(r.data, uint64(halt))
	r.sizes = append(r.sizes, 8)
	l.end = int32(len(r.data))
	r.launches = append(r.launches, l)
	return nil
}

// params fills in where the arguments of a launch lie, as the driver takes them.
func (r *recording) params(l *launch, params *[maxArgs + 1]unsafe.Pointer) {
	at := l.at
	for i, size := range r.sizes[l.args[0]:l.args[1]] {
		params[i] = unsafe.Pointer(&r.data[at])
		at += size
	}
}

// launchAll gives the launches to the device, one after the other.
func (q *queue) launchAll(r *recording) {
	for i := range r.launches {
		l := &r.launches[i]
		r.params(l, &q.params)
		g := l.grid
		if status := q.launchOne(l); status != 0 {
			q.note(fmt.Sprintf("launch of %s over [%d][%d][%d] groups of %d threads", l.kernel.name, g.X, g.Y, g.Z, g.Threads), status)
			return
		}
	}
	runtime.KeepAlive(r)
}

// flush gives the device what was recorded.
func (q *queue) flush() {
	r := &q.recorded
	if len(r.launches) == 0 {
		return
	}
	defer r.reset()
	if q.err != nil {
		return
	}
	defer q.host.current()()
	if len(r.launches) < leastGraph {
		q.launchAll(r)
		return
	}
	g, seen := q.graphs.find(r.shape)
	if g == nil && seen && !q.ungraphed {
		if g, q.ungraphed = q.capture(r); g != nil {
			q.graphs.add(g)
		}
	}
	if g == nil {
		q.launchAll(r)
		return
	}
	q.replay(g, r)
}
