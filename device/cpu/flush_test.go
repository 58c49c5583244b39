package cpu

import (
	"bytes"
	"testing"

	"github.com/orrery-ai/orrery/device/cpu/simd"
)

func TestFlushingChangesNothingOfMemory(t *testing.T) {
	d := New(3)
	defer d.Close()
	s := newStream(d.pool)
	for _, n := range []int{0, 1, flushPart, 40*flushPart + 1} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i * 37)
		}
		want := bytes.Clone(b)
		if can := s.Flush(b); can != simd.Flush(nil) || !bytes.Equal(b, want) {
			t.Errorf("of %d bytes, flushed %v, some are others", n, can)
		}
	}
}
