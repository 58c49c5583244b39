package offheap

import (
	"errors"
	"unsafe"
)

// ErrNoHugePages says that the system has no huge pages, or has none left.
var ErrNoHugePages = errors.New("no huge pages to be had")

// Replacing puts huge pages in the place of small ones, as those of a mapped file, that hold the same bytes at the same
// addresses. It goes in pieces the size of a huge page. Others may read the memory meanwhile: for them nothing changes. It belongs
// to one goroutine.
type Replacing struct {
	pieces int
	at     unsafe.Pointer // of the first piece
	spare  unsafe.Pointer // as many pieces of addresses, where the huge pages are made
	ours   []bool         // of spare: where a page has moved away the system may put something else
}

// Replace begins it for the pieces that lie wholly in b: a file that is mapped to be read, or a part of the program. It fails with ErrNoHugePages where there
// are none, and with another error where b may be written. What is replaced takes memory that the system cannot take back, as the pages of files can be; unmapping b gives it back.
// End must follow.
func Replace(b []byte) (*Replacing, error) {
	p := unsafe.Pointer(unsafe.SliceData(b))
	before := int(-uintptr(p) % hugeBytes)
	r := &Replacing{pieces: max(0, len(b)-before) / hugeBytes}
	if r.pieces == 0 {
		return r, nil
	}
	r.at = unsafe.Add(p, before)
	return r, r.begin()
}

// Len is the number of pieces.
func (r *Replacing) Len() int { return r.pieces }

// Address is where a piece lies.
func (r *Replacing) Address(i int) uintptr { return uintptr(r.at) + uintptr(i)*hugeBytes }

// Piece replaces piece i, once. If it fails the piece is as it was; ErrNoHugePages says that there is no huge page for it.
func (r *Replacing) Piece(i int) error {
	if !r.ours[i] {
		return nil
	}
	err := r.replace(i * hugeBytes)
	r.ours[i] = err != nil
	return err
}

// End gives back what is left of what the pieces were made in.
func (r *Replacing) End() {
	for i, ours := range r.ours {
		if ours {
			_ = unmap(unsafe.Add(r.spare, i*hugeBytes), hugeBytes) // addresses without memory, but for a piece that failed
		}
	}
	r.ours = nil
}
