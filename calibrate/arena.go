package calibrate

import (
	"fmt"
	"time"

	"github.com/orrery-ai/orrery/internal/offheap"
)

const (
	mostArena  = 512 << 20 // more than caches hold: the largest of a processor are about half of this
	leastArena = 8 << 20
	arenaTime  = 300 * time.Millisecond
	pageBytes  = 4096
)

// newArena takes memory as package kvcache takes it for whole blocks, in huge pages where there are such, so that
// reading costs as many address translations here as there: an eighth of what may be used, within bounds, or
// what has been taken when the time is up. free gives it back.
func newArena(memory int64, within time.Duration) (arena []byte, free func(), err error) {
	size := int(min(max(memory/8, leastArena), mostArena))
	all, err := offheap.MapHuge(size)
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
	return all[:min(taken, size)], func() { offheap.Unmap(all) }, nil
}

// weightsBytes is as much as caches hold of a small model's weights.
const weightsBytes = 32 << 20 // at the most

// newWeights takes memory as weights have it, in small pages: they lie where files are mapped. free gives it back.
func newWeights(memory int64) (weights []byte, free func(), err error) {
	size := int(min(max(memory/8, leastArena), weightsBytes))
	if weights, err = offheap.MapSmall(size); err != nil {
		return nil, nil, fmt.Errorf("%d bytes to measure with: %w", size, err)
	}
	for i := 0; i < len(weights); i += pageBytes {
		weights[i], weights[i+1] = 0x3c, 0x3c
	}
	return weights, func() { offheap.Unmap(weights) }, nil
}
