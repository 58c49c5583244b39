package quant

import (
	"encoding/binary"
	"math"
)

// Layout is the size of a block.
type Layout struct {
	Elements int
	Bytes    int
}

// The layouts of GGUF's blocks.
var (
	Q8_0 = Layout{32, 34}
	Q4_0 = Layout{32, 18}
	Q4_K = Layout{256, 144}
	Q6_K = Layout{256, 210}
)

// half is the half at the start of b, exactly.
func half(b []byte) float32 {
	h := uint32(binary.LittleEndian.Uint16(b))
	sign, mag := h&0x8000<<16, h&0x7fff<<13
	if mag >= 0x7c00<<13 { // infinite, or NaN
		return math.Float32frombits(sign | mag | 0x7f800000)
	}
	return math.Float32frombits(sign | math.Float32bits(math.Float32frombits(mag)*0x1p112))
}
