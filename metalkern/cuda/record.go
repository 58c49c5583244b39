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
	shape    []byte // what a graph of the launches consists of: functions, and the addresses of buffers
	data     []byte // arguments, each at a multiple of 8
}

// launch is one of them. Its arguments lie in data from at to end: the addresses of so many buffers; what every kernel has behind its own parameters, where
// the word lies that stops it, or 0; and a value of so many bytes, unless there is none.
type launch struct {
	kernel         *kernel
	grid           gpu.Grid
	at, end        int32
	buffers, value int32
}

func (r *recording) reset() {
	r.launches, r.shape, r.data = r.launches[:0], r.shape[:0], r.data[:0]
}

// add records a launch.
func (r *recording) add(k *kernel, c *gpu.Call, halt uintptr) error {
	l := launch{kernel: k, grid: c.Grid, at: int32(len(r.data)), buffers: int32(len(c.Buffers)), value: int32(len(c.Value))}
	le := binary.LittleEndian
	for i, at := range c.Buffers {
		b, ok := at.Buffer.(*buffer)
		if !ok || b.device == 0 || at.Offset < 0 || at.Offset > b.size {
			r.data = r.data[:l.at]
			return fmt.Errorf("cuda: argument %d of %s is not a buffer, or begins past its end", i, k.name)
		}
		r.data = le.AppendUint64(r.data, uint64(b.device)+uint64(at.Offset))
	}
	r.shape = le.AppendUint64(r.shape, uint64(k.function))
	r.shape = le.AppendUint32(r.shape, uint32(len(c.Buffers)))
	r.shape = le.AppendUint32(r.shape, uint32(len(c.Value)))
	r.shape = append(r.shape, r.data[l.at:]...)
	r.data = le.AppendUint64(r.data, uint64(halt))
	r.data = append(append(r.data, c.Value...), padding[:-len(c.Value)&7]...)
	l.end = int32(len(r.data))
	r.launches = append(r.launches, l)
	return nil
}

// params fills in where the arguments of a launch lie, as the driver takes them.
func (r *recording) params(l *launch, params *[maxArgs + 1]unsafe.Pointer) {
	n, halt := int(l.buffers), int(l.at+8*l.buffers)
	for i := range n {
		params[i] = unsafe.Pointer(&r.data[int(l.at)+8*i])
	}
	if l.value > 0 {
		params[n] = unsafe.Pointer(&r.data[halt+8])
		n++
	}
	params[n] = unsafe.Pointer(&r.data[halt])
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
