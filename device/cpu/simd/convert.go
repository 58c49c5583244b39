package simd

import "encoding/binary"

// FromF16 is
//
//	for i := range dst {
//		dst[i] = float32(src[i]) // as f16
//	}
func FromF16(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	n := 0
	switch {
	case haveAVX2:
		n = len(dst) &^ 7
		fromF16AVX2(dst[:n], src)
	case haveNEON:
		n = len(dst) &^ 7
		fromF16NEON(dst[:n], src)
	}
	fromF16Go(dst[n:], src[2*n:])
}

// FromBF16 is
//
//	for i := range dst {
//		dst[i] = float32(src[i]) // as bf16
//	}
func FromBF16(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	n := 0
	switch {
	case haveAVX2:
		n = len(dst) &^ 7
		fromBF16AVX2(dst[:n], src)
	case haveNEON:
		n = len(dst) &^ 7
		fromBF16NEON(dst[:n], src)
	}
	fromBF16Go(dst[n:], src[2*n:])
}

// FromF32 is
//
//	for i := range dst {
//		dst[i] = src[i] // as f32
//	}
func FromF32(dst []float32, src []byte) {
	src = src[:4*len(dst)]
	for i := range dst {
		dst[i] = f32(src, i)
	}
}

// ToF16 is
//
//	for i, v := range src {
//		dst[i] = half(v) // to nearest, ties to even
//	}
func ToF16(dst []byte, src []float32) {
	dst = dst[:2*len(src)]
	n := 0
	switch {
	case haveAVX2:
		n = len(src) &^ 7
		toF16AVX2(dst, src[:n])
	case haveNEON:
		n = len(src) &^ 7
		toF16NEON(dst, src[:n])
	}
	toF16Go(dst[2*n:], src[n:])
}

func fromF16Go(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = f16(src, i)
	}
}

func fromBF16Go(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = bf16(src, i)
	}
}

func toF16Go(dst []byte, src []float32) {
	for i, v := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], half(v))
	}
}
