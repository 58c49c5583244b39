package metalkern

import (
	"cmp"
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
// are slices as those of the host are, and whoever touches one by mistake is found out on every host. What is small lies in slabs: devices hand out
// memory in large units, and slowly.
type memory struct {
	host gpu.Host
	slab int // size of a slab; 0: each piece has a buffer of its own

	mu      sync.Mutex // of changes
	regions atomic.Pointer[[]region]
	frees   atomic.Uint64 // calls of free: from one on, addresses may be those of something else
	slabs   []*slab
	pieces  map[*byte]*slab // of the slabs, by where they begin
}

// slabBytes is the size of a slab, of which a piece is a quarter at the most.
const slabBytes = 64 << 20

// region is a part of a buffer and its addresses.
type region struct {
	reserved []byte
	buffer   gpu.Buffer
	at       int64 // of the buffer
}

func (r *region) base() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(r.reserved))) }

func newMemory(host gpu.Host, slabBytes int) *memory {
	m := &memory{host: host, slab: slabBytes, pieces: map[*byte]*slab{}}
	m.regions.Store(&[]region{})
	return m
}

// alloc takes n bytes of the device.
func (m *memory) alloc(n int) ([]byte, error) {
	switch {
	case n <= 0:
		return nil, nil
	case n <= m.slab/4:
		return m.piece(n)
	}
	return m.whole(n)
}

// whole takes n bytes that have a buffer of their own.
func (m *memory) whole(n int) ([]byte, error) {
	buffer, err := m.host.Alloc(int64(n), gpu.Local)
	if err != nil {
		return nil, err
	}
	return m.enter(gpu.Range{Buffer: buffer}, n)
}

// piece takes n bytes of a slab.
func (m *memory) piece(n int) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.slabs {
		if b := s.take(n); b != nil {
			m.pieces[unsafe.SliceData(b)] = s
			return b, nil
		}
	}
	m.mu.Unlock()
	all, err := m.whole(m.slab)
	m.mu.Lock()
	if err != nil {
		return nil, err
	}
	s := newSlab(all)
	m.slabs = append(m.slabs, s)
	b := s.take(n) // even if another has room by now: a slab that nothing was taken of would never be given back
	m.pieces[unsafe.SliceData(b)] = s
	return b, nil
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
	old := *m.regions.Load()
	at, _ := search(old, r.base())
	next := slices.Insert(slices.Clone(old), at, r)
	m.regions.Store(&next)
	return reserved, nil
}

// free gives back what alloc or enter took.
func (m *memory) free(b []byte) {
	if len(b) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frees.Add(1)
	key := unsafe.SliceData(b)
	if s := m.pieces[key]; s != nil {
		delete(m.pieces, key)
		if s.give(b); s.used > 0 || len(m.slabs) == 1 {
			return
		}
		m.slabs = slices.DeleteFunc(m.slabs, func(other *slab) bool { return other == s })
		b = s.all
	}
	m.drop(b)
}

// drop frees the buffer of a region. The memory is locked.
func (m *memory) drop(b []byte) {
	old := *m.regions.Load()
	at, found := search(old, uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	if !found {
		panic(fmt.Sprintf("metalkern: giving back %d bytes that are not the device's", len(b)))
	}
	r := old[at]
	next := slices.Delete(slices.Clone(old), at, at+1)
	m.regions.Store(&next)
	if err := errors.Join(r.buffer.Free(), unix.Munmap(r.reserved)); err != nil {
		panic(fmt.Sprintf("metalkern: giving back %d bytes: %v", len(b), err)) // a mistake here, or a device that is gone
	}
}

// search is where the region that begins at an address is, or would be.
func search(regions []region, address uintptr) (int, bool) {
	return slices.BinarySearchFunc(regions, address, func(r region, a uintptr) int {
		return cmp.Compare(r.base(), a)
	})
}

// find is the range that begins at an address and has n bytes. It panics if it is not the device's: whoever passed it is mistaken.
func (m *memory) find(p unsafe.Pointer, n int) gpu.Range {
	regions := *m.regions.Load()
	at, found := search(regions, uintptr(p))
	if !found {
		at--
	}
	if at >= 0 {
		r := &regions[at]
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
func (m *memory) address(b []byte) uint64 { return addressOf(m.bytes(b)) }

func addressOf(r gpu.Range) uint64 { return r.Buffer.Address() + uint64(r.Offset) }

// close frees what was not given back.
func (m *memory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range *m.regions.Load() {
		m.drop(r.reserved)
	}
}
