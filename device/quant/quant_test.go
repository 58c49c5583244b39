package quant

import (
	"math"
	"testing"
)

func TestHalvesAreExact(t *testing.T) {
	for i := range 1 << 16 {
		got := float64(half([]byte{byte(i), byte(i >> 8)}))
		exponent, fraction := i>>10&31, i&0x3ff
		want := math.Ldexp(float64(fraction|0x400), exponent-25)
		switch {
		case exponent == 0:
			want = math.Ldexp(float64(fraction), -24)
		case exponent == 31 && fraction == 0:
			want = math.Inf(1)
		case exponent == 31:
			want = math.NaN()
		}
		if i>>15 == 1 {
			want = -want
		}
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Fatalf("half %#04x is %v, want %v", i, got, want)
		}
	}
}

// one is the half 1.
var one = []byte{0x00, 0x3c}

func TestBlocksByHand(t *testing.T) {
	check := func(name string, got []float32, want map[int]float32) {
		t.Helper()
		for i, w := range want {
			if got[i] != w {
				t.Errorf("%s: element %d is %v, want %v", name, i, got[i], w)
			}
		}
	}
	b := make([]byte, Q8_0.Bytes)
	copy(b, one)
	b[2], b[33] = 0x80, 127
	dst := make([]float32, 256)
	FromQ8_0(dst[:32], b)
	check("Q8_0", dst, map[int]float32{0: -128, 1: 0, 31: 127})

	b = make([]byte, Q4_0.Bytes)
	copy(b, one)
	b[2], b[17] = 0x1f, 0xf8
	FromQ4_0(dst[:32], b)
	check("Q4_0", dst, map[int]float32{0: 7, 16: -7, 1: -8, 15: 0, 31: 7})

	b = make([]byte, Q4_K.Bytes)
	copy(b, one)
	copy(b[2:], one)
	b[4+0], b[4+4] = 0x40|3, 0x80|5 // group 0: scale 3, minimum 5; upper bits 1 and 2 for group 4
	b[4+8] = 0x76                   // group 4: scale 6 | 1<<4, minimum 7 | 2<<4
	b[16] = 0xa9                    // element 0 is 9, element 32 is 10
	b[16+64] = 0x0b                 // element 128, of group 4, is 11
	FromQ4_K(dst, b)
	check("Q4_K", dst, map[int]float32{0: 3*9 - 5, 1: -5, 32: 0, 128: 22*11 - 39, 129: -39})

	b = make([]byte, Q6_K.Bytes)
	copy(b[208:], one)
	for i := range 16 {
		b[192+i] = byte(i + 1)
	}
	b[192+15] = 0xff // scale -1
	b[0], b[128] = 0x21, 0xe4
	FromQ6_K(dst, b)
	// Upper bits of element 0, 32, 64, 96 are 0, 1, 2, 3; low bits of 0 are 1, of 64 are 2.
	check("Q6_K", dst, map[int]float32{0: 1 * (1 - 32), 32: 3 * (16 - 32), 64: 5 * (2 + 32 - 32), 96: 7 * (48 - 32), 255: 32})
}

func TestAffineByHand(t *testing.T) {
	dst := make([]float32, 64)
	q := make([]byte, 64)
	q[0], q[16] = 0x21, 0xf0
	FromAffine(dst, q[:32], 4, 32, []float32{2, 3}, []float32{-1, 10})
	for i, want := range map[int]float32{0: 1, 1: 3, 2: -1, 32: 10, 33: 55} {
		if dst[i] != want {
			t.Errorf("4 bits: element %d is %v, want %v", i, dst[i], want)
		}
	}
	FromAffine(dst, q, 8, 64, []float32{0.5}, []float32{1})
	for i, want := range map[int]float32{0: 17.5, 1: 1, 16: 121} {
		if dst[i] != want {
			t.Errorf("8 bits: element %d is %v, want %v", i, dst[i], want)
		}
	}
}
