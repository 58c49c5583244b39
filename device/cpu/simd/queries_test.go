package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestScoresOfQueriesEqualFloat64(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(17, 18))
		var queries Queries
		for _, bits := range []int{8, 4} {
			for _, heads := range []int{1, 2, 3, 4, 7, 8} {
				for _, n := range []int{0, 1, 15, 16, 17, 50} {
					for _, dim := range []int{16, 32, 80, 96, 128, 256, 288} {
						what := fmt.Sprintf("%d bits, %d heads, %d rows of %d", bits, heads, n, dim)
						stride := n + 3
						rows, scales, elements := quantizedRows(r, bits, n, dim)
						q, s := floats(t, r, heads*dim), floats(t, r, heads*stride)
						old := append([]float32(nil), s...)
						queries.Set(bits, q, 1, heads, dim)
						queries.Scores(0, s, stride, rows, inHalves(scales), rows, n)
						for i := range s {
							h, j := i/stride, i%stride
							if j >= n {
								near(t, what+": past the scores", s[i], float64(old[i]), 0, 0)
								continue
							}
							want, size := 0.0, 0.0
							for d := range dim {
								x := float64(q[h*dim+d]) * float64(elements[j*dim+d])
								want, size = want+x, size+math.Abs(x)
							}
							near(t, fmt.Sprint(what, " score ", i), s[i], want, size, 1e-6)
						}
					}
				}
			}
		}
	})
}

// As for halves: results must not depend on how a sequence is cut into blocks.
func TestScoreOfAQueryDoesNotDependOnTheKeysBesideIt(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(19, 20))
		const n, dim = 39, 96
		for _, bits := range []int{8, 4} {
			for _, heads := range []int{1, 2, 4, 7} {
				var queries Queries
				q := floats(t, r, heads*dim)
				queries.Set(bits, q, 1, heads, dim)
				rows, scales, _ := quantizedRows(r, bits, n, dim)
				all, one := make([]float32, heads*n), make([]float32, heads)
				queries.Scores(0, all, n, rows, inHalves(scales), nil, n)
				for j := range n {
					queries.Scores(0, one, 1, rows[j*dim*bits/8:], inHalves(scales)[2*j*groups(dim):], nil, 1)
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

func TestQueriesOfAnySizeAndWhatIsNotFinite(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 22))
		const n, dim = 19, 64
		for _, bits := range []int{8, 4} {
			rows, scales, elements := quantizedRows(r, bits, n, dim)
			for _, size := range []float32{0, 0x1p-149, 0x1p-127, 0x1p-101, 0x1p-99, 1e-20, 1, 1e20, 1e35} {
				q, s := make([]float32, 2*dim), make([]float32, 2*n)
				for i := range q {
					q[i] = size * (1 - float32(r.IntN(5))/2)
				}
				var queries Queries
				queries.Set(bits, q, 1, 2, dim)
				queries.Scores(0, s, n, rows, inHalves(scales), nil, n)
				for i, got := range s {
					want, sum := 0.0, 0.0
					for d := range dim {
						x := float64(q[i/n*dim+d]) * float64(elements[i%n*dim+d])
						want, sum = want+x, sum+math.Abs(x)
					}
					near(t, fmt.Sprintf("%d bits, queries of %v", bits, size), got, want, sum+1e-38, 2e-6)
				}
			}
			for _, special := range []float32{nan, float32(math.Inf(1)), float32(math.Inf(-1))} {
				q, s, plain := floats(t, r, 2*dim), make([]float32, 2*n), make([]float32, 2*n)
				q[dim+3] = special
				var queries Queries
				queries.Set(bits, q, 1, 2, dim)
				queries.Scores(0, s, n, rows, inHalves(scales), nil, n)
				ScoresQuantized(bits, plain, n, q, rows, scales, nil, 2, n, dim)
				for i := range s {
					if math.Float32bits(s[i]) != math.Float32bits(plain[i]) && s[i] == s[i] {
						t.Fatalf("%d bits, a query with %v: score %d is %v, not %v", bits, special, i, s[i], plain[i])
					}
				}
			}
			var queries Queries
			q, s := floats(t, r, 4*dim), make([]float32, 4*n)
			scales[2*11+1] = nan
			queries.Set(bits, q, 1, 4, dim)
			queries.Scores(0, s, n, rows, inHalves(scales), nil, n)
			for i, v := range s {
				if isNaN := v != v; isNaN != (i%n == 11) {
					t.Fatalf("%d bits: score of key %d is %v, where the scale of 11 is NaN", bits, i%n, v)
				}
			}
		}
	})
}

func TestScoresOfAQueryDoNotDependOnTheOthersBesideIt(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(25, 26))
		const n, heads, dim, count = 21, 3, 64, 4
		for _, bits := range []int{8, 4} {
			rows, scales, _ := quantizedRows(r, bits, n, dim)
			x := floats(t, r, count*heads*dim)
			x[heads*dim+5] = float32(math.Inf(1)) // the second is not finite
			var all, alone Queries
			all.Set(bits, x, count, heads, dim)
			for i := range count {
				got, want := make([]float32, heads*n), make([]float32, heads*n)
				all.Scores(i, got, n, rows, inHalves(scales), nil, n)
				alone.Set(bits, x[i*heads*dim:], 1, heads, dim)
				alone.Scores(0, want, n, rows, inHalves(scales), nil, n)
				for j := range want {
					if math.Float32bits(got[j]) != math.Float32bits(want[j]) && want[j] == want[j] {
						t.Fatalf("%d bits, query %d, score %d: %v among others, %v alone", bits, i, j, got[j], want[j])
					}
				}
			}
		}
	})
}
