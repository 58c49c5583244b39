package device

import (
	"unsafe"

	"github.com/orrery-ai/orrery/internal/offheap"
)

// Memory is where a device keeps tensors, partials, blocks and weights. Its methods may be called from any goroutine.
//
// What Alloc returns says where the memory is. It may be sliced, and compared by address. If the device has memory of its
// own, the host must not read or write it in another way than by Read and Write, here and of a [Stream]: the addresses are
// kept free of anything else, and touching them ends the program.
type Memory interface {
	// Alloc takes n bytes, which begin at a multiple of 64. What they hold is not defined.
	Alloc(n int) ([]byte, error)
	// Free gives back what Alloc took. No operation that uses it may be pending.
	Free(b []byte)
	// Discard gives back the part b of what Alloc took, and reports whether it did: not every device can. Free of all must follow.
	Discard(b []byte) bool
	// Read is src where the host can read it: src itself, or a copy.
	Read(src []byte) ([]byte, error)
	// Write copies src, of the host, to dst, and returns when that is done.
	Write(dst, src []byte) error
}

// Host is the memory of the host, which CPUs compute in.
type Host struct{}

var _ Memory = Host{}

// ownMapping is from what size on memory is taken from the system by itself: that of a huge page. What is smaller,
// as the blocks of small models, shares them.
const ownMapping = 2 << 20

var pool offheap.Pool

// Alloc implements [Memory]. The memory is made of huge pages where there are such.
func (Host) Alloc(n int) ([]byte, error) {
	if n < ownMapping {
		return pool.Take(n)
	}
	return offheap.MapHuge(n)
}

// Free implements [Memory].
func (Host) Free(b []byte) {
	if len(b) < ownMapping {
		pool.Give(b)
		return
	}
	offheap.Unmap(b)
}

// Discard implements [Memory]. b may be a part of what is larger.
func (Host) Discard(b []byte) bool {
	if !pool.Discard(b) {
		offheap.Discard(b)
	}
	return true
}

// AllocSparse is Alloc for memory of which parts may never be used: those take none.
func (Host) AllocSparse(n int) ([]byte, error) { return offheap.Map(n) }

// FreeSparse gives back what AllocSparse took.
func (Host) FreeSparse(b []byte) { offheap.Unmap(b) }

// Read implements [Memory].
func (Host) Read(src []byte) ([]byte, error) { return src, nil }

// Write implements [Memory].
func (Host) Write(dst, src []byte) error {
	copy(dst, src)
	return nil
}

// Arena hands out memory of a device bit by bit, and gives it back at once. It belongs to one goroutine at a time.
type Arena struct {
	memory    Memory
	all, free []byte
}

// sparse is a memory that takes what is used only.
type sparse interface {
	AllocSparse(n int) ([]byte, error)
	FreeSparse(b []byte)
}

// NewArena takes n bytes.
func NewArena(m Memory, n int) (*Arena, error) {
	alloc := m.Alloc
	if s, ok := m.(sparse); ok {
		alloc = s.AllocSparse
	}
	if n == 0 {
		return &Arena{memory: m}, nil
	}
	b, err := alloc(n)
	return &Arena{m, b, b}, err
}

// Floats hands out n elements. It panics when the arena has no more: its maker has counted wrong.
func (a *Arena) Floats(n int) []float32 {
	if n == 0 {
		return nil
	}
	p := unsafe.Pointer(unsafe.SliceData(a.free[:4*n]))
	a.free = a.free[4*n:]
	return unsafe.Slice((*float32)(p), n)
}

// Free gives everything back. Nothing that was handed out may be used afterwards.
func (a *Arena) Free() {
	if len(a.all) == 0 {
		return
	}
	if s, ok := a.memory.(sparse); ok {
		s.FreeSparse(a.all)
	} else {
		a.memory.Free(a.all)
	}
	a.all, a.free = nil, nil
}
