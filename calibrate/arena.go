package calibrate

import (
	"fmt"
	"time"

	"github.com/orrery-ai/orrery/device"
)

const (
	mostArena  = 512 << 20 // more than caches hold: the largest of a processor are about half of this
	leastArena = 8 << 20
	pieceBytes = 1 << 20
	arenaTime  = 400 * time.Millisecond
	// fillTime is enough to be given more than caches hold by a host that gives memory slowly, 256 MiB at 300 MB/s: where that is to be compared, and not hurried.
	fillTime = time.Second
)

// newArena takes memory of a device as package kvcache takes it for whole blocks, in huge pages where there are such, so that
// reading costs as many address translations here as there: an eighth of what may be used, within bounds, or
// what has been filled when the time is up. free gives it back.
func newArena(d device.Memory, memory int64, within time.Duration) (arena []byte, free func(), err error) {
	size := int(min(max(memory/8, leastArena), mostArena))
	all, err := d.Alloc(size)
	if err != nil {
		return nil, nil, fmt.Errorf("%d bytes to measure with: %w", size, err)
	}
	// A page that was never written takes no memory. Pairs of bytes are a small number in either half format, and not always the same, for
	// devices that take more power to flip bits.
	pattern := make([]byte, pieceBytes)
	for i := range pattern {
		pattern[i] = 0x3c
		if i%2 == 0 {
			pattern[i] = byte(i >> 1 * 37)
		}
	}
	filled := 0
	for start := time.Now(); filled < size && (filled < leastArena || time.Since(start) < within); filled += pieceBytes {
		piece := all[filled:min(filled+pieceBytes, size)]
		if err := d.Write(piece, pattern[:len(piece)]); err != nil {
			d.Free(all)
			return nil, nil, fmt.Errorf("%d bytes to measure with: %w", size, err)
		}
	}
	return all[:min(filled, size)], func() { d.Free(all) }, nil
}

// weightsBytes is as much as caches hold of a small model's weights.
const weightsBytes = 32 << 20 // at the most
