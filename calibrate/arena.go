package calibrate

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mostArena  = 256 << 20 // more than most caches hold
	leastArena = 8 << 20
	arenaTime  = 300 * time.Millisecond
	pageBytes  = 4096
)

// newArena takes memory outside of Go's heap, so that all of it goes back at once: an eighth of what may be
// used, within bounds, or what has been taken when the time is up. free gives it back.
func newArena(memory int64, within time.Duration) (arena []byte, free func(), err error) {
	size := int(min(max(memory/8, leastArena), mostArena))
	all, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, fmt.Errorf("%d bytes to measure with: %w", size, err)
	}
	taken := 0
	for start := time.Now(); taken < size && (taken < leastArena || time.Since(start) < within); taken += leastArena {
		piece := all[taken:min(taken+leastArena, size)]
		for i := 0; i < len(piece); i += pageBytes {
			// A page that was never written takes no memory. The bytes are a small number in either half format.
			piece[i], piece[i+1] = 0x3c, 0x3c
		}
	}
	return all[:min(taken, size)], func() { _ = unix.Munmap(all) }, nil
}
