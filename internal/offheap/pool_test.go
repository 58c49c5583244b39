package offheap

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unsafe"
)

func TestPiecesOfAPoolAreTheirOwnersUntilTheyAreGivenBack(t *testing.T) {
	var p Pool
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := []int{1, page, page + 1, 192 * page, 300000}
	type piece struct {
		b    []byte
		mark byte
	}
	var held []piece
	check := func(x piece) {
		if !bytes.Equal(x.b, bytes.Repeat([]byte{x.mark}, len(x.b))) {
			t.Fatalf("a piece of %d bytes was written by somebody else", len(x.b))
		}
	}
	for step := range 3000 {
		if i := rng.IntN(60); i < len(held) {
			check(held[i])
			p.Give(held[i].b)
			held[i] = held[len(held)-1]
			held = held[:len(held)-1]
			continue
		}
		n := sizes[rng.IntN(len(sizes))]
		b, err := p.Take(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != n || cap(b) != n || uintptr(unsafe.Pointer(&b[0]))%uintptr(page) != 0 {
			t.Fatalf("%d bytes of room for %d at %p", len(b), cap(b), &b[0])
		}
		x := piece{b, byte(step)}
		for i := range b {
			b[i] = x.mark
		}
		held = append(held, x)
	}
	for _, x := range held {
		check(x)
		p.Give(x.b)
	}
	if len(p.slabs) != 0 {
		t.Errorf("%d slabs are left of an empty pool", len(p.slabs))
	}
}

func TestFullSlabsAreKeptWhenTheirPagesBecomeHuge(t *testing.T) {
	var p Pool
	const size = 786432
	var all [][]byte
	for i := range 3 * slabBytes / size {
		b, err := p.Take(size)
		if err != nil {
			t.Fatal(err)
		}
		for j := 0; j < len(b); j += 512 {
			b[j] = byte(i)
		}
		all = append(all, b)
	}
	if !p.slabs[0].huge && !p.slabs[1].huge {
		t.Error("no full slab has huge pages")
	}
	if !p.Discard(all[0][:size/2]) || p.Discard(make([]byte, 8)) {
		t.Error("a part of a piece was not given back, or what is no piece was")
	}
	for i, b := range all {
		for j := 0; j < len(b); j += 512 {
			if want := byte(i); b[j] != want && (i != 0 || j >= size/2) {
				t.Fatalf("piece %d has %d at %d", i, b[j], j)
			}
		}
		p.Give(b)
	}
}

func TestWhatWasNotTakenFromAPoolIsNotGivenBack(t *testing.T) {
	var p Pool
	b, err := p.Take(3 * page)
	if err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string][]byte{"another's": make([]byte, page), "a part": b[page:], "too long": unsafe.Slice(&b[0], 4*page)} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is given back", name)
				}
			}()
			p.Give(wrong)
		}()
	}
	p.Give(b)
}
