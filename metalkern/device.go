package metalkern

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// Device computes on a host of GPU kernels. It implements [device.Device].
//
// Tensors and blocks of keys and values lie in the host's memory, so each operation copies what it reads to the device, and what it wrote
// back. Weights are copied once, when they are first used, and kept until Close.
type Device struct {
	host  gpu.Host
	set   *kernels.Set
	merge *kernels.Merge

	mu      sync.Mutex
	weights map[weightKey]*loaded
	streams []*stream
	closed  bool
}

var _ device.Device = (*Device)(nil)

// weightKey tells matrices apart by where they lie.
type weightKey struct {
	data       *byte
	format     device.Format
	rows, cols int
}

// loaded is a matrix on the device, with some of its bytes, by which a matrix that lies where another one lay is found out.
type loaded struct {
	weights kernels.Weights
	buffer  gpu.Buffer
	samples []byte
}

// sampleBytes is how much of the begin, the middle and the end of a matrix is compared.
const sampleBytes = 256

// NewDevice makes a device of a host, which Close closes.
func NewDevice(host gpu.Host) (*Device, error) {
	set := kernels.New(host)
	merge, err := set.Merge()
	if err != nil {
		return nil, err
	}
	return &Device{host: host, set: set, merge: merge, weights: map[weightKey]*loaded{}}, nil
}

// Name implements [device.Device].
func (d *Device) Name() string {
	info := d.host.Info()
	return fmt.Sprintf("%s (%s)", info.Kind, info.Name)
}

// NewStream implements [device.Device]. If the host cannot make a queue, the stream's Wait says why.
func (d *Device) NewStream() device.Stream {
	s := &stream{device: d}
	s.queue, s.err = d.host.NewQueue()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.streams = append(d.streams, s)
	return s
}

// Close implements [device.Device].
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	var all []error
	for _, s := range d.streams {
		all = append(all, s.close())
	}
	for _, w := range d.weights {
		all = append(all, w.buffer.Free())
	}
	return errors.Join(append(all, d.host.Close())...)
}

var weightFormats = map[device.Format]kernels.WeightFormat{device.F32: kernels.F32, device.F16: kernels.F16, device.BF16: kernels.BF16}

// load is the matrix on the device, copied there if it is not yet.
func (d *Device) load(s *stream, m device.Matrix) (kernels.Weights, error) {
	size := m.Rows * m.Cols * m.Format.Bytes()
	f, ok := weightFormats[m.Format]
	if !ok || size == 0 || len(m.Data) < size {
		return kernels.Weights{}, fmt.Errorf("metalkern: weights [%d][%d] in %v of %d bytes", m.Rows, m.Cols, m.Format, len(m.Data))
	}
	data := m.Data[:size]
	key := weightKey{unsafe.SliceData(data), m.Format, m.Rows, m.Cols}
	samples := sample(data)
	d.mu.Lock()
	defer d.mu.Unlock()
	have := d.weights[key]
	if have != nil && bytes.Equal(have.samples, samples) {
		return have.weights, nil
	}
	if have == nil {
		buffer, err := d.host.Alloc(int64(size), gpu.Local)
		if err != nil {
			return kernels.Weights{}, err
		}
		have = &loaded{buffer: buffer, weights: kernels.Weights{Format: f, Rows: m.Rows, Cols: m.Cols, Data: gpu.Range{Buffer: buffer}}}
		d.weights[key] = have
	}
	have.samples = samples
	s.queue.Write(have.weights.Data, data)
	return have.weights, s.wait()
}

// sample is some of the bytes of data.
func sample(data []byte) []byte {
	n := min(sampleBytes, len(data))
	middle := (len(data) - n) / 2
	out := append(make([]byte, 0, 3*n), data[:n]...)
	out = append(out, data[middle:middle+n]...)
	return append(out, data[len(data)-n:]...)
}
