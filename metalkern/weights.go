package metalkern

import (
	"fmt"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

const (
	// copyBytes is how much of a matrix is copied at a time.
	copyBytes = 64 << 20
	// repackBytes is how much is made at a time of a matrix that kernels read in another order than it was stored in.
	repackBytes = 4 << 20
	// weightAlign is what weights begin at multiples of, for kernels.
	weightAlign = 16
)

// weights are a matrix that was loaded.
type weights struct {
	source device.Matrix
	matrix device.Matrix // on the device; scales lie apart
	users  int
}

// weightFormats are those that kernels read.
var weightFormats = map[device.Format]kernels.WeightFormat{
	device.F32: kernels.F32, device.F16: kernels.F16, device.BF16: kernels.BF16, device.Q8_0: kernels.Q8, device.Q4_0: kernels.Q4,
}

// weights is a loaded matrix, as kernels are told of it.
func (s *stream) weights(m device.Matrix) kernels.Weights {
	w := kernels.Weights{Format: weightFormats[m.Format], Rows: m.Rows, Cols: m.Cols, Data: s.device.memory.bytes(m.Data)}
	if len(m.Scales) > 0 {
		w.Scales = s.device.memory.bytes(m.Scales)
	}
	return w
}

// Load implements [device.Device]. What was loaded before, and not unloaded, is shared.
func (d *Device) Load(m device.Matrix) (device.Matrix, error) {
	f, ok := weightFormats[m.Format]
	if !ok {
		return m, fmt.Errorf("%s multiplies no weights in %v; use --device cpu", d.Name(), m.Format)
	}
	if err := m.Check(); err != nil || len(m.Data) == 0 {
		return m, fmt.Errorf("metalkern: weights of %d bytes: %w", len(m.Data), err)
	}
	if err := (kernels.Weights{Format: f, Rows: m.Rows, Cols: m.Cols}).Check(); err != nil && m.Rows > 1 { // vectors may be of any length
		return m, fmt.Errorf("%w; use --device cpu", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := unsafe.SliceData(m.Data)
	if w := d.weights[key]; w != nil && w.matrix.Rows == m.Rows && w.matrix.Cols == m.Cols && w.matrix.Format == m.Format {
		w.users++
		return w.matrix, nil
	}
	to := device.Matrix{Format: m.Format, Rows: m.Rows, Cols: m.Cols}
	var err error
	if m.Format.Bytes() == 0 {
		err = d.repack(&to, m)
	} else {
		to.Data, err = d.place(m.Data[:m.Format.MatrixBytes(m.Rows, m.Cols)], m.Rows > 1) // vectors are Go's
	}
	if err != nil {
		return m, err
	}
	w := &weights{source: m, matrix: to, users: 1}
	if d.weights[key] == nil {
		d.weights[key] = w
	}
	d.loaded[unsafe.SliceData(to.Data)] = w
	return to, nil
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

// repack makes elements and scales of GGUF's blocks, each in memory of their own.
func (d *Device) repack(to *device.Matrix, m device.Matrix) (err error) {
	block := m.Format.Block()
	bytes := block.Bytes - scaleBytes
	n := m.Rows * m.Cols / block.Elements
	if to.Data, err = d.Alloc(n * bytes); err != nil {
		return err
	}
	if to.Scales, err = d.Alloc(n * scaleBytes); err != nil {
		d.Free(to.Data)
		return err
	}
	data, scales := make([]byte, min(n*bytes, repackBytes)), make([]byte, min(n*bytes, repackBytes)/bytes*scaleBytes)
	for at := 0; at < n && err == nil; {
		some := min(n-at, len(data)/bytes)
		for i := range some {
			b := m.Data[(at+i)*block.Bytes:][:block.Bytes]
			copy(scales[i*scaleBytes:], b[:scaleBytes])
			if out := data[i*bytes:][:bytes]; m.Format == device.Q4_0 {
				nibbles(out, b[scaleBytes:])
			} else {
				copy(out, b[scaleBytes:])
			}
		}
		if err = d.Write(to.Data[at*bytes:(at+some)*bytes], data[:some*bytes]); err == nil {
			err = d.Write(to.Scales[at*scaleBytes:(at+some)*scaleBytes], scales[:some*scaleBytes])
		}
		at += some
	}
	if err != nil {
		d.Free(to.Data)
		d.Free(to.Scales)
	}
	return err
}

// scaleBytes is the size of a block's scale, a half.
const scaleBytes = 2

// nibbles brings a block of Q4_0, whose byte i holds elements i and i+16, into the order that package plane has for kernels.
func nibbles(dst, src []byte) {
	clear(dst)
	for e := range 2 * len(src) {
		q := src[e%len(src)] >> (e / len(src) * 4) & 15
		bit := e%8/2*4 + e%2*16
		dst[e/8*4+bit/8] |= q << (bit % 8)
	}
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
	d.Free(w.matrix.Data)
	d.Free(w.matrix.Scales)
}
