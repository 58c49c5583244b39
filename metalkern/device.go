package metalkern

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

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
	experts map[*byte]*experts // by their tables
	streams map[*stream]bool
	closed  bool

	copying sync.Mutex
	copies  gpu.Queue // of Read, Write and Load
}

var _ device.Device = (*Device)(nil)

const (
	// stepTimeout bounds what a stream waits for.
	stepTimeout = 2 * time.Minute
	// copyTimeout bounds one copy.
	copyTimeout = time.Minute
)

// NewDevice makes a device of a host, which Close closes.
func NewDevice(host gpu.Host) (*Device, error) {
	slab := slabBytes
	if host.Info().Kind == "emulator" { // which finds out about accesses outside of buffers
		slab = 0
	}
	d := &Device{host: host, set: kernels.New(host), memory: newMemory(host, slab), weights: map[*byte]*weights{}, loaded: map[*byte]*weights{}, experts: map[*byte]*experts{}, streams: map[*stream]bool{}}
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

// Info describes the GPU.
func (d *Device) Info() gpu.Info { return d.host.Info() }

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

// Discard implements [device.Memory]: memory can only be given back as it was taken.
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
