package calibrate

import (
	"testing"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
)

// flushable is a stream whose caches are what was read and not flushed since.
type flushable struct {
	device.Stream
	arena  []byte
	cached []bool
}

func (f *flushable) Flush(b []byte) bool {
	if len(b) > 0 {
		first := int(uintptr(unsafe.Pointer(&b[0])) - uintptr(unsafe.Pointer(&f.arena[0])))
		clear(f.cached[first:][:len(b)])
	}
	return true
}

// read reports how many bytes come from the caches.
func (f *flushable) read(first, n int) (hits int) {
	for i := first; i < first+n; i++ {
		if f.cached[i] {
			hits++
		}
		f.cached[i] = true
	}
	return hits
}

func TestSamplesOfMemoryFindNothingInTheCaches(t *testing.T) {
	const longest = 5 * wakesAll / 2
	for _, cold := range []bool{true, false} {
		for _, size := range []int{wakesAll / 16, wakesAll / 2, wakesAll, wakesAll + 192, longest} {
			b := idler(longest)
			b.deadline, b.cold = time.Now().Add(time.Hour), cold
			f := &flushable{b.stream, b.arena, make([]bool, len(b.arena))}
			b.stream = f
			runs, hits := 0, 0
			for range 3 { // from other places of the arena
				at := runs
				b.seconds(0, func() {
					b.take(size)
					n := f.read(b.at-size, size)
					time.Sleep(sampleTime)
					if runs++; runs > at+1 { // the first tells how much is read
						hits += n
					}
				})
			}
			if again := runs*size > len(b.arena); cold && hits > 0 || !cold && again && hits == 0 {
				t.Errorf("of %d runs that read %d bytes each, cold %v, %d bytes came from the caches", runs, size, cold, hits)
			}
		}
	}
}
