package cpu

import (
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// expand writes the elements of a row of w from column first on, as float32, to dst. first and the number of
// elements are multiples of what the format stores together.
func expand(dst []float32, w device.Matrix, row, first int) {
	b := w.Format.Block()
	src := w.Data[(row*w.Cols+first)/b.Elements*b.Bytes:][:len(dst)/b.Elements*b.Bytes]
	switch w.Format {
	case device.F32:
		simd.FromF32(dst, src)
	case device.F16:
		simd.FromF16(dst, src)
	case device.BF16:
		simd.FromBF16(dst, src)
	case device.Q8_0:
		simd.FromQ8_0(dst, src)
	case device.Q4_0:
		simd.FromQ4_0(dst, src)
	case device.Q4_K:
		simd.FromQ4_K(dst, src)
	case device.Q6_K:
		simd.FromQ6_K(dst, src)
	case device.MLX4, device.MLX8:
		expandAffine(dst, src, w, (row*w.Cols+first)/w.Group)
	}
}

// expandAffine expands elements whose first group is the one given, of all of the matrix.
func expandAffine(dst []float32, src []byte, w device.Matrix, group int) {
	var scales, biases [32]float32 // of some groups at a time
	size := w.ScaleFormat.Bytes()
	for at := 0; at < len(dst); at += len(scales) * w.Group {
		part := dst[at:min(at+len(scales)*w.Group, len(dst))]
		n := len(part) / w.Group
		for _, c := range []struct {
			dst []float32
			src []byte
		}{{scales[:n], w.Scales}, {biases[:n], w.Biases}} {
			numbers := c.src[(group+at/w.Group)*size:]
			switch w.ScaleFormat {
			case device.F32:
				simd.FromF32(c.dst, numbers)
			case device.F16:
				simd.FromF16(c.dst, numbers)
			case device.BF16:
				simd.FromBF16(c.dst, numbers)
			}
		}
		bits := 4
		if w.Format == device.MLX8 {
			bits = 8
		}
		simd.FromAffine(part, src[at*bits/8:], bits, w.Group, scales[:n], biases[:n])
	}
}

// bytesOf is the memory of x.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
