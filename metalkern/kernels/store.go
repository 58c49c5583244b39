package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/attention/plane"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

type appendParams struct {
	k, v                 uint64
	tokens, kvHeads, dim int32
	at, capacity, _      uint32
}

type quantizeParams struct {
	k, v                          uint64
	tokens, kvHeads, at, capacity uint32
}

// Append stores k and v [tokens][kvHeads·headDim] at tokens at, at+1, … of a block in the buffer kv, whose elements have 16, 8 or 4 bits.
func (s *Set) Append(queue gpu.Queue, kv gpu.Range, b Block, bits, at int, k, v gpu.Range, tokens int, shape attention.Shape) error {
	if at < 0 || at+tokens > int(b.Capacity) {
		return fmt.Errorf("kernels: %d tokens at %d of a block of %d", tokens, at, b.Capacity)
	}
	if bits != 16 {
		return s.quantize(queue, kv, b, plane.Layout{Bits: bits, Dim: shape.HeadDim}, at, k, v, tokens, shape.KVHeads)
	}
	kernel, err := s.get(instance{file: "store.metal", name: "append"})
	if err != nil {
		return err
	}
	p := appendParams{k: b.K, v: b.V, tokens: int32(tokens), kvHeads: int32(shape.KVHeads), dim: int32(shape.HeadDim), at: uint32(at), capacity: b.Capacity}
	gpu.Launch(queue, kernel, threads(tokens*shape.KVHeads*shape.HeadDim/2), gpu.Buffers(kv, k, v), p)
	return nil
}

func quantize(bits, dim int) instance {
	name := fmt.Sprintf("quantize_q%d_d%d", bits, dim)
	return instance{"store.metal", name, fmt.Sprintf("QUANTIZE(%s, Q%d, %d)", name, bits, dim)}
}

// quantize is Append for a block of the layout l.
func (s *Set) quantize(queue gpu.Queue, kv gpu.Range, b Block, l plane.Layout, at int, k, v gpu.Range, tokens, kvHeads int) error {
	if err := l.Check(); err != nil {
		return fmt.Errorf("kernels: %w", err)
	}
	kernel, err := s.made(recipe{kind: "quantize", form: [7]int{l.Bits, l.Dim}}, func() instance { return quantize(l.Bits, l.Dim) })
	if err != nil {
		return err
	}
	p := quantizeParams{b.K, b.V, uint32(tokens), uint32(kvHeads), uint32(at), b.Capacity}
	gpu.Launch(queue, kernel, groups(max(1, (2*tokens*kvHeads*l.Scales()+7)/8), elementThreads), gpu.Buffers(kv, k, v), p)
	return nil
}
