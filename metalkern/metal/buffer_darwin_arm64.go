package metal

import (
	"fmt"
	"unsafe"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// buffer is memory that the processor and the GPU share.
type buffer struct {
	host   *Host
	buffer mtlBuffer
	data   []byte // nil if it must not be written
	size   int64
}

// Alloc implements [gpu.Host]. All memory is the host's, too.
func (h *Host) Alloc(n int64, _ gpu.Memory) (gpu.Buffer, error) {
	if n < 0 || uint64(n) > h.most {
		return nil, fmt.Errorf("metal: a buffer of %d bytes; the most is %d", n, h.most)
	}
	b := &buffer{host: h, size: n}
	pooled(func() { b.buffer = h.device.newBuffer(uint64(max(n, 16)), sharedStorage) })
	if b.buffer.object == 0 {
		return nil, fmt.Errorf("metal: no memory for a buffer of %d bytes", n)
	}
	b.data = unsafe.Slice((*byte)(b.buffer.contents()), n)
	return b, nil
}

// Adopt implements [gpu.Adopter].
func (h *Host) Adopt(data []byte) (gpu.Range, error) {
	if len(data) == 0 {
		return gpu.Range{}, fmt.Errorf("metal: no bytes to adopt")
	}
	at := unsafe.Pointer(unsafe.SliceData(data))
	before := uintptr(at) % pageBytes
	size := (uint64(before) + uint64(len(data)) + pageBytes - 1) / pageBytes * pageBytes
	if size > h.most {
		return gpu.Range{}, fmt.Errorf("metal: %d bytes cannot be adopted; the most is %d", len(data), h.most)
	}
	b := &buffer{host: h, size: int64(before) + int64(len(data))}
	pooled(func() { b.buffer = h.device.newBufferNoCopy(unsafe.Add(at, -int(before)), size, sharedStorage) })
	if b.buffer.object == 0 {
		return gpu.Range{}, fmt.Errorf("metal: %d bytes at %p cannot be adopted: they must lie in mapped memory", len(data), at)
	}
	return gpu.Range{Buffer: b, Offset: int64(before)}, nil
}

func (b *buffer) Len() int64    { return b.size }
func (b *buffer) Bytes() []byte { return b.data }

// Address is where kernels find the buffer's first byte, for lists that they read. All launches from then on can reach it so, without having it as an argument.
func (b *buffer) Address() uint64 {
	b.host.listing.Lock()
	b.host.listed[b.buffer.object] = true
	b.host.listing.Unlock()
	return b.buffer.gpuAddress()
}

func (b *buffer) Free() error {
	if b.buffer.object != 0 {
		b.host.listing.Lock()
		delete(b.host.listed, b.buffer.object)
		b.host.listing.Unlock()
		nsObject(b.buffer).release()
		b.buffer.object, b.data = 0, nil
	}
	return nil
}
