package offheap

import (
	"fmt"
	"unsafe"
)

// Arena is memory that is taken at once, handed out bit by bit, and given back at once. It belongs to one
// goroutine at a time.
type Arena struct{ all, free []byte }

// NewArena takes n bytes. Pages take memory from when they are first written.
func NewArena(n int) (*Arena, error) {
	b, err := Map(n)
	return &Arena{b, b}, err
}

// Floats hands out n zeroed elements. It panics when the arena has no more: its maker has counted wrong.
func (a *Arena) Floats(n int) []float32 {
	if n == 0 {
		return nil
	}
	if 4*n > len(a.free) {
		panic(fmt.Sprintf("offheap: %d bytes of an arena that has %d left of %d", 4*n, len(a.free), len(a.all)))
	}
	p := unsafe.Pointer(unsafe.SliceData(a.free))
	a.free = a.free[4*n:]
	return unsafe.Slice((*float32)(p), n)
}

// Free gives everything back. Nothing that was handed out may be used afterwards.
func (a *Arena) Free() {
	Unmap(a.all)
	a.all, a.free = nil, nil
}
