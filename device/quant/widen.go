package quant

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/half"
)

// Widen writes the elements [first, first+len(dst)) of a row of m to dst. Both first and len(dst) must be
// multiples of the matrix's block.
func Widen(dst []float32, m *device.Matrix, row, first int) {
	block := m.Block()
	if first%block != 0 || len(dst)%block != 0 || first < 0 || first+len(dst) > m.Cols {
		panic(fmt.Sprintf("quant: elements [%d, %d) of a row of %d in blocks of %d", first, first+len(dst), m.Cols, block))
	}
	b := m.Data[row*m.Format.RowBytes(m.Cols)+m.Format.RowBytes(first):]
	if m.Affine.Group > 0 {
		affine(dst, b, m, row, first)
		return
	}
	size := m.Format.RowBytes(block)
	for ; len(dst) > 0; dst, b = dst[block:], b[size:] {
		switch m.Format {
		case device.F32:
			dst[0] = f32(b)
		case device.F16:
			dst[0] = f16(b)
		case device.BF16:
			dst[0] = bf16(b)
		case device.Q8_0:
			q8(dst[:32], b[:34])
		case device.Q4_0:
			q4(dst[:32], b[:18])
		case device.Q4_K:
			q4k(dst[:256], b[:144])
		case device.Q6_K:
			q6k(dst[:256], b[:210])
		default:
			panic(fmt.Sprintf("quant: format %v is not known", m.Format))
		}
	}
}

func f32(b []byte) float32  { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }
func f16(b []byte) float32  { return half.FromF16(binary.LittleEndian.Uint16(b)) }
func bf16(b []byte) float32 { return half.FromBF16(binary.LittleEndian.Uint16(b)) }

func q8(dst []float32, b []byte) {
	d := f16(b)
	for i, q := range b[2:] {
		dst[i] = d * float32(int8(q))
	}
}

func q4(dst []float32, b []byte) {
	d := f16(b)
	for i, q := range b[2:] {
		dst[i] = d * float32(int(q&15)-8)
		dst[i+16] = d * float32(int(q>>4)-8)
	}
}

func q4k(dst []float32, b []byte) {
	d, m, scales, q := f16(b), f16(b[2:]), b[4:16], b[16:]
	for i := range 8 {
		s, t := sixBits(scales, i)
		scale, least := d*float32(s), m*float32(t)
		shift := i % 2 * 4
		part, from := dst[32*i:32*i+32], q[i/2*32:]
		for j := range part {
			part[j] = float32(scale*float32(from[j]>>shift&15)) - least // rounded in between on every processor
		}
	}
}

// sixBits is the scale and the minimum of part i of 8: of the first four in the low 6 bits of a byte each, of
// the others in halves of a byte, with two bits more above those of the first.
func sixBits(b []byte, i int) (scale, least byte) {
	if i < 4 {
		return b[i] & 63, b[i+4] & 63
	}
	return b[i+4]&15 | b[i-4]>>6<<4, b[i+4]>>4 | b[i]>>6<<4
}

func q6k(dst []float32, b []byte) {
	low, high, scales, d := b[:128], b[128:192], b[192:208], f16(b[208:])
	for i := range dst {
		// Halves of 128 have four runs of 32: their low bits are the low halves of 64 bytes, then the high ones,
		// and their high bits two of each of 32 bytes.
		part, run, at := i/128, i%128/32, i%32
		l := low[64*part+run%2*32+at] >> (run / 2 * 4) & 15
		h := high[32*part+at] >> (2 * run) & 3
		dst[i] = float32(d*float32(int8(scales[i/16]))) * float32(int(l|h<<4)-32)
	}
}

// affine widens elements in groups, from first on, that b begins with.
func affine(dst []float32, b []byte, m *device.Matrix, row, first int) {
	a := &m.Affine
	at := (row*m.Cols + first) / a.Group
	for i := range dst {
		if i > 0 && i%a.Group == 0 {
			at++
		}
		var q byte
		if m.Format == device.MLX8 {
			q = b[i]
		} else {
			q = b[i/2] >> (i % 2 * 4) & 15
		}
		dst[i] = float32(number(a.Scales, a.Format, at)*float32(q)) + number(a.Biases, a.Format, at)
	}
}

// number is element i of an array in a dense format.
func number(b []byte, f device.Format, i int) float32 {
	switch b = b[f.Bytes()*i:]; f {
	case device.F16:
		return f16(b)
	case device.BF16:
		return bf16(b)
	}
	return f32(b)
}
