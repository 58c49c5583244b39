package plane

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/orrery-ai/orrery/device/cpu/simd"
)

func TestStoredElementsAreWithinTheirError(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, bits := range []int{16, 8, 4} {
		for _, dim := range []int{64, 80, 96, 128, 256} {
			t.Run(fmt.Sprintf("%d bits of %d", bits, dim), func(t *testing.T) {
				l := Layout{Bits: bits, Dim: dim}
				if err := l.Check(); err != nil {
					t.Fatal(err)
				}
				const capacity = 7
				data := make([]byte, l.Bytes(capacity))
				rows := make([][]float32, capacity)
				for token := range capacity {
					x := make([]float32, dim)
					for i := range x {
						x[i] = float32(random.NormFloat64())
					}
					rows[token] = x
					l.Put(data, capacity, token, x)
				}
				got := make([]float32, dim)
				for token, x := range rows {
					l.Get(got, data, capacity, token)
					for i, want := range x {
						largest := 0.0
						for _, v := range x[i/Group*Group : min(dim, (i/Group+1)*Group)] {
							largest = max(largest, math.Abs(float64(v)))
						}
						bound := largest / 2048
						switch bits {
						case 8:
							bound += largest / 254
						case 4:
							bound += largest / 8
						}
						if off := math.Abs(float64(got[i] - want)); !(off <= bound) {
							t.Fatalf("token %d, element %d: %v is stored as %v, off by more than %v", token, i, want, got[i], bound)
						}
					}
				}
			})
		}
	}
}

func TestTheLargestElementIsExactInFourBits(t *testing.T) {
	l := Layout{Bits: 4, Dim: 64}
	x, got := make([]float32, 64), make([]float32, 64)
	x[5], x[40] = -2, 4
	x[6] = 0.5
	data := make([]byte, l.Bytes(1))
	l.Put(data, 1, 0, x)
	l.Get(got, data, 1, 0)
	for i := range x {
		if got[i] != x[i] {
			t.Errorf("element %d: %v is stored as %v", i, x[i], got[i])
		}
	}
}

func TestZerosAreStoredAsZeros(t *testing.T) {
	for _, bits := range []int{16, 8, 4} {
		l := Layout{Bits: bits, Dim: 80}
		got := make([]float32, 80)
		data := make([]byte, l.Bytes(1))
		l.Put(data, 1, 0, make([]float32, 80))
		l.Get(got, data, 1, 0)
		for i, v := range got {
			if v != 0 {
				t.Errorf("%d bits, element %d: %v", bits, i, v)
			}
		}
	}
}

func TestALayoutThatCannotBeStoredIsRefused(t *testing.T) {
	for _, l := range []Layout{{Bits: 3, Dim: 64}, {Bits: 8, Dim: 72}, {Bits: 8}} {
		if l.Check() == nil {
			t.Errorf("%+v is accepted", l)
		}
	}
}

func TestAGroupThatIsNotFiniteIsReadAsNaN(t *testing.T) {
	for _, bits := range []int{8, 4} {
		for _, special := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
			l := Layout{Bits: bits, Dim: 64}
			x, got := make([]float32, 64), make([]float32, 64)
			for i := range x {
				x[i] = float32(i) - 30
			}
			x[40] = special
			data := make([]byte, l.Bytes(1))
			l.Put(data, 1, 0, x)
			l.Get(got, data, 1, 0)
			for i, v := range got {
				if isNaN := v != v; isNaN != (i >= Group) {
					t.Fatalf("%d bits, %v beside element %d is stored as %v", bits, special, i, v)
				}
			}
		}
	}
}

// Rounding is held to the definition, which the GPU kernels are held to as well.
func TestElementsAreRoundedToTheNearestStep(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, bits := range []int{8, 4} {
		l := Layout{Bits: bits, Dim: 80}
		x, got := make([]float32, 80), make([]float32, 80)
		data := make([]byte, l.Bytes(1))
		for range 200 {
			for i := range x {
				x[i] = float32(random.NormFloat64())
			}
			l.Put(data, 1, 0, x)
			l.Get(got, data, 1, 0)
			for g := range l.Scales() {
				scale := halfAt(data, l.ScalesAt(1)+2*g)
				for i := g * Group; i < min((g+1)*Group, 80); i++ {
					low, high := -127.0, 127.0
					if bits == 4 {
						low, high = -8, 7
					}
					want := float32(max(low, min(high, math.RoundToEven(float64(x[i]/scale))))) * scale
					if got[i] != want {
						t.Fatalf("%d bits: %v is stored as %v, not %v", bits, x[i], got[i], want)
					}
				}
			}
		}
	}
}

func halfAt(data []byte, at int) float32 {
	var x [1]float32
	simd.FromF16(x[:], data[at:at+2])
	return x[0]
}

func BenchmarkPut(b *testing.B) {
	for _, bits := range []int{16, 8, 4} {
		b.Run(fmt.Sprintf("%d bits", bits), func(b *testing.B) {
			l := Layout{Bits: bits, Dim: 128}
			x, data := make([]float32, 128), make([]byte, l.Bytes(1))
			for i := range x {
				x[i] = float32(i%37) - 17
			}
			for b.Loop() {
				l.Put(data, 1, 0, x)
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/128, "ns/element")
		})
	}
}
