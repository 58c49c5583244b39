package quantize

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/half"
)

// Encode appends src, whole blocks of a format that is not MLX's, to dst.
func Encode(dst []byte, f device.Format, src []float32) []byte {
	block := f.Block().Elements
	if len(src)%block != 0 {
		panic(fmt.Sprintf("quantize: %d elements in blocks of %d", len(src), block))
	}
	for ; len(src) > 0; src = src[block:] {
		x := src[:block]
		switch f {
		case device.F32:
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(x[0]))
		case device.F16:
			dst = put16(dst, half.ToF16(x[0]))
		case device.BF16:
			dst = put16(dst, half.ToBF16(x[0]))
		case device.Q8_0:
			dst = encodeQ8(dst, x)
		case device.Q4_0:
			dst = encodeQ4(dst, x)
		case device.Q4_K:
			dst = encodeQ4K(dst, x)
		case device.Q6_K:
			dst = encodeQ6K(dst, x)
		default:
			panic(fmt.Sprintf("quantize: format %v is not written", f))
		}
	}
	return dst
}

func put16(dst []byte, h uint16) []byte { return binary.LittleEndian.AppendUint16(dst, h) }

// extreme is the element of x that is farthest from 0.
func extreme(x []float32) float32 {
	return slices.MaxFunc(x, func(a, b float32) int {
		if a*a < b*b {
			return -1
		}
		return 1
	})
}

// over is x/d, or 0 where d is.
func over(x, d float32) float32 {
	if d == 0 {
		return 0
	}
	return x / d
}

// nearest is x rounded to a whole number of [low, high].
func nearest(x float32, low, high int) int {
	return min(max(int(math.Round(float64(x))), low), high)
}

func encodeQ8(dst []byte, x []float32) []byte {
	d := float32(math.Abs(float64(extreme(x)))) / 127
	dst = put16(dst, half.ToF16(d))
	for _, v := range x {
		dst = append(dst, byte(nearest(over(v, d), -127, 127)))
	}
	return dst
}

func encodeQ4(dst []byte, x []float32) []byte {
	d := extreme(x) / -8
	dst = put16(dst, half.ToF16(d))
	q := func(v float32) byte { return byte(nearest(over(v, d), -8, 7) + 8) }
	for i := range 16 {
		dst = append(dst, q(x[i])|q(x[i+16])<<4)
	}
	return dst
}

func encodeQ4K(dst []byte, x []float32) []byte {
	var scale, least [8]float32 // of each 32: x is about scale·q - least
	for i := range 8 {
		part := x[32*i : 32*i+32]
		low := min(slices.Min(part), 0)
		scale[i], least[i] = (slices.Max(part)-low)/15, -low
	}
	d, m := half.ToF16(slices.Max(scale[:])/63), half.ToF16(slices.Max(least[:])/63)
	dst = put16(put16(dst, d), m)
	at := len(dst)
	dst = append(dst, make([]byte, 12+128)...)
	scales, q := dst[at:at+12], dst[at+12:]
	for i := range 8 {
		s := nearest(over(scale[i], half.FromF16(d)), 0, 63)
		t := nearest(over(least[i], half.FromF16(m)), 0, 63)
		if i < 4 {
			scales[i] |= byte(s)
			scales[i+4] |= byte(t)
		} else {
			scales[i+4] = byte(s&15 | t&15<<4)
			scales[i-4] |= byte(s >> 4 << 6)
			scales[i] |= byte(t >> 4 << 6)
		}
		step, low := half.FromF16(d)*float32(s), half.FromF16(m)*float32(t)
		for j, v := range x[32*i : 32*i+32] {
			q[i/2*32+j] |= byte(nearest(over(v+low, step), 0, 15)) << (i % 2 * 4)
		}
	}
	return dst
}

func encodeQ6K(dst []byte, x []float32) []byte {
	var scale [16]float32
	for i := range scale {
		scale[i] = extreme(x[16*i:16*i+16]) / -32
	}
	d := half.ToF16(extreme(scale[:]) / -128)
	at := len(dst)
	dst = put16(append(dst, make([]byte, 208)...), d)
	low, high, scales := dst[at:at+128], dst[at+128:at+192], dst[at+192:at+208]
	for i, v := range x {
		s := nearest(over(scale[i/16], half.FromF16(d)), -128, 127)
		scales[i/16] = byte(s)
		q := nearest(over(v, half.FromF16(d)*float32(s)), -32, 31) + 32
		part, run, at := i/128, i%128/32, i%32
		low[64*part+run%2*32+at] |= byte(q & 15 << (run / 2 * 4))
		high[32*part+at] |= byte(q >> 4 << (2 * run))
	}
	return dst
}

// EncodeAffine writes src, whole groups, in one of MLX's formats: the elements, and a scale and a bias for each group
// in F32, F16 or BF16.
func EncodeAffine(f device.Format, group int, number device.Format, src []float32) (data, scales, biases []byte) {
	most := 1<<bitsOf(f) - 1
	for ; len(src) > 0; src = src[group:] {
		x := src[:group]
		at := len(scales)
		scales = Encode(scales, number, []float32{(slices.Max(x) - slices.Min(x)) / float32(most)})
		biases = Encode(biases, number, []float32{slices.Min(x)})
		var stored [2]float32 // the scale and the bias as they are read back
		numbers(stored[:1], number, scales[at:])
		numbers(stored[1:], number, biases[at:])
		for i, v := range x {
			q := byte(nearest(over(v-stored[1], stored[0]), 0, most))
			switch {
			case f == device.MLX8:
				data = append(data, q)
			case i%2 == 0:
				data = append(data, q)
			default:
				data[len(data)-1] |= q << 4
			}
		}
	}
	return data, scales, biases
}
