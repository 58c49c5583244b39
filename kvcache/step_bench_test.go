package kvcache

import (
	"fmt"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

// BenchmarkStepOfALongTail is what the blocks of 200,000 tokens cost an owner for each step of decode, its attention aside.
func BenchmarkStepOfALongTail(b *testing.B) {
	const tokens, block = 200_000, 256
	for _, layers := range []int{6, 32} {
		b.Run(fmt.Sprintf("layers=%d", layers), func(b *testing.B) {
			g := Geometry{Shape: attention.Shape{Heads: 1, KVHeads: 1, HeadDim: 2}, Layers: layers, Format: attention.F16, BlockTokens: block, Memory: device.Host{}}
			s, err := NewSequence(1, 0, g, NewBudget(1<<40), alone(1, layers, 0))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Release()
			grow(b, s, span(0, layers), 0, 0, tokens)
			var st Step
			var own []attention.KV
			b.ReportAllocs()
			for b.Loop() {
				if err := st.Begin(s, span(0, layers), 0, tokens, 1); err != nil {
					b.Fatal(err)
				}
				for l := range layers {
					own = st.AppendTail(own[:0], l)
					if n := len(own); n != tokens/block+1 {
						b.Fatalf("%d blocks", n)
					}
				}
				st.Release()
			}
		})
	}
}
