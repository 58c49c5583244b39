package attention

import "fmt"

// Format is how keys and values are stored in a block.
type Format uint8

// The storage formats.
const (
	F16 Format = iota + 1 // each element is an IEEE 754 half
	F32                   // each element is an IEEE 754 single
)

// Valid reports whether f is one of the formats.
func (f Format) Valid() bool { return f == F16 || f == F32 }

// BytesPerHead is the size of one head's key (or value) of one token, in bytes.
func (f Format) BytesPerHead(headDim int) int {
	if f == F32 {
		return 4 * headDim
	}
	return 2 * headDim
}

// String names the format as the --kv flag does.
func (f Format) String() string {
	switch f {
	case F16:
		return "f16"
	case F32:
		return "f32"
	}
	return fmt.Sprintf("format %d", uint8(f))
}

// ParseFormat is the format of that name.
func ParseFormat(s string) (Format, error) {
	for _, f := range []Format{F16, F32} {
		if s == f.String() {
			return f, nil
		}
	}
	return 0, fmt.Errorf("KV format %q is not f16 or f32", s)
}

// KV is one layer's keys and values of a run of consecutive tokens: a view of one block.
//
// K and V are head-major, [kvHeads][Cap][headDim] in Format, so that a head's keys are contiguous
// for whoever reads them. Only the first Len tokens of each head hold data.
type KV struct {
	Format  Format
	HeadDim int // elements of one head; only appending needs it, attention is told by its Shape
	First   int // position of the first token
	Len     int // tokens that hold data
	Cap     int // tokens for which there is room: the stride from head to head
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

// Slice is the view of the tokens [first, end) of the block.
func (kv *KV) Slice(first, end int, s Shape) KV {
	at := first * kv.Format.BytesPerHead(s.HeadDim)
	return KV{Format: kv.Format, HeadDim: kv.HeadDim, First: kv.First + first, Len: end - first, Cap: kv.Cap, K: kv.K[at:], V: kv.V[at:]}
}

// Visible is how many of the block's tokens the query at the position sees.
func (kv *KV) Visible(position int) int {
	return max(0, min(kv.Len, position+1-kv.First))
}

// rows is the stored rows [at, at+n) of one head in data, which is K or V.
func (kv *KV) rows(data []byte, head, at, n, dim int) []byte {
	row := kv.Format.BytesPerHead(dim)
	start := (head*kv.Cap + at) * row
	return data[start : start+n*row]
}
