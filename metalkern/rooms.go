package metalkern

import (
	"errors"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

const (
	// roomAlign is what pieces begin at multiples of, in bytes.
	roomAlign = 256
	// leastRoom is how much is taken at a time, at the least.
	leastRoom = 256 << 10
)

func aligned(n int) int { return (n + roomAlign - 1) &^ (roomAlign - 1) }

// staging is memory of the host that the device copies from and to by itself. It is handed out in pieces, all of which are given back together.
type staging struct {
	host   gpu.Host
	chunks []gpu.Buffer
	chunk  int // in use
	used   int // of it
}

func (s *staging) take(n int) ([]byte, error) {
	for ; s.chunk < len(s.chunks); s.chunk, s.used = s.chunk+1, 0 {
		if b := s.chunks[s.chunk].Bytes(); s.used+n <= len(b) {
			piece := b[s.used : s.used+n : s.used+n]
			s.used = aligned(s.used + n)
			return piece, nil
		}
	}
	b, err := s.host.Alloc(int64(max(aligned(n), leastRoom)), gpu.Mapped)
	if err != nil {
		return nil, err
	}
	s.chunks = append(s.chunks, b)
	s.used = aligned(n)
	return b.Bytes()[:n:n], nil
}

func (s *staging) reset() { s.chunk, s.used = 0, 0 }

func (s *staging) free() error {
	var all []error
	for _, b := range s.chunks {
		all = append(all, b.Free())
	}
	s.chunks = nil
	return errors.Join(all...)
}

// temps is the same in the device's memory.
type temps struct {
	memory *memory
	chunks [][]byte
	chunk  int
	used   int
}

func (t *temps) take(n int) ([]byte, error) {
	for ; t.chunk < len(t.chunks); t.chunk, t.used = t.chunk+1, 0 {
		if b := t.chunks[t.chunk]; t.used+n <= len(b) {
			piece := b[t.used : t.used+n : t.used+n]
			t.used = aligned(t.used + n)
			return piece, nil
		}
	}
	b, err := t.memory.alloc(max(aligned(n), leastRoom))
	if err != nil {
		return nil, err
	}
	t.chunks = append(t.chunks, b)
	t.used = aligned(n)
	return b[:n:n], nil
}

func (t *temps) reset() { t.chunk, t.used = 0, 0 }

func (t *temps) free() {
	for _, b := range t.chunks {
		t.memory.free(b)
	}
	t.chunks = nil
}

// room is memory of the device that grows to what the largest operation needs. One operation after the other uses it.
type room struct {
	memory  *memory
	data    []byte
	at      gpu.Range
	retired [][]byte // that earlier operations still use
}

func (r *room) atLeast(n int) (gpu.Range, error) {
	if n <= len(r.data) {
		return r.at, nil
	}
	data, err := r.memory.alloc(max(aligned(n), leastRoom))
	if err != nil {
		return gpu.Range{}, err
	}
	r.retired = append(r.retired, r.data)
	r.data, r.at = data, r.memory.bytes(data)
	return r.at, nil
}

// tidy gives back what nothing uses any more: nothing is pending.
func (r *room) tidy() {
	for _, b := range r.retired {
		r.memory.free(b)
	}
	r.retired = r.retired[:0]
}

func (r *room) free() {
	r.memory.free(r.data)
	r.data = nil
	r.tidy()
}
