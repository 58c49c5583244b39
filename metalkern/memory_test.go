package metalkern

import (
	"math/rand/v2"
	"sync"
	"testing"
	"unsafe"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// TestPiecesOfSlabsDoNotOverlapAndComeBack takes and gives back pieces at random, from several goroutines, while others look them up.
func TestPiecesOfSlabsDoNotOverlapAndComeBack(t *testing.T) {
	m := newMemory(open(t).host, 64<<10)
	defer m.close()
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(5, uint64(worker)))
			var have [][]byte
			for range 2000 {
				if len(have) > 0 && rng.IntN(100) < 48 {
					i := rng.IntN(len(have))
					m.free(have[i])
					have[i] = have[len(have)-1]
					have = have[:len(have)-1]
				} else {
					n := 1 + rng.IntN(20<<10) // some have buffers of their own
					b, err := m.alloc(n)
					if err != nil {
						t.Error(err)
						return
					}
					have = append(have, b)
				}
				for _, b := range have {
					if r := m.bytes(b[len(b)-1:]); r.Offset >= r.Buffer.Len() {
						t.Errorf("a byte lies at %d of a buffer of %d", r.Offset, r.Buffer.Len())
					}
				}
			}
			for _, b := range have {
				m.free(b)
			}
		})
	}
	all.Wait()
	if len(m.pieces) != 0 || len(m.slabs) > 1 {
		t.Errorf("%d pieces and %d slabs are left", len(m.pieces), len(m.slabs))
	}
	for _, s := range m.slabs {
		if s.used != 0 || len(s.free) != 1 {
			t.Errorf("an empty slab has %d bytes in use and %d free spans", s.used, len(s.free))
		}
	}
}

func TestPiecesTakenTogetherAreApart(t *testing.T) {
	m := newMemory(open(t).host, 64<<10)
	defer m.close()
	type place struct {
		buffer gpu.Buffer
		offset int64
	}
	taken := map[place]bool{}
	for i := range 300 {
		n := 100 + i*7
		b, err := m.alloc(n)
		if err != nil {
			t.Fatal(err)
		}
		if uintptr(unsafe.Pointer(unsafe.SliceData(b)))%64 != 0 {
			t.Errorf("piece %d begins at %p", i, b)
		}
		for at := range n {
			r := m.bytes(b[at : at+1])
			if p := (place{r.Buffer, r.Offset}); taken[p] {
				t.Fatalf("byte %d of piece %d is another's too", at, i)
			} else {
				taken[p] = true
			}
		}
	}
}
