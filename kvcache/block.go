package kvcache

import (
	"fmt"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/residence"
)

// Geometry is what all blocks of a model have in common.
type Geometry struct {
	Shape       attention.Shape
	Layers      int
	Format      attention.Format
	BlockTokens int           // tokens of a whole block
	Memory      device.Memory // where blocks lie
}

// LayerBytes is what one layer of n tokens takes from the budget, keys and values. The padding of quantized blocks whose
// size is no multiple of 8 tokens, up to 30 bytes for each head of K and of V, is not counted.
func (g Geometry) LayerBytes(n int) int64 { return int64(n) * int64(g.Shape.KVBytes(g.Format)) }

// half is the size of the keys, or the values, of one layer of a block of n tokens.
func (g Geometry) half(n int) int { return g.Shape.BlockBytes(g.Format, n) / 2 }

// Block is the keys and values of some layers of some consecutive tokens.
type Block struct {
	residence.Rect                // Tokens is the room while the block is open, and the extent from then on
	kv             []attention.KV // by layer, from Layers.First; K is nil where the layer was released
	memory         []*extent      // by layer, likewise
	batch          uint64         // that it arrived with, 0 if it grew here
}

func newBlock(g Geometry, r residence.Rect, budget *Budget) (*Block, error) {
	n := r.Tokens.Len()
	memory, err := newExtents(g, r.Layers.Len(), n, budget)
	if err != nil {
		return nil, err
	}
	b := &Block{Rect: r, kv: make([]attention.KV, r.Layers.Len()), memory: memory}
	for i := range b.kv {
		data := memory[i].data
		b.kv[i] = attention.KV{Format: g.Format, HeadDim: g.Shape.HeadDim, First: r.Tokens.First, Cap: n, K: data[:len(data)/2], V: data[len(data)/2:]}
	}
	return b, nil
}

// Layer is the view of one layer of the block. Only the step that grows an open block may change it.
func (b *Block) Layer(layer int) *attention.KV { return &b.kv[layer-b.Layers.First] }

// has reports whether the block's data of a layer is here.
func (b *Block) has(layer int) bool { return b.Layers.Contains(layer) && b.Layer(layer).K != nil }

// close makes the extent end at token end, which every layer must have reached and none have passed. The
// room behind it is given back: the tokens that follow will have a block of their own. Nobody reads the
// block meanwhile.
func (b *Block) close(end int, g Geometry) error {
	for i := range b.kv {
		if b.kv[i].K != nil && b.kv[i].End() != end {
			return fmt.Errorf("block of %v: layer %d ends at token %d, not at %d", b.Rect, b.Layers.First+i, b.kv[i].End(), end)
		}
	}
	b.Tokens.End = end
	for i := range b.kv {
		if kv := &b.kv[i]; kv.K != nil && kv.Len < kv.Cap {
			x, err := b.memory[i].shrink(kv, g)
			if err != nil {
				return fmt.Errorf("block of %v: %w", b.Rect, err)
			}
			b.memory[i] = x
		}
	}
	return nil
}

// extent is the memory of a layer, nil if it was released.
func (b *Block) extent(layer int) *extent { return b.memory[layer-b.Layers.First] }

// release ends the block's use of one layer.
func (b *Block) release(layer int) {
	if x := b.extent(layer); x != nil {
		b.memory[layer-b.Layers.First] = nil
		*b.Layer(layer) = attention.KV{}
		x.release()
	}
}

// drop ends the block's use of all layers. Steps that have begun may still look at it, and are users too.
func (b *Block) drop() {
	for _, x := range b.memory {
		if x != nil {
			x.release()
		}
	}
}

// empty reports whether every layer was released.
func (b *Block) empty() bool {
	for i := range b.kv {
		if b.kv[i].K != nil {
			return false
		}
	}
	return true
}
