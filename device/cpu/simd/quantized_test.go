package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// quantizedRows is n rows of random bits with random scales, and the elements that they stand for.
func quantizedRows(r *rand.Rand, bits, n, dim int) (rows []byte, scales, elements []float32) {
	rows, scales, elements = make([]byte, n*dim*bits/8), make([]float32, n*groups(dim)), make([]float32, n*dim)
	for i := range rows {
		rows[i] = byte(r.Uint32())
	}
	for i := range scales { // as stored ones are
		scales[i] = f16(inHalves([]float32{float32(r.NormFloat64()) / 64}), 0)
	}
	for j := range n {
		for i := range dim {
			elements[j*dim+i] = element(bits, rows[j*dim*bits/8:], i) * scales[j*groups(dim)+i/QuantizedGroup]
		}
	}
	return rows, scales, elements
}

// inHalves is scales as they are stored.
func inHalves(scales []float32) []byte {
	b := make([]byte, 2*len(scales))
	ToF16(b, scales)
	return b
}

func TestQuantizedScoresAndValuesEqualFloat64(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		for _, bits := range []int{8, 4} {
			for heads := 0; heads <= 9; heads++ {
				for _, n := range []int{0, 1, 2, 3, 4, 7, 8, 17, 33} {
					for _, dim := range []int{16, 32, 48, 64, 80, 96, 112, 128, 256} {
						what := fmt.Sprintf("%d bits, %d heads, %d rows of %d", bits, heads, n, dim)
						stride := n + 3
						rows, scales, elements := quantizedRows(r, bits, n, dim)
						q, s, o := floats(t, r, heads*dim), floats(t, r, heads*stride), floats(t, r, heads*dim)
						oldS, oldO := append([]float32(nil), s...), append([]float32(nil), o...)
						ScoresQuantized(bits, s, stride, q, rows, scales, rows, heads, n, dim)
						for i := range s {
							h, j := i/stride, i%stride
							if j >= n {
								near(t, what+": past the scores", s[i], float64(oldS[i]), 0, 0)
								continue
							}
							want, size := 0.0, 0.0
							for d := range dim {
								x := float64(q[h*dim+d]) * float64(elements[j*dim+d])
								want, size = want+x, size+math.Abs(x)
							}
							near(t, what+": score", s[i], want, size, 1e-6)
						}
						ValuesQuantized(bits, o, s, stride, rows, scales, rows[:min(len(rows), 64)], heads, n, dim)
						for i := range o {
							h, d := i/dim, i%dim
							want, size := float64(oldO[i]), 1.0
							for j := range n {
								x := float64(s[h*stride+j]) * float64(elements[j*dim+d])
								want, size = want+x, size+math.Abs(x)
							}
							near(t, what+": value", o[i], want, size, 2e-6)
						}
					}
				}
			}
		}
	})
}

func TestFromQuantizedIsExact(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(9, 10))
		for _, bits := range []int{8, 4} {
			for _, n := range []int{0, 1, 2, 5} {
				for _, dim := range []int{16, 32, 48, 64, 80, 128} {
					rows, scales, want := quantizedRows(r, bits, n, dim)
					got := make([]float32, n*dim)
					FromQuantized(bits, got, rows, scales, n, dim)
					for i := range got {
						if got[i] != want[i] {
							t.Fatalf("%d bits, row %d of %d, element %d: %v, not %v", bits, i/dim, dim, i%dim, got[i], want[i])
						}
					}
				}
			}
		}
	})
}

// As for halves: results must not depend on how a sequence is cut into blocks.
func TestQuantizedScoreDoesNotDependOnTheKeysBesideIt(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		const n, dim = 39, 80
		for _, bits := range []int{8, 4} {
			for _, heads := range []int{1, 2, 4, 7} {
				q := floats(t, r, heads*dim)
				rows, scales, _ := quantizedRows(r, bits, n, dim)
				all, one := make([]float32, heads*n), make([]float32, heads)
				ScoresQuantized(bits, all, n, q, rows, scales, nil, heads, n, dim)
				for j := range n {
					ScoresQuantized(bits, one, 1, q, rows[j*dim*bits/8:], scales[j*groups(dim):], nil, heads, 1, dim)
					for h := range heads {
						if one[h] != all[h*n+j] {
							t.Fatalf("%d bits, head %d of %d, key %d: %v alone, %v among others", bits, h, heads, j, one[h], all[h*n+j])
						}
					}
				}
			}
		}
	})
}

func TestAScaleThatIsNaNIsSeenInItsRow(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(13, 14))
		const n, dim, heads = 19, 64, 4
		for _, bits := range []int{8, 4} {
			q := floats(t, r, heads*dim)
			rows, scales, _ := quantizedRows(r, bits, n, dim)
			scales[2*11+1] = nan
			s := make([]float32, heads*n)
			ScoresQuantized(bits, s, n, q, rows, scales, nil, heads, n, dim)
			for i, v := range s {
				if isNaN := v != v; isNaN != (i%n == 11) {
					t.Fatalf("%d bits: score of key %d is %v", bits, i%n, v)
				}
			}
		}
	})
}
