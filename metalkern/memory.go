package metalkern

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// memory gives buffers addresses, of a range of the process's address space that nothing is mapped to. So tensors and blocks of a device
// are slices as those of the host are, and whoever touches one by mistake is found out on every host.
type memory struct {
	host gpu.Host

	mu      sync.Mutex // of changes
	regions atomic.Pointer[[]region]
	frees   atomic.Uint64 // calls of free: from one on, addresses may be those of something else
}

// region is a part of a buffer and its addresses.
type region struct {
	reserved []byte
	buffer   gpu.Buffer
	at       int64 // of the buffer
}

func (r *region) base() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(r.reserved))) }

func newMemory(host gpu.Host) *memory {
	m := &memory{host: host}
	m.regions.Store(&[]region{})
	return m
}

// alloc takes n bytes of the device.
func (m *memory) alloc(n int) ([]byte, error) {
	if n <= 0 {
		return nil, nil
	}
	buffer, err := m.host.Alloc(int64(n), gpu.Local)
	if err != nil {
		return nil, err
	}
	return m.enter(gpu.Range{Buffer: buffer}, n)
}

// enter gives n bytes of a buffer addresses, and frees the buffer when they are given back.
func (m *memory) enter(from gpu.Range, n int) ([]byte, error) {
	reserved, err := unix.Mmap(-1, 0, n, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("metalkern: %d addresses: %w", n, err), from.Buffer.Free())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := region{reserved, from.Buffer, from.Offset}
	at, _ := m.search(r.base())
	next := slices.Insert(slices.Clone(*m.regions.Load()), at, r)
	m.regions.Store(&next)
	return reserved, nil
}

// free gives back what alloc took.
func (m *memory) free(b []byte) {
	if len(b) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at, found := m.search(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	if !found {
		panic(fmt.Sprintf("metalkern: giving back %d bytes that are not the device's", len(b)))
	}
	all := *m.regions.Load()
	r := all[at]
	m.frees.Add(1)
	next := slices.Delete(slices.Clone(all), at, at+1)
	m.regions.Store(&next)
	err := r.buffer.Free()
	if e := unix.Munmap(r.reserved); err == nil {
		err = e
	}
	if err != nil {
		panic(fmt.Sprintf("metalkern: giving back %d bytes: %v", len(b), err)) // a mistake here, or a device that is gone
	}
}

// search is where the region that begins at an address is, or would be.
func (m *memory) search(address uintptr) (int, bool) {
	return slices.BinarySearchFunc(*m.regions.Load(), address, func(r region, a uintptr) int {
		return int(int64(r.base()) - int64(a))
	})
}

// find is the range that begins at an address and has n bytes. It panics if it is not the device's: whoever passed it is mistaken.
func (m *memory) find(p unsafe.Pointer, n int) gpu.Range {
	at, found := m.search(uintptr(p))
	if !found {
		at--
	}
	if at >= 0 {
		r := &(*m.regions.Load())[at]
		if offset := int64(uintptr(p) - r.base()); offset+int64(n) <= int64(len(r.reserved)) {
			return gpu.Range{Buffer: r.buffer, Offset: r.at + offset}
		}
	}
	panic(fmt.Sprintf("metalkern: %d bytes at %p are not the device's", n, p))
}

// bytes is the range of a slice of the device's.
func (m *memory) bytes(b []byte) gpu.Range {
	return m.find(unsafe.Pointer(unsafe.SliceData(b)), len(b))
}

// floats is the range of a slice of the device's.
func (m *memory) floats(f []float32) gpu.Range {
	return m.find(unsafe.Pointer(unsafe.SliceData(f)), 4*len(f))
}

// address is where kernels find a slice of the device's.
func (m *memory) address(b []byte) uint64 {
	r := m.bytes(b)
	return r.Buffer.Address() + uint64(r.Offset)
}

// close frees what was not given back.
func (m *memory) close() {
	for _, r := range *m.regions.Load() {
		m.free(r.reserved)
	}
}
