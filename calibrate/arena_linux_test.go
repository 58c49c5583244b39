package calibrate

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/device"
)

// residentBytes is the memory that this process takes, without what the collector keeps for later.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
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
	for _, k := range []struct {
		within time.Duration
		want   int
	}{{time.Hour, 128 << 20}, {0, leastArena}} { // of a GiB, and when the time is up
		before := residentBytes(t)
		arena, free, err := newArena(device.Host{}, 1<<30, k.within)
		if err != nil {
			t.Fatal(err)
		}
		if len(arena) != k.want {
			t.Errorf("an arena of %d bytes, want %d", len(arena), k.want)
		}
		if got := residentBytes(t) - before; got < int64(len(arena))*9/10 {
			t.Errorf("an arena of %d bytes takes %d", len(arena), got)
		}
		free()
		if left := residentBytes(t) - before; left > int64(len(arena))/2 {
			t.Errorf("%d bytes are left of %d", left, len(arena))
		}
	}
}
