package metalkern

import (
	"errors"
	"fmt"
	"math"
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

// weightFormats are what kernels call formats without groups, and with those of GGUF.
var weightFormats = [math.MaxUint8 + 1]kernels.WeightFormat{
	device.F32: kernels.F32, device.F16: kernels.F16, device.BF16: kernels.BF16,
	device.Q8_0: kernels.Q8, device.Q4_0: kernels.Q4, device.Q4_K: kernels.Q4K, device.Q6_K: kernels.Q6K,
}

// formatOf is what kernels call the format of a matrix, or 0.
func formatOf(m device.Matrix) kernels.WeightFormat {
	if m.Format.Affine() {
		return kernels.Affine(8*m.Format.Block().Bytes/m.Format.Block().Elements, m.Group, weightFormats[m.ScaleFormat])
	}
	return weightFormats[m.Format]
}

// weights is a loaded matrix, as kernels are told of it.
func (s *stream) weights(m device.Matrix) kernels.Weights {
	w := kernels.Weights{Format: formatOf(m), Rows: m.Rows, Cols: m.Cols, Data: s.device.memory.bytes(m.Data)}
	if len(m.Scales) > 0 {
		w.Scales = s.device.memory.bytes(m.Scales)
	}
	return w
}

// Load implements [device.Device]. What was loaded before, and not unloaded, is shared.
func (d *Device) Load(m device.Matrix) (device.Matrix, error) {
	if err := m.Check(); err != nil || len(m.Data) == 0 {
		return m, fmt.Errorf("metalkern: weights of %d bytes: %w", len(m.Data), err)
	}
	f := formatOf(m)
	if f == 0 {
		return m, fmt.Errorf("%s multiplies no weights in %v; use --device cpu", d.Name(), m.Format)
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
	to := device.Matrix{Format: m.Format, Rows: m.Rows, Cols: m.Cols, ScaleFormat: m.ScaleFormat, Group: m.Group}
	if err := d.store(&to, m); err != nil {
		d.Free(to.Data)
		d.Free(to.Scales)
		return m, err
	}
	w := &weights{source: m, matrix: to, users: 1}
	if d.weights[key] == nil {
		d.weights[key] = w
	}
	d.loaded[unsafe.SliceData(to.Data)] = w
	return to, nil
}

// asStored reports whether kernels read the elements of a format where they lie.
func asStored(f device.Format) bool { return f.Bytes() > 0 || f == device.Q4_K || f.Affine() }

// store places the elements and scales of m. On an error what it has placed is in to.
func (d *Device) store(to *device.Matrix, m device.Matrix) (err error) {
	if !asStored(m.Format) {
		return d.repack(to, m)
	}
	if to.Data, err = d.place(m.Data[:m.Format.MatrixBytes(m.Rows, m.Cols)], m.Rows > 1); err != nil || !m.Format.Affine() { // vectors are Go's
		return err
	}
	to.Scales, err = d.numbers(m)
	return err
}

// numbers is the scales of a matrix in one of MLX's formats and then its biases, which lie apart in files.
func (d *Device) numbers(m device.Matrix) ([]byte, error) {
	n := m.GroupBytes()
	to, err := d.Alloc(2 * n)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.Write(to[:n], m.Scales[:n]), d.Write(to[n:], m.Biases[:n])); err != nil {
		d.Free(to)
		return nil, err
	}
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

// parted is how a block of GGUF is divided: elements and scales. Each kind of scales lies by itself, those of all blocks one after the other.
type parted struct {
	block, elements int
	scales          [][2]int // bytes [first, end) of the block
	take            func(dst, block []byte)
}

// partings are of the formats that kernels do not read as they lie: blocks are not multiples of four bytes.
var partings = map[device.Format]parted{
	device.Q8_0: {34, 32, [][2]int{{0, 2}}, func(dst, b []byte) { copy(dst, b[2:]) }},
	device.Q4_0: {18, 16, [][2]int{{0, 2}}, func(dst, b []byte) { nibbles(dst, b[2:]) }},
	device.Q6_K: {210, 192, [][2]int{{192, 208}, {208, 210}}, func(dst, b []byte) { copy(dst, b) }},
}

// repack makes elements and scales of GGUF's blocks, which together take what the blocks take.
func (d *Device) repack(to *device.Matrix, m device.Matrix) (err error) {
	p := partings[m.Format]
	n := m.Rows * m.Cols / m.Format.Block().Elements
	if to.Data, err = d.Alloc(n * p.elements); err != nil {
		return err
	}
	if to.Scales, err = d.Alloc(n * (p.block - p.elements)); err != nil {
		return err
	}
	data := make([]byte, min(n*p.elements, repackBytes)/p.elements*p.elements)
	scales := make([]byte, len(data)/p.elements*(p.block-p.elements))
	for at := 0; at < n && err == nil; {
		some := min(n-at, len(data)/p.elements)
		blocks := m.Data[at*p.block:][:some*p.block]
		for i := range some {
			p.take(data[i*p.elements:][:p.elements], blocks[i*p.block:][:p.block])
		}
		err = d.Write(to.Data[at*p.elements:], data[:some*p.elements])
		base := 0 // of the scales of a kind
		for _, s := range p.scales {
			size := s[1] - s[0]
			for i := range some {
				copy(scales[i*size:][:size], blocks[i*p.block+s[0]:])
			}
			if err == nil {
				err = d.Write(to.Scales[base+at*size:], scales[:some*size])
			}
			base += n * size
		}
		at += some
	}
	return err
}

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
