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
	bits := bitsOf(w.Format)
	for at := 0; at < len(dst); at += len(scales) * w.Group {
		part := dst[at:min(at+len(scales)*w.Group, len(dst))]
		n := len(part) / w.Group
		numbersOf(scales[:n], biases[:n], w, group+at/w.Group)
		simd.FromAffine(part, src[at*bits/8:], bits, w.Group, scales[:n], biases[:n])
	}
}

// numbersOf writes the scales and biases of groups from one on.
func numbersOf(scales, biases []float32, w device.Matrix, group int) {
	at := group * w.ScaleFormat.Bytes()
	switch w.ScaleFormat {
	case device.F32:
		simd.FromF32(scales, w.Scales[at:])
		simd.FromF32(biases, w.Biases[at:])
	case device.F16:
		simd.FromF16(scales, w.Scales[at:])
		simd.FromF16(biases, w.Biases[at:])
	case device.BF16:
		simd.FromBF16(scales, w.Scales[at:])
		simd.FromBF16(biases, w.Biases[at:])
	}
}

// bitsOf is the size of an element of an affine format.
func bitsOf(f device.Format) int {
	if f == device.MLX4 {
		return 4
	}
	return 8
}

// bytesOf is the memory of x.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
