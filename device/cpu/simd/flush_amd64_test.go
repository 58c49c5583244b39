//go:build !noasm && unix

package simd

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// Flushing one byte too far ends the test's process.
func TestFlushingLeavesBytesAsTheyAre(t *testing.T) {
	each(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(23, 23))
		if !Flush(nil) {
			t.Error("nothing cannot be flushed")
		}
		for _, n := range []int{1, 63, 64, 65, 4096, 4097, 1 << 20} {
			b := atTheEnd(t, n)
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			want := bytes.Clone(b)
			if !Flush(b) || !bytes.Equal(b, want) {
				t.Errorf("%d bytes are others when they have been flushed", n)
			}
		}
	})
}

func BenchmarkFlush(b *testing.B) {
	each(b, func(b *testing.B) {
		memory := make([]byte, 64<<20)
		for i := range memory {
			memory[i] = byte(i)
		}
		b.Run("flush", func(b *testing.B) {
			b.SetBytes(int64(len(memory)))
			for b.Loop() {
				Flush(memory)
			}
		})
		b.Run("read after it", func(b *testing.B) {
			b.SetBytes(int64(len(memory)))
			for b.Loop() {
				b.StopTimer()
				Flush(memory)
				b.StartTimer()
				Sum(memory)
			}
		})
	})
}

// each runs a test with each instruction that the machine has to flush with.
func each[T interface {
	*testing.T | *testing.B
	Skip(args ...any)
	Run(name string, f func(T)) bool
}](t T, test func(T)) {
	if !haveFlush {
		t.Skip("assembly is turned off")
	}
	defer func(have bool) { haveFlushOpt = have }(haveFlushOpt)
	for _, opt := range []bool{true, false} {
		if opt && !haveFlushOpt {
			continue
		}
		haveFlushOpt = opt
		t.Run(map[bool]string{true: "CLFLUSHOPT", false: "CLFLUSH"}[opt], test)
	}
}
