package calibrate

import (
	"math"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/placement"
)

func TestOfWhatDoesNotFitAsMuchIsCachedAsIsByChance(t *testing.T) {
	d := cpu.New(1)
	defer d.Close()
	least := int(placement.CacheSizes[0])
	arena, err := d.Alloc(least)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Free(arena)
	b := newBench(Subject{Device: d, KVHeads: KVHeads, HeadDim: HeadDim}, arena, time.Now().Add(time.Hour))
	var r placement.Rates // nothing is slower from memory: what is measured is all in the caches
	b.cached(&r)
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	for i, size := range placement.CacheSizes {
		if want := float64(least) / size; math.Abs(r.Cached[i]-want) > 1e-9 {
			t.Errorf("of %.0f bytes %v are cached, with an arena of %d, which is, want %v", size, r.Cached[i], least, want)
		}
	}
}
