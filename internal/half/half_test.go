package half

import (
	"math"
	"testing"
)

func TestEveryHalfSurvivesTheRoundTrip(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		if f := FromF16(h); f == f && ToF16(f) != h {
			t.Fatalf("F16 %#04x became %#04x through %g", h, ToF16(f), f)
		} else if f != f && ToF16(f)&0x7c00 != 0x7c00 {
			t.Fatalf("F16 NaN %#04x became %#04x", h, ToF16(f))
		}
		if f := FromBF16(h); f == f && ToBF16(f) != h {
			t.Fatalf("BF16 %#04x became %#04x through %g", h, ToBF16(f), f)
		} else if f != f && FromBF16(ToBF16(f)) == FromBF16(ToBF16(f)) {
			t.Fatalf("BF16 NaN %#04x became %#04x", h, ToBF16(f))
		}
	}
}

func TestNarrowingRoundsToTheNearestEven(t *testing.T) {
	for _, c := range []struct {
		in   float32
		want uint16
	}{
		{1 + 0x1p-11, 0x3c00}, // halfway, down to even
		{1 + 3*0x1p-11, 0x3c02},
		{1 + 0x1p-11 + 0x1p-20, 0x3c01},
		{65519, 0x7bff},
		{65520, 0x7c00},
		{-0x1p-25, 0x8000}, // halfway to the least subnormal
		{0x1.8p-25, 0x0001},
		{float32(math.Inf(-1)), 0xfc00},
		{0x1p-14 - 0x1p-26, 0x0400}, // rounds up into the normal numbers
	} {
		if got := ToF16(c.in); got != c.want {
			t.Errorf("ToF16(%g) = %#04x, want %#04x", c.in, got, c.want)
		}
	}
	for _, c := range []struct {
		in   float32
		want uint16
	}{{1 + 0x1p-8, 0x3f80}, {1 + 3*0x1p-8, 0x3f82}, {math.MaxFloat32, 0x7f80}} {
		if got := ToBF16(c.in); got != c.want {
			t.Errorf("ToBF16(%g) = %#04x, want %#04x", c.in, got, c.want)
		}
	}
}
