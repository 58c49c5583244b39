package offheap

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"unsafe"
)

// slabBytes is how much a [Pool] takes from the system at a time, at least. One call makes huge pages of it, which
// costs as much as of one.
const slabBytes = 8 << 20

// Pool hands out pieces of memory that are smaller than a huge page and are all written soon. Pieces of one size lie
// beside each other, in slabs, and when a slab is full its pages are made huge: reading many pieces takes fewer of
// the processor's address translations. It is not done before, so that the process has never more memory than was
// handed out. The zero value is empty, and ready. Its methods may be called from any goroutine.
type Pool struct {
	mu    sync.Mutex
	slabs []*slab // by address
}

type slab struct {
	all   []byte
	size  int   // of a piece, whole pages
	free  []int // pieces that nobody has, the next one last
	huge  bool  // its pages were made so
	holed bool  // some part of a piece was given back: huge pages would take it again
}

func (s *slab) base() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(s.all))) }

func (s *slab) pieces() int { return len(s.all) / s.size }

// Take takes n bytes, which begin at a page. What they hold is not defined.
func (p *Pool) Take(n int) ([]byte, error) {
	if n <= 0 {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	size := roundUp(n)
	s := p.withRoom(size)
	if s == nil {
		var err error
		if s, err = newSlab(size); err != nil {
			return nil, err
		}
		p.makeHuge(size)
		at, _ := p.find(s.base())
		p.slabs = slices.Insert(p.slabs, at, s)
	}
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	return s.all[i*size:][:n:n], nil
}

// withRoom is the fullest slab with room for a piece, so that others may become empty.
func (p *Pool) withRoom(size int) *slab {
	var best *slab
	for _, s := range p.slabs {
		if s.size == size && len(s.free) > 0 && (best == nil || len(s.free) < len(best.free)) {
			best = s
		}
	}
	return best
}

// makeHuge makes the pages of the full slabs of a size huge: their last pieces were taken a while ago.
func (p *Pool) makeHuge(size int) {
	for _, s := range p.slabs {
		if s.size == size && !s.huge && !s.holed && len(s.free) == 0 {
			collapse(s.all[:len(s.all)/hugeBytes*hugeBytes])
			s.huge = true
		}
	}
}

func newSlab(size int) (*slab, error) {
	pieces := (slabBytes + size - 1) / size
	all, err := mapAligned(pieces * size)
	if err != nil {
		return nil, err
	}
	s := &slab{all: all, size: size}
	for i := range pieces {
		s.free = append(s.free, pieces-1-i)
	}
	return s, nil
}

// find is the place of the slab that an address lies in, and whether there is one; else of the one before which it would be.
func (p *Pool) find(address uintptr) (int, bool) {
	return slices.BinarySearchFunc(p.slabs, address, func(s *slab, address uintptr) int {
		if address >= s.base() && address < s.base()+uintptr(len(s.all)) {
			return 0
		}
		return cmp.Compare(s.base(), address)
	})
}

// Give gives back what Take took. It panics if b is not that: the memory of something else would be gone.
func (p *Pool) Give(b []byte) {
	if len(b) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	address := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	at, ok := p.find(address)
	if !ok {
		panic(fmt.Sprintf("offheap: %d bytes are none of the pool's", len(b)))
	}
	s := p.slabs[at]
	offset := int(address - s.base())
	i := offset / s.size
	if offset%s.size != 0 || len(b) > s.size || slices.Contains(s.free, i) {
		panic(fmt.Sprintf("offheap: %d bytes at %d of a slab were not taken so", len(b), offset))
	}
	s.free = append(s.free, i)
	if len(s.free) == s.pieces() {
		p.slabs = slices.Delete(p.slabs, at, at+1)
		Unmap(s.all)
		return
	}
	discard(s.all[i*s.size:][:s.size])
	s.huge = false
}

// Discard gives back the pages that lie wholly in b, a part of what Take took, and reports whether it was that.
func (p *Pool) Discard(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.find(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	if ok {
		p.slabs[at].holed = true
		Discard(b)
	}
	return ok
}
