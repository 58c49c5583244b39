package simd

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Lengths with every kind of remainder.
var lengths = []int{0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65, 100, 256, 1000}

const guard = 16

var nan = float32(math.NaN())

// floats is n random values inside NaN guards; check fails the test if a guard was written.
func floats(t *testing.T, r *rand.Rand, n int) []float32 {
	t.Helper()
	all := make([]float32, guard+n+guard)
	for i := range all {
		all[i] = nan
	}
	x := all[guard : guard+n]
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	t.Cleanup(func() {
		for i, v := range all {
			if (i < guard || i >= guard+n) && v == v {
				t.Errorf("a routine wrote element %d of a slice of %d", i-guard, n)
				return
			}
		}
	})
	return x
}

// stored is x in a format, at an odd address, inside NaN guards, and the values it holds there.
func stored(x []float32, name string) (b []byte, values []float32) {
	size := 2
	if name == "F32" {
		size = 4
	}
	all := make([]byte, 1+guard*size+len(x)*size+guard*size)
	for i := range all {
		all[i] = 0xff
	}
	b = all[1+guard*size:][:len(x)*size]
	values = make([]float32, len(x))
	for i, v := range x {
		switch name {
		case "F32":
			binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
			values[i] = v
		case "F16":
			binary.LittleEndian.PutUint16(b[2*i:], half(v))
			values[i] = f16(b, i)
		case "BF16":
			binary.LittleEndian.PutUint16(b[2*i:], uint16(math.Float32bits(v)>>16))
			values[i] = bf16(b, i)
		}
	}
	return b, values
}

// near fails unless got is want to within rel of size.
func near(t *testing.T, what string, got float32, want, size, rel float64) {
	t.Helper()
	if math.IsNaN(want) {
		if got == got {
			t.Fatalf("%s is %v, want NaN", what, got)
		}
		return
	}
	if math.IsInf(want, 0) {
		if float64(got) != want {
			t.Fatalf("%s is %v, want %v", what, got, want)
		}
		return
	}
	if !(math.Abs(float64(got)-want) <= rel*size) {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

var productTests = []struct {
	name    string
	product func(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int)
}{{"F32", ProductF32}, {"F16", ProductF16}, {"BF16", ProductBF16}}

func TestProductsEqualFloat64(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 1))
		for _, c := range productTests {
			for _, n := range append(lengths, 48, 80, 8192) {
				for _, rows := range []int{0, 1, 2, 5, 11} {
					for _, tokens := range []int{0, 1, 2, 3, 7, 16, 17} {
						if n*rows*tokens > 1<<16 && (tokens != 7 || rows != 5) {
							continue
						}
						stride := rows + r.IntN(3)
						x, dst := floats(t, r, tokens*n), floats(t, r, tokens*stride)
						old := append([]float32(nil), dst...)
						w, values := stored(floats(t, r, rows*n), c.name)
						c.product(dst, stride, x, w, tokens, rows, n)
						for i, got := range dst {
							token, row := i/max(1, stride), i%max(1, stride)
							if row >= rows {
								near(t, "past the rows", got, float64(old[i]), 0, 0)
								continue
							}
							var want, size float64
							for k, v := range values[row*n : (row+1)*n] {
								want += float64(x[token*n+k]) * float64(v)
								size += math.Abs(float64(x[token*n+k]) * float64(v))
							}
							near(t, c.name, got, want, size, 1e-6)
						}
						for token := range tokens { // the same bits alone
							alone := make([]float32, rows)
							c.product(alone, rows, x[token*n:], w, 1, rows, n)
							if !slices.Equal(alone, dst[token*stride:][:rows]) {
								t.Fatalf("%s: token %d of %d gives %v, alone %v", c.name, token, tokens, dst[token*stride:][:rows], alone)
							}
						}
					}
				}
			}
		}
	})
}

func TestProductsPropagateNaNAndInf(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, c := range productTests {
			for _, n := range []int{5, 8, 41, 48} {
				for _, special := range []float32{nan, float32(math.Inf(1)), float32(math.Inf(-1))} {
					for at := range n {
						x, raw, dst := make([]float32, n), make([]float32, n), make([]float32, 1)
						for i := range x {
							x[i], raw[i] = 1, 1
						}
						raw[at] = special
						w, _ := stored(raw, c.name)
						c.product(dst, 1, x, w, 1, 1, n)
						near(t, c.name, dst[0], float64(special), 0, 0)
						if c.name == "F32" {
							near(t, "DotF32", DotF32(x, w), float64(special), 0, 0)
						}
					}
				}
			}
		}
	})
}

func TestEveryHalfConvertsAsTheTwinSays(t *testing.T) {
	src := make([]byte, 2*65536)
	for i := range 65536 {
		binary.LittleEndian.PutUint16(src[2*i:], uint16(i))
	}
	got, want, back := make([]float32, 65536), make([]float32, 65536), make([]byte, 2*65536)
	FromF16(got, src)
	fromF16Go(want, src)
	ToF16(back, got)
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("half %#04x is %v (%#x), twin says %v (%#x)", i, got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
		h := uint16(i)
		exponent := int(h >> 10 & 31)
		value := math.Ldexp(float64(h&0x3ff|0x400), exponent-25)
		if exponent == 0 {
			value = math.Ldexp(float64(h&0x3ff), -24)
		}
		if h&0x8000 != 0 {
			value = -value
		}
		if exponent != 31 && float64(got[i]) != value {
			t.Fatalf("half %#04x is %v, want %v", i, got[i], value)
		}
		if b := binary.LittleEndian.Uint16(back[2*i:]); got[i] == got[i] && b != h {
			t.Fatalf("half %#04x comes back as %#04x", h, b)
		}
	}
	FromBF16(got, src)
	for i := range got {
		if math.Float32bits(got[i]) != uint32(i)<<16 {
			t.Fatalf("bfloat16 %#04x is %#x", i, math.Float32bits(got[i]))
		}
	}
}

func TestToF16RoundsToNearestEven(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	var src []float32
	for i := range 0x7c00 { // every half, the middle to the next, and both sides of that middle
		var b [4]byte
		binary.LittleEndian.PutUint16(b[:], uint16(i))
		binary.LittleEndian.PutUint16(b[2:], uint16(i+1))
		low, high := f16(b[:], 0), f16(b[:], 1)
		if i == 0x7bff {
			high = 65536
		}
		middle := (low + high) / 2
		for _, v := range []float32{low, math.Nextafter32(middle, 0), middle, math.Nextafter32(middle, 1e9)} {
			src = append(src, v, -v)
		}
		want := uint16(i)
		if i&1 == 1 {
			want++
		}
		if half(middle) != want || half(math.Nextafter32(middle, 0)) != uint16(i) || half(math.Nextafter32(middle, 1e9)) != uint16(i+1) {
			t.Fatalf("around half %#04x the twin rounds wrongly", i)
		}
	}
	for range 100000 {
		src = append(src, math.Float32frombits(r.Uint32()))
	}
	src = append(src, nan, float32(math.Inf(1)), float32(math.Inf(-1)), 1e30, math.SmallestNonzeroFloat32)
	got, want := make([]byte, 2*len(src)), make([]byte, 2*len(src))
	ToF16(got, src)
	toF16Go(want, src)
	for i, v := range src {
		if a, b := binary.LittleEndian.Uint16(got[2*i:]), binary.LittleEndian.Uint16(want[2*i:]); a != b {
			t.Fatalf("%v (%#x) becomes %#04x, twin says %#04x", v, math.Float32bits(v), a, b)
		}
	}
}

func TestConversionsOfEveryLengthStayInside(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, n := range lengths {
		raw := floats(t, r, n)
		for name, from := range map[string]func([]float32, []byte){"F16": FromF16, "BF16": FromBF16, "F32": FromF32} {
			src, want := stored(raw, name)
			got := floats(t, r, n)
			from(got, src)
			for i := range got {
				near(t, name, got[i], float64(want[i]), 0, 0)
			}
		}
		all := make([]byte, 2*n+2)
		all[0], all[2*n+1] = 0xaa, 0xaa
		ToF16(all[1:1+2*n], raw)
		want, _ := stored(raw, "F16")
		if string(all[1:1+2*n]) != string(want) || all[0] != 0xaa || all[2*n+1] != 0xaa {
			t.Fatalf("ToF16 of %d elements is wrong", n)
		}
	}
}

func TestSoftmaxIsWithinThreeTenMillionths(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		const n = 16000
		x, one, f := make([]float32, n), make([]float32, 1), make([]float32, 1)
		for at := -86.59; at < 0; at += n * 0.00091 {
			for i := range x {
				x[i] = float32(min(0, at+float64(i)*0.00091))
			}
			x[7] = 0
			y := append([]float32(nil), x...)
			Softmax(y, n, []float32{float32(math.Inf(-1))}, one, f, nil, 1, n)
			for i, v := range x {
				want := math.Exp(float64(v))
				near(t, "exp", y[i], want, want, 3e-7)
			}
		}
	})
}

func TestSoftmaxOfEveryLength(t *testing.T) {
	inf := float32(math.Inf(-1))
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 5))
		for _, n := range lengths {
			for heads := range 4 {
				stride := (n+15)&^15 + 16*r.IntN(2)
				s, m, l, f := floats(t, r, heads*stride), floats(t, r, heads), floats(t, r, heads), floats(t, r, heads)
				if heads == 3 { // one has seen nothing yet, one sees nothing at all
					m[0], l[0] = inf, 0
					m[1], l[1] = inf, 0
					for j := range n {
						s[stride+j] = inf
					}
				}
				old, oldM, oldL := append([]float32(nil), s...), append([]float32(nil), m...), append([]float32(nil), l...)
				Softmax(s, stride, m, l, f, nil, heads, n)
				for h := range heads {
					next := float64(oldM[h])
					for _, v := range old[h*stride : h*stride+n] {
						next = max(next, float64(v))
					}
					near(t, "maximum", m[h], next, 0, 0)
					base, factor := next, math.Exp(float64(oldM[h])-next)
					if math.IsInf(next, -1) {
						base, factor = 0, 0
					}
					near(t, "factor", f[h], factor, 1, 3e-7)
					sum := float64(oldL[h]) * factor
					for j, v := range old[h*stride : h*stride+n] {
						want := math.Exp(float64(v) - base)
						near(t, "weight", s[h*stride+j], want, 1, 5e-7)
						sum += want
					}
					near(t, "sum", l[h], sum, 1+math.Abs(sum), 1e-6)
				}
			}
		}
	})
}

func TestSoftmaxOfSpecialValues(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, n := range []int{1, 8, 9, 16, 24} {
			for at := range n {
				for _, c := range []struct{ x, want float32 }{
					{float32(math.Inf(-1)), 0}, {-1e30, 0}, {-100, 0}, {0, 1},
				} {
					s, m, l, f := make([]float32, 32), make([]float32, 1), make([]float32, 1), make([]float32, 1)
					s[at] = c.x
					Softmax(s, 32, m, l, f, nil, 1, n)
					near(t, "exp", s[at], float64(c.want), 0, 0)
				}
			}
		}
	})
}

func TestSwiGLU(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for _, f := range []func(dst, gate, up []float32){SwiGLU, swiGLUGo} {
		for _, n := range lengths {
			gate, up, dst := floats(t, r, n), floats(t, r, n), floats(t, r, n)
			for i := range gate {
				gate[i] *= 30
			}
			f(dst, gate, up)
			for i, g := range gate {
				want := float64(g) / (1 + math.Exp(-float64(g))) * float64(up[i])
				near(t, "element", dst[i], want, math.Abs(want)+1e-30, 1e-6)
			}
			f(gate, gate, up)
			for i := range dst {
				near(t, "in place", gate[i], float64(dst[i]), 0, 0)
			}
		}
		for _, c := range []struct{ gate, want float64 }{{math.NaN(), math.NaN()}, {1e30, 1e30}, {-1e4, 0}, {0, 0}} {
			dst := make([]float32, 9)
			gate, up := make([]float32, 9), make([]float32, 9)
			for i := range gate {
				gate[i], up[i] = float32(c.gate), 1
			}
			f(dst, gate, up)
			for _, v := range dst {
				near(t, "of special value", v, c.want, math.Abs(c.want)+1e-27, 1e-6)
			}
		}
	}
}

func TestScales(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for _, n := range lengths {
		x, dst := floats(t, r, n), floats(t, r, n)
		old := append([]float32(nil), dst...)
		ScaleAdd(dst, x, 0.75, -1.25)
		for i := range dst {
			near(t, "ScaleAdd", dst[i], 0.75*float64(old[i])-1.25*float64(x[i]), 4, 1e-6)
		}
		Scale(dst, x, 3)
		for i := range dst {
			near(t, "Scale", dst[i], float64(3*x[i]), 0, 0)
		}
	}
}
