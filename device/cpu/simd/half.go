package simd

import (
	"encoding/binary"
	"math"
)

// f16 is the half at element i of b as a float32, exactly.
func f16(b []byte, i int) float32 {
	h := uint32(binary.LittleEndian.Uint16(b[2*i:]))
	sign := h & 0x8000 << 16
	if h&0x7c00 == 0x7c00 { // infinite, or NaN, which the processor makes quiet
		quiet := uint32(0)
		if h&0x3ff != 0 {
			quiet = 0x400000
		}
		return math.Float32frombits(sign | 0x7f800000 | quiet | h&0x3ff<<13)
	}
	// Read as a float32, the shifted half is 2^112 too small; the product is exact, denormals included.
	return math.Float32frombits(sign | math.Float32bits(math.Float32frombits(h&0x7fff<<13)*0x1p112))
}

// bf16 is the bfloat16 at element i of b as a float32, exactly.
func bf16(b []byte, i int) float32 {
	return math.Float32frombits(uint32(binary.LittleEndian.Uint16(b[2*i:])) << 16)
}

// f32 is the float32 at element i of b.
func f32(b []byte, i int) float32 {
	return math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
}

// half is v rounded to a half: to nearest, ties to even; too large becomes infinite, NaN stays NaN.
func half(v float32) uint16 {
	bits := math.Float32bits(v)
	sign := uint16(bits >> 16 & 0x8000)
	mag := bits & 0x7fffffff
	switch {
	case mag > 0x7f800000:
		return sign | 0x7e00 | uint16(mag>>13&0x3ff)
	case mag >= 0x477ff000: // 65520, half way between the largest half and 2^16
		return sign | 0x7c00
	case mag < 0x38800000: // below 2^-14 halves are multiples of 2^-24; adding 0.5 rounds to those
		return sign | uint16(math.Float32bits(math.Float32frombits(mag)+0.5)-0x3f000000)
	}
	odd := mag >> 13 & 1
	return sign | uint16((mag-0x38000000+0xfff+odd)>>13)
}
