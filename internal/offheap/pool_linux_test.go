package offheap

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resident is how many of the pages of b are in memory.
func resident(t *testing.T, b []byte) (n int) {
	t.Helper()
	in := make([]byte, len(b)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&in[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, x := range in {
		n += int(x & 1)
	}
	return n
}

func TestAPoolHasNoMoreMemoryThanItHandedOut(t *testing.T) {
	var p Pool
	const size = 200 * 4096
	var all [][]byte
	taken := 0
	for range 40 {
		b, err := p.Take(size)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] = 1
		}
		all = append(all, b)
		taken += size
		have := 0
		for _, s := range p.slabs {
			have += resident(t, s.all) * page
		}
		if have > taken {
			t.Fatalf("%d bytes are in memory, of %d that were handed out", have, taken)
		}
	}
	p.Discard(all[39][size/2:])
	p.Give(all[0])
	b, err := p.Take(size) // in the place of the one given back
	if err != nil {
		t.Fatal(err)
	}
	all[0] = b
	have := 0
	for _, s := range p.slabs {
		have += resident(t, s.all) * page
	}
	if most := taken - size - size/2; have > most {
		t.Errorf("%d bytes are in memory, of %d that are left", have, most)
	}
	for _, b := range all {
		p.Give(b)
	}
}
