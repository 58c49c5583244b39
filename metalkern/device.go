package metalkern

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// Device computes on a host of GPU kernels. It implements [device.Device]: tensors, blocks and weights lie in the memory of the GPU, and what a stream
// is given runs there, in order, while the processor goes on.
type Device struct {
	host   gpu.Host
	set    *kernels.Set
	merge  *kernels.Merge
	memory *memory
	origin gpu.Range // lists of blocks hold distances from here

	mu      sync.Mutex
	weights map[*byte]*weights // by where they lie in the host's memory
	loaded  map[*byte]*weights // by where they lie on the device
	streams map[*stream]bool
	closed  bool

	copying sync.Mutex
	copies  gpu.Queue // of Read, Write and Load
}

var _ device.Device = (*Device)(nil)

// weights are a matrix that was loaded.
type weights struct {
	source device.Matrix
	matrix device.Matrix
	users  int
}

const (
	// stepTimeout bounds what a stream waits for.
	stepTimeout = 2 * time.Minute
	// copyTimeout bounds one copy.
	copyTimeout = time.Minute
	// weightAlign is what weights begin at multiples of, for kernels.
	weightAlign = 16
	// copyBytes is how much of a matrix is copied at a time.
	copyBytes = 64 << 20
)

// NewDevice makes a device of a host, which Close closes.
func NewDevice(host gpu.Host) (*Device, error) {
	d := &Device{host: host, set: kernels.New(host), memory: newMemory(host), weights: map[*byte]*weights{}, loaded: map[*byte]*weights{}, streams: map[*stream]bool{}}
	var err error
	if d.merge, err = d.set.Merge(); err != nil {
		return nil, err
	}
	if d.copies, err = host.NewQueue(); err != nil {
		return nil, err
	}
	origin, err := d.memory.alloc(16)
	if err != nil {
		return nil, errors.Join(err, d.copies.Close())
	}
	d.origin = d.memory.bytes(origin)
	return d, nil
}

// Name implements [device.Device].
func (d *Device) Name() string {
	info := d.host.Info()
	return fmt.Sprintf("%s (%s)", info.Kind, info.Name)
}

// Check implements [device.Device].
func (d *Device) Check(f attention.Format, s attention.Shape) error {
	if err := stored(f); err != nil {
		return fmt.Errorf("%s: %w, or --device cpu", d.Name(), err)
	}
	if err := (kernels.Layer{Shape: s, Bits: f.Bits()}).Check(); err != nil {
		return fmt.Errorf("%s: %w; use --device cpu", d.Name(), err)
	}
	return nil
}

// Alloc implements [device.Memory].
func (d *Device) Alloc(n int) ([]byte, error) { return d.memory.alloc(n) }

// Free implements [device.Memory].
func (d *Device) Free(b []byte) { d.memory.free(b) }

// Discard implements [device.Memory]: a buffer can only be given back whole.
func (d *Device) Discard([]byte) bool { return false }

// Read implements [device.Memory].
func (d *Device) Read(src []byte) ([]byte, error) {
	if len(src) == 0 {
		return nil, nil
	}
	dst := make([]byte, len(src))
	return dst, d.copy(func(q gpu.Queue) { q.Read(dst, d.memory.bytes(src)) })
}

// Write implements [device.Memory].
func (d *Device) Write(dst, src []byte) error {
	if len(src) == 0 {
		return nil
	}
	return d.copy(func(q gpu.Queue) { q.Write(d.memory.bytes(dst[:len(src)]), src) })
}

func (d *Device) copy(record func(q gpu.Queue)) error {
	d.copying.Lock()
	defer d.copying.Unlock()
	record(d.copies)
	return d.copies.Wait(time.Now().Add(copyTimeout))
}

var weightFormats = map[device.Format]kernels.WeightFormat{device.F32: kernels.F32, device.F16: kernels.F16, device.BF16: kernels.BF16}

// Load implements [device.Device]. What was loaded before, and not unloaded, is shared.
func (d *Device) Load(m device.Matrix) (device.Matrix, error) {
	f, ok := weightFormats[m.Format]
	size := m.Rows * m.Cols * m.Format.Bytes()
	if !ok || size == 0 || len(m.Data) < size {
		return m, fmt.Errorf("metalkern: weights [%d][%d] in %v of %d bytes", m.Rows, m.Cols, m.Format, len(m.Data))
	}
	if err := (kernels.Weights{Format: f, Rows: m.Rows, Cols: m.Cols}).Check(); err != nil && m.Rows > 1 { // vectors may be of any length
		return m, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := unsafe.SliceData(m.Data)
	if w := d.weights[key]; w != nil && w.matrix.Rows == m.Rows && w.matrix.Cols == m.Cols && w.matrix.Format == m.Format {
		w.users++
		return w.matrix, nil
	}
	data, err := d.place(m.Data[:size], m.Rows > 1) // vectors are Go's
	if err != nil {
		return m, err
	}
	w := &weights{source: m, matrix: device.Matrix{Format: m.Format, Rows: m.Rows, Cols: m.Cols, Data: data}, users: 1}
	if d.weights[key] == nil {
		d.weights[key] = w
	}
	d.loaded[unsafe.SliceData(data)] = w
	return w.matrix, nil
}

// place is the device's memory with data in it: the same memory, if data lies in mapped memory and the host can share that.
func (d *Device) place(data []byte, mapped bool) ([]byte, error) {
	aligned := uintptr(unsafe.Pointer(unsafe.SliceData(data)))%weightAlign == 0
	if h, ok := d.host.(gpu.Adopter); ok && mapped && aligned {
		from, err := h.Adopt(data)
		if err != nil {
			return nil, err
		}
		return d.memory.enter(from, len(data))
	}
	to, err := d.Alloc(len(data))
	if err != nil {
		return nil, err
	}
	for at := 0; at < len(data); at += copyBytes {
		end := min(at+copyBytes, len(data))
		if err := d.Write(to[at:end], data[at:end]); err != nil {
			d.Free(to)
			return nil, err
		}
	}
	return to, nil
}

// Unload implements [device.Device].
func (d *Device) Unload(m device.Matrix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := unsafe.SliceData(m.Data)
	w := d.loaded[at]
	if w == nil {
		panic("metalkern: Unload of a matrix that was not loaded")
	}
	if w.users--; w.users > 0 {
		return
	}
	delete(d.loaded, at)
	if key := unsafe.SliceData(w.source.Data); d.weights[key] == w {
		delete(d.weights, key)
	}
	d.Free(m.Data)
}

// NewStream implements [device.Device]. If the host cannot make a queue, the stream's Wait says why.
func (d *Device) NewStream() device.Stream {
	s := newStream(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.streams[s] = true
	return s
}

// forget is told of a stream that was closed.
func (d *Device) forget(s *stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.streams, s)
}

// Close implements [device.Device].
func (d *Device) Close() error {
	d.mu.Lock()
	streams, closed := slices.Collect(maps.Keys(d.streams)), d.closed
	d.closed = true
	d.mu.Unlock()
	if closed {
		return nil
	}
	var all []error
	for _, s := range streams {
		all = append(all, s.Close())
	}
	all = append(all, d.copies.Close())
	d.memory.close()
	return errors.Join(append(all, d.host.Close())...)
}
