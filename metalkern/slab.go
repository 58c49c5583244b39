package metalkern

import (
	"cmp"
	"slices"
	"unsafe"
)

// slab is memory that is handed out in pieces.
type slab struct {
	all  []byte
	free []span // by where they begin; no two touch
	used int    // bytes
}

// span is bytes [first, end) of a slab, both multiples of roomAlign.
type span struct{ first, end int }

func newSlab(all []byte) *slab {
	return &slab{all: all, free: []span{{0, len(all) &^ (roomAlign - 1)}}}
}

// take hands out n bytes from the first place where they fit, or returns nil.
func (s *slab) take(n int) []byte {
	size := aligned(n)
	for i := range s.free {
		f := &s.free[i]
		if f.end-f.first < size {
			continue
		}
		at := f.first
		if f.first += size; f.first == f.end {
			s.free = slices.Delete(s.free, i, i+1)
		}
		s.used += size
		return s.all[at : at+n : at+n]
	}
	return nil
}

// give takes a piece back.
func (s *slab) give(b []byte) {
	at := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(unsafe.SliceData(s.all))))
	f := span{at, at + aligned(cap(b))}
	s.used -= f.end - f.first
	i, _ := slices.BinarySearchFunc(s.free, f.first, func(f span, first int) int { return cmp.Compare(f.first, first) })
	if i < len(s.free) && s.free[i].first == f.end {
		f.end = s.free[i].end
		s.free = slices.Delete(s.free, i, i+1)
	}
	if i > 0 && s.free[i-1].end == f.first {
		s.free[i-1].end = f.end
		return
	}
	s.free = slices.Insert(s.free, i, f)
}
