package offheap

import (
	"testing"
	"unsafe"
)

func TestMemoryIsZeroAndWritable(t *testing.T) {
	for _, n := range []int{1, page - 1, page, page + 1, hugeBytes - 1, hugeBytes, hugeBytes + 1, 3*hugeBytes + 5, -1, -hugeBytes, -hugeBytes - 1, -3*hugeBytes - 5} {
		take := Map
		huge := n < 0
		if huge {
			n, take = -n, MapHuge
		}
		b, err := take(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != n || cap(b) != n {
			t.Fatalf("%d bytes of room for %d, want %d", len(b), cap(b), n)
		}
		for i := range b {
			if b[i] != 0 {
				t.Fatalf("byte %d of %d is %d", i, n, b[i])
			}
			b[i] = byte(i)
		}
		if p := uintptr(unsafe.Pointer(&b[0])); huge && n >= hugeBytes && p%hugeBytes != 0 {
			t.Errorf("%d bytes begin at %x, not at a huge page", n, p)
		}
		Unmap(b)
	}
}

func TestNothingIsNoMemory(t *testing.T) {
	b, err := Map(0)
	if err != nil || b != nil {
		t.Fatalf("%v, %v", b, err)
	}
	Unmap(b)
	Discard(b)
}

func TestDiscardedPagesAreZeroAndTheOthersStay(t *testing.T) {
	b, err := Map(8 * page)
	if err != nil {
		t.Fatal(err)
	}
	defer Unmap(b)
	for i := range b {
		b[i] = 1
	}
	Discard(b[page+1 : 5*page+3]) // pages 2, 3 and 4 are wholly in it
	for i := range b {
		want := byte(1)
		if i >= 2*page && i < 5*page {
			want = 0
		}
		if b[i] != want {
			t.Fatalf("byte %d of page %d is %d", i%page, i/page, b[i])
		}
	}
	Discard(b[page+1 : 2*page]) // no whole page
	if b[page+1] != 1 {
		t.Error("a page that was discarded in part is gone")
	}
}
