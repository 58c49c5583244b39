package calibrate

import (
	"fmt"
	"os"
	"testing"
)

// residentBytes is the memory that this process takes.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}

func TestTheArenaGoesBack(t *testing.T) {
	before := residentBytes(t)
	arena, free, err := newArena(1 << 30)
	if err != nil {
		t.Fatal(err)
	}
	if len(arena) != 128<<20 && len(arena) < leastArena {
		t.Errorf("an eighth of a GiB has %d bytes", len(arena))
	}
	if got := residentBytes(t) - before; got < int64(len(arena))*9/10 {
		t.Errorf("an arena of %d bytes takes %d", len(arena), got)
	}
	free()
	if left := residentBytes(t) - before; left > int64(len(arena))/2 {
		t.Errorf("%d bytes are left of %d", left, len(arena))
	}
}
