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
	from, to                                  uint64
	tokens, kvHeads, fromCapacity, toCapacity uint32
}

// Append stores k and v [tokens][kvHeads·headDim] as halves at tokens at, at+1, … of a block in the buffer kv.
func (s *Set) Append(queue gpu.Queue, kv gpu.Range, b Block, at int, k, v gpu.Range, tokens int, shape attention.Shape) error {
	if at < 0 || at+tokens > int(b.Capacity) {
		return fmt.Errorf("kernels: %d tokens at %d of a block of %d", tokens, at, b.Capacity)
	}
	kernel, err := s.get(instance{file: "store.metal", name: "append"})
	if err != nil {
		return err
	}
	p := appendParams{k: b.K, v: b.V, tokens: int32(tokens), kvHeads: int32(shape.KVHeads), dim: int32(shape.HeadDim), at: uint32(at), capacity: b.Capacity}
	queue.Launch(kernel, threads(tokens*shape.KVHeads*shape.HeadDim/2), arg(kv), arg(k), arg(v), gpu.Value(&p))
	return nil
}

func quantize(bits, dim int) instance {
	name := fmt.Sprintf("quantize_q%d_d%d", bits, dim)
	return instance{"store.metal", name, fmt.Sprintf("QUANTIZE(%s, Q%d, %d)", name, bits, dim)}
}

// Quantize makes planes of the layout l, from byte to of the buffer kv on, of the first tokens of planes of halves from byte from on.
func (s *Set) Quantize(queue gpu.Queue, kv gpu.Range, l plane.Layout, from, to uint64, tokens, kvHeads, fromCapacity, toCapacity int) error {
	if err := l.Check(); err != nil || l.Bits == 16 {
		return fmt.Errorf("kernels: quantizing to %d bits: %w", l.Bits, err)
	}
	k, err := s.made(recipe{kind: "quantize", form: [7]int{l.Bits, l.Dim}}, func() instance { return quantize(l.Bits, l.Dim) })
	if err != nil {
		return err
	}
	p := quantizeParams{from, to, uint32(tokens), uint32(kvHeads), uint32(fromCapacity), uint32(toCapacity)}
	queue.Launch(k, groups(max(1, (tokens*kvHeads*l.Scales()+7)/8), elementThreads), arg(kv), gpu.Value(&p))
	return nil
}
