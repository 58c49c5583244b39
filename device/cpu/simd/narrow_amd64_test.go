//go:build amd64 && !noasm

package simd

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// A score is a sum of whole numbers, whichever instructions add them up.
func TestScoresOfQueriesHaveTheSameBitsWithAnyInstructions(t *testing.T) {
	first := map[string][]float32{}
	eachLevel(t, func(t *testing.T) {
		for _, bits := range []int{8, 4} {
			for _, heads := range []int{1, 2, 4, 7} {
				for _, dim := range []int{32, 64, 96, 128, 256} {
					const n = 37
					what := fmt.Sprintf("%d bits, %d heads, rows of %d", bits, heads, dim)
					r := rand.New(rand.NewPCG(31, uint64(dim)))
					rows, scales, _ := quantizedRows(r, bits, n, dim)
					s := make([]float32, heads*n)
					var queries Queries
					queries.Set(bits, floats(t, r, heads*dim), 1, heads, dim)
					if !queries.isFixed[0] {
						continue
					}
					queries.Scores(0, s, n, rows, inHalves(scales), nil, n)
					if first[what] == nil {
						first[what] = s
					}
					for i, want := range first[what] {
						if math.Float32bits(s[i]) != math.Float32bits(want) {
							t.Fatalf("%s: score %d is %v, with other instructions %v", what, i, s[i], want)
						}
					}
				}
			}
		}
	})
}

// Sums of bytes must fit into words where those hold them.
func TestScoresOfTheLargestQueriesDoNotOverflow(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		const n, heads, dim = 16, 4, 64
		for _, bits := range []int{8, 4} {
			for _, of := range []byte{0x80, 0x7f, 0x00, 0xff} { // keys of 8 bits, and two of 4
				for _, number := range []int{fixedMost, 0x7e7f7f, 0x7e7f80} { // most of whose bytes are the largest or the smallest
					for _, sign := range []float32{1, -1} {
						rows, scales, q, s := make([]byte, n*dim*bits/8), make([]float32, n*groups(dim)), make([]float32, heads*dim), make([]float32, heads*n)
						for i := range rows {
							rows[i] = of
						}
						for i := range scales {
							scales[i] = 0.5
						}
						for i := range q {
							q[i] = sign * float32(number)
						}
						for h := range heads {
							q[h*dim+32] = fixedMost // what numbers are measured by
						}
						var queries Queries
						queries.Set(bits, q, 1, heads, dim)
						queries.Scores(0, s, n, rows, inHalves(scales), nil, n)
						for i, v := range s {
							want, size := 0.0, 0.0
							for d := range dim {
								x := float64(q[i/n*dim+d]) * float64(element(bits, rows, d)) / 2
								want, size = want+x, size+math.Abs(x)
							}
							near(t, fmt.Sprintf("%d bits, all %#x, queries of %#x times %v: score %d", bits, of, number, sign, i), v, want, size, 1e-6)
						}
					}
				}
			}
		}
	})
}

func TestQueriesInBytesEqualTheirLoop(t *testing.T) {
	r := rand.New(rand.NewPCG(33, 34))
	for _, c := range []struct {
		name string
		have bool
		fix  func(planes, starts []byte, q []float32, factor float32, step int, order *[16]byte, zero uint32)
	}{{"AVX2", haveAVX2, fixAVX2}, {"AVX-512", haveVNNI, fixAVX512}} {
		if !c.have {
			continue
		}
		for _, order := range []*[16]byte{&order8, &order4} {
			for _, zero := range []uint32{0x80808080, 0x08080808} {
				for _, n := range []int{32, 96, 256} {
					const step, starts = 120, 100
					q, got := make([]float32, n), make([]byte, n/32*step)
					for i := range q {
						q[i] = float32(2*r.Float64()-1) * fixedMost / 3
					}
					q[0], q[n-1] = fixedMost/3, -fixedMost/3
					c.fix(got, got[starts:], q, 3, step, order, zero)
					for g := range n / 32 {
						sums := [2]int32{}
						for i := range 32 {
							place := g*step + i/16*16
							for j, from := range order {
								if int(from) == i%16 {
									place += j
								}
							}
							high, mid, low := int32(int8(got[place])), int32(int8(got[place+32])), int32(int8(got[place+64]))
							if want := int32(math.RoundToEven(float64(q[32*g+i] * 3))); (high*256+mid)*256+low != want {
								t.Fatalf("%s, element %d of %d: bytes %d, %d, %d are not %d", c.name, 32*g+i, n, high, mid, low, want)
							}
							sums[0] -= int32(zero&0xff) * (high*256 + mid)
							sums[1] -= int32(zero&0xff) * low
						}
						for i, want := range sums {
							if v := int32(binary.LittleEndian.Uint32(got[g*step+starts+4*i:])); v != want {
								t.Fatalf("%s, group %d of %d: sum %d starts with %d, not %d", c.name, g, n/32, i, v, want)
							}
						}
					}
				}
			}
		}
	}
}

func TestScalesAreDealtOutByGroup(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		if !haveAVX2 {
			t.Skip("nothing takes scales so")
		}
		r := rand.New(rand.NewPCG(35, 36))
		var s scaling
		for all := 1; all <= fixedDim/QuantizedGroup; all++ {
			for _, n := range []int{1, 7, 8, 16, 17, 100, dealtKeys} {
				scales := floats(t, r, n*all)
				halves := inHalves(scales)
				FromF16(scales, halves)
				dealt := s.dealAll(halves, all, n)
				for i, v := range dealt[:all*dealtKeys] {
					g, j, want := i/dealtKeys, i%dealtKeys, float32(0)
					if j < n {
						want = scales[j*all+g]
					}
					if v != want {
						t.Fatalf("%d groups, %d rows: scale %d of group %d is %v, not %v", all, n, j, g, v, want)
					}
				}
			}
		}
	})
}

// Lanes add up in the same order, whatever the size of vectors.
func TestSoftmaxHasTheSameBitsWithAnyAssembly(t *testing.T) {
	first := map[string][]float32{}
	eachLevel(t, func(t *testing.T) {
		if !haveAVX2 {
			t.Skip("loops add up in another order")
		}
		r := rand.New(rand.NewPCG(37, 38))
		for _, heads := range []int{1, 3, 4, 7} {
			for _, n := range []int{1, 8, 15, 16, 17, 100, dealtKeys} {
				what, stride := fmt.Sprintf("%d heads, %d scores", heads, n), (n+15)&^15
				s, m, l, f := floats(t, r, heads*stride), floats(t, r, heads), floats(t, r, heads), make([]float32, heads)
				m[0] = float32(math.Inf(-1))
				Softmax(s, stride, m, l, f, nil, heads, n)
				var all []float32
				for h := range heads {
					all = append(append(all, s[h*stride:h*stride+n]...), m[h], l[h], f[h])
				}
				if first[what] == nil {
					first[what] = all
				}
				for i, want := range first[what] {
					if math.Float32bits(all[i]) != math.Float32bits(want) {
						t.Fatalf("%s: number %d of head %d is %v, with other instructions %v", what, i%(n+3), i/(n+3), all[i], want)
					}
				}
			}
		}
	})
}
