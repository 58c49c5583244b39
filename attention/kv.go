package attention

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orrery-ai/orrery/attention/plane"
)

// Format is how keys and values are stored in a block.
type Format uint8

// The storage formats.
const (
	F16 Format = iota + 1 // each element is an IEEE 754 half
	F32                   // each element is an IEEE 754 single
	Q8                    // 8 bits, and a half for each 32 elements of a row, see package plane
	Q4                    // 4 bits, likewise
)

var formatNames = [...]string{F16: "f16", F32: "f32", Q8: "q8", Q4: "q4"}

// Valid reports whether f is one of the formats.
func (f Format) Valid() bool { return f >= F16 && f <= Q4 }

// Bits is the size of an element.
func (f Format) Bits() int { return [...]int{F16: 16, F32: 32, Q8: 8, Q4: 4}[f] }

// Quantized reports whether elements share scales.
func (f Format) Quantized() bool { return f == Q8 || f == Q4 }

// layout is that of a head's keys, or values, in a quantized format.
func (f Format) layout(headDim int) plane.Layout { return plane.Layout{Bits: f.Bits(), Dim: headDim} }

// Check returns an error that says why heads of so many elements cannot be stored in the format.
func (f Format) Check(headDim int) error {
	if !f.Valid() {
		return fmt.Errorf("KV format %d is not known", uint8(f))
	}
	if !f.Quantized() {
		return nil
	}
	if err := f.layout(headDim).Check(); err != nil {
		return fmt.Errorf("KV format %v: %w: use f16", f, err)
	}
	return nil
}

// BytesPerHead is the size of one head's key (or value) of one token, in bytes, its scales included.
func (f Format) BytesPerHead(headDim int) int {
	if f.Quantized() {
		l := f.layout(headDim)
		return l.RowBytes() + 2*l.Scales()
	}
	return headDim * f.Bits() / 8
}

// PlaneBytes is the size of one head's keys (or values) in a block with room for so many tokens, in bytes. It is
// BytesPerHead of each and, if quantized, up to 30 bytes of padding.
func (f Format) PlaneBytes(headDim, tokens int) int {
	if f.Quantized() {
		return f.layout(headDim).Bytes(tokens)
	}
	return tokens * f.BytesPerHead(headDim)
}

// String names the format as the --kv flag does.
func (f Format) String() string {
	if f.Valid() {
		return formatNames[f]
	}
	return fmt.Sprintf("format %d", uint8(f))
}

// ParseFormat is the format of that name.
func ParseFormat(s string) (Format, error) {
	if i := slices.Index(formatNames[:], s); i > 0 {
		return Format(i), nil
	}
	return 0, fmt.Errorf("KV format %q is not one of %s", s, strings.Join(formatNames[F16:], ", "))
}

// KV is one layer's keys and values of a run of consecutive tokens: a view of one block.
//
// K and V are head-major, so that a head's keys are contiguous for whoever reads them: [kvHeads][Cap][headDim] in Format
// or, if that is quantized, a plane for each head, see package plane. Only Len tokens of each head, from Skip on, hold data.
type KV struct {
	Format  Format
	HeadDim int // elements of one head; only appending needs it, attention is told by its Shape
	First   int // position of the first token
	Skip    int // tokens for which there is room before that one: of a slice
	Len     int // tokens that hold data
	Cap     int // tokens for which there is room
	K, V    []byte
}

// End is the position after the last token that holds data.
func (kv *KV) End() int { return kv.First + kv.Len }

// Shape is the geometry of one attention layer.
type Shape struct {
	Heads   int     // query heads
	KVHeads int     // key and value heads; Heads is a multiple (grouped-query attention)
	HeadDim int     // elements of one head
	Scale   float32 // factor on q·k before the softmax, usually 1/sqrt(HeadDim)
}

// Group is the number of query heads that share one key and value head.
func (s Shape) Group() int { return s.Heads / s.KVHeads }

// KVBytes is the size of one token's keys and values in one layer, in bytes.
func (s Shape) KVBytes(f Format) int { return 2 * s.KVHeads * f.BytesPerHead(s.HeadDim) }

// BlockBytes is the size of one layer of a block with room for so many tokens, keys and values, in bytes. It is KVBytes of
// each and, if quantized, up to 30 bytes of padding for each head of K and of V.
func (s Shape) BlockBytes(f Format, tokens int) int {
	return 2 * s.KVHeads * f.PlaneBytes(s.HeadDim, tokens)
}

// Slice is the view of the tokens [first, end) of the block.
func (kv *KV) Slice(first, end int) KV {
	s := *kv
	s.First, s.Skip, s.Len = kv.First+first, kv.Skip+first, end-first
	return s
}

// Visible is how many of the block's tokens the query at the position sees.
func (kv *KV) Visible(position int) int {
	return max(0, min(kv.Len, position+1-kv.First))
}

// rows is the stored rows [at, at+n) of one head in data, which is K or V: without scales.
func (kv *KV) rows(data []byte, head, at, n, dim int) []byte {
	row := dim * kv.Format.Bits() / 8
	return data[head*kv.Format.PlaneBytes(dim, kv.Cap)+(kv.Skip+at)*row:][:n*row]
}

// scales is the scales of those rows, as halves, if the block is quantized.
func (kv *KV) scales(data []byte, head, at, n, dim int) []byte {
	l := kv.Format.layout(dim)
	return data[head*l.Bytes(kv.Cap)+l.ScalesAt(kv.Cap)+(kv.Skip+at)*2*l.Scales():][:n*2*l.Scales()]
}

// Put stores x, which is one head's key or value of a token of the block, in data, which is K or V.
func (kv *KV) Put(data []byte, head, token int, x []float32) {
	data = data[head*kv.Format.PlaneBytes(len(x), kv.Cap):]
	if kv.Format.Quantized() {
		kv.Format.layout(len(x)).Put(data, kv.Cap, token, x)
		return
	}
	kv.Format.encode(data[token*kv.Format.BytesPerHead(len(x)):], x)
}

// Gather copies the tokens that hold data of so many heads, in data, which is K or V or a copy of it, to dst, which has
// room for them and no more: PlaneBytes of Len tokens for each head.
func (kv *KV) Gather(dst, data []byte, heads, dim int) {
	packed := KV{Format: kv.Format, Cap: kv.Len}
	for h := range heads {
		packed.copy(dst, h, 0, kv, data, h, 0, kv.Len, dim)
	}
}

// Copy copies one head's key or value of a token of another block of the same format, in data, to a token of this one, in dst.
// dst and data are K or V, or copies.
func (kv *KV) Copy(dst []byte, head, token int, from *KV, data []byte, fromHead, fromToken, dim int) {
	kv.copy(dst, head, token, from, data, fromHead, fromToken, 1, dim)
}

// copy is Copy for n tokens.
func (kv *KV) copy(dst []byte, head, token int, from *KV, data []byte, fromHead, fromToken, n, dim int) {
	copy(kv.rows(dst, head, token, n, dim), from.rows(data, fromHead, fromToken, n, dim))
	if kv.Format.Quantized() {
		copy(kv.scales(dst, head, token, n, dim), from.scales(data, fromHead, fromToken, n, dim))
	}
}
