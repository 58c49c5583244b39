package simd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestScoresAndValuesEqualFloat64(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, heads := range []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 17} {
			for _, n := range []int{0, 1, 3, 4, 5, 15, 16, 33} {
				for _, dim := range []int{1, 8, 16, 24, 72, 80, 128} {
					stride := n + 3
					q := floats(t, r, heads*dim)
					k, keys := stored(floats(t, r, n*dim), "F16")
					s := floats(t, r, heads*stride)
					old := append([]float32(nil), s...)
					o := floats(t, r, heads*dim)
					oldO := append([]float32(nil), o...)
					Scores(s, stride, q, k, k, heads, n, dim)
					for i := range s {
						h, j := i/stride, i%stride
						if j >= n {
							near(t, "past the scores", s[i], float64(old[i]), 0, 0)
							continue
						}
						var want float64
						for d := range dim {
							want += float64(q[h*dim+d]) * float64(keys[j*dim+d])
						}
						near(t, "score", s[i], want, float64(dim), 1e-6)
					}
					Values(o, s, stride, k, k[:min(len(k), 64)], heads, n, dim)
					for i := range o {
						h, d := i/dim, i%dim
						want, size := float64(oldO[i]), 1.0
						for j := range n {
							want += float64(s[h*stride+j]) * float64(keys[j*dim+d])
							size += math.Abs(float64(s[h*stride+j]) * float64(keys[j*dim+d]))
						}
						near(t, "value", o[i], want, size, 2e-6)
					}
				}
			}
		}
	})
}

func TestScoresAndValuesPropagateNaNAndInf(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		const n, dim = 19, 48
		for heads := 1; heads <= 8; heads++ {
			for _, special := range []float32{nan, float32(math.Inf(1)), float32(math.Inf(-1))} {
				for _, at := range []int{0, 17, dim - 1, dim * (n - 1), dim*n - 1} {
					raw, q := make([]float32, n*dim), make([]float32, heads*dim)
					for i := range raw {
						raw[i] = 1
					}
					for i := range q {
						q[i] = 1
					}
					raw[at] = special
					k, _ := stored(raw, "F16")
					s, o := make([]float32, heads*n), make([]float32, heads*dim)
					Scores(s, n, q, k, nil, heads, n, dim)
					for i, got := range s {
						want := float64(dim)
						if i%n == at/dim {
							want = float64(special)
						}
						near(t, "score", got, want, 0, 0)
					}
					for i := range s {
						s[i] = 1
					}
					Values(o, s, n, k, nil, heads, n, dim)
					for i, got := range o {
						want := float64(n)
						if i%dim == at%dim {
							want = float64(special)
						}
						near(t, "value", got, want, 0, 0)
					}
				}
			}
		}
	})
}

// A key's score must not depend on which keys it is computed with, or results would depend on how
// a sequence is cut into blocks.
func TestScoreDoesNotDependOnTheKeysBesideIt(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(4, 5))
		const n, dim = 39, 64
		for _, heads := range []int{1, 2, 4, 8} {
			q := floats(t, r, heads*dim)
			k, _ := stored(floats(t, r, n*dim), "F16")
			all, one := make([]float32, heads*n), make([]float32, heads)
			Scores(all, n, q, k, k, heads, n, dim)
			for j := range n {
				Scores(one, 1, q, k[2*j*dim:2*(j+1)*dim], nil, heads, 1, dim)
				for h := range heads {
					if one[h] != all[h*n+j] {
						t.Fatalf("head %d of %d, key %d: %v alone, %v among others", h, heads, j, one[h], all[h*n+j])
					}
				}
			}
		}
	})
}

func TestTilesEqualFloat64(t *testing.T) {
	type kernels struct {
		lanes   int
		scores  func(s, k, q []float32, n, dim int)
		softmax func(s, m, l, f []float32, n int)
		values  func(o, v, p, f []float32, n, dim int)
	}
	inf := math.Inf(-1)
	for name, f := range map[string]kernels{
		"chosen":    {TileLanes, TileScores, TileSoftmax, TileValues},
		"twin":      {TileLanes, tileScoresGo, tileSoftmaxGo, tileValuesGo},
		"wide":      {TileLanesWide, TileScoresWide, TileSoftmaxWide, TileValuesWide},
		"wide twin": {TileLanesWide, tileScoresWideGo, tileSoftmaxWideGo, tileValuesWideGo},
	} {
		r, lanes := rand.New(rand.NewPCG(5, 6)), f.lanes
		for _, n := range []int{0, 4, 8, 40} {
			if lanes == TileLanesWide && n%8 != 0 {
				continue
			}
			for _, dim := range []int{8, 16, 40, 64, 128} {
				k, v, q := floats(t, r, n*dim), floats(t, r, n*dim), floats(t, r, dim*lanes)
				s, o := floats(t, r, n*lanes), floats(t, r, dim*lanes)
				m, l, c := floats(t, r, lanes), floats(t, r, lanes), floats(t, r, lanes)
				f.scores(s, k, q, n, dim)
				for i := range s {
					var want float64
					for d := range dim {
						want += float64(k[i/lanes*dim+d]) * float64(q[d*lanes+i%lanes])
					}
					near(t, name+" score", s[i], want, float64(dim), 1e-6)
				}
				// One lane sees nothing yet, one sees only these keys, one sees none of these.
				for j := range n {
					s[j*lanes+3], s[j*lanes+5] = float32(inf), float32(inf)
				}
				m[3], m[4] = float32(inf), float32(inf)
				l[3], l[4] = 0, 0
				used := n
				if n > 0 {
					used-- // any number of keys, not only multiples of four
				}
				oldS, oldM, oldL := append([]float32(nil), s...), append([]float32(nil), m...), append([]float32(nil), l...)
				f.softmax(s, m, l, c, used)
				for lane := range lanes {
					next := float64(oldM[lane])
					for j := range used {
						next = max(next, float64(oldS[j*lanes+lane]))
					}
					near(t, name+" maximum", m[lane], next, 0, 0)
					base, factor := next, math.Exp(float64(oldM[lane])-next)
					if math.IsInf(next, -1) {
						base, factor = 0, 0
					}
					near(t, name+" factor", c[lane], factor, 1, 3e-7)
					sum := float64(oldL[lane]) * factor
					for j := range used {
						want := math.Exp(float64(oldS[j*lanes+lane]) - base)
						near(t, name+" weight", s[j*lanes+lane], want, 1, 5e-7)
						sum += want
					}
					near(t, name+" sum", l[lane], sum, 1+math.Abs(sum), 1e-6)
				}
				oldO := append([]float32(nil), o...)
				f.values(o, v, s, c, used, dim)
				for i := range o {
					want, size := float64(oldO[i])*float64(c[i%lanes]), 1.0
					for j := range used {
						x := float64(v[j*dim+i/lanes]) * float64(s[j*lanes+i%lanes])
						want += x
						size += math.Abs(x)
					}
					near(t, name+" value", o[i], want, size, 2e-6)
				}
			}
		}
	}
}

func TestWideTilesHaveTheSameBits(t *testing.T) {
	if !TileWide() {
		t.Skip("there are none")
	}
	const n, dim = 16, 24
	r := rand.New(rand.NewPCG(7, 6))
	k, v, q, o := floats(t, r, n*dim), floats(t, r, n*dim), floats(t, r, dim*TileLanesWide), floats(t, r, dim*TileLanesWide)
	m, l, f := floats(t, r, TileLanesWide), floats(t, r, TileLanesWide), floats(t, r, TileLanesWide)
	// half is the lanes of one half of rows of them.
	half := func(wide []float32, which int) []float32 {
		var out []float32
		for at := which * TileLanes; at < len(wide); at += TileLanesWide {
			out = append(out, wide[at:at+TileLanes]...)
		}
		return out
	}
	var narrow [2]struct{ s, m, l, o []float32 }
	for i := range narrow {
		h := &narrow[i]
		h.s, h.m, h.l, h.o = make([]float32, n*TileLanes), half(m, i), half(l, i), half(o, i)
		factors := half(f, i)
		TileScores(h.s, k, half(q, i), n, dim)
		TileSoftmax(h.s, h.m, h.l, factors, n)
		TileValues(h.o, v, h.s, factors, n, dim)
	}
	s := make([]float32, n*TileLanesWide)
	TileScoresWide(s, k, q, n, dim)
	TileSoftmaxWide(s, m, l, f, n)
	TileValuesWide(o, v, s, f, n, dim)
	for i, h := range narrow {
		if !slices.Equal(half(s, i), h.s) || !slices.Equal(half(m, i), h.m) || !slices.Equal(half(l, i), h.l) || !slices.Equal(half(o, i), h.o) {
			t.Errorf("half %d differs", i)
		}
	}
}

func BenchmarkTileWide(b *testing.B) {
	const n, dim = 64, 64
	k, q := make([]float32, n*dim), make([]float32, dim*TileLanesWide)
	s, o := make([]float32, n*TileLanesWide), make([]float32, dim*TileLanesWide)
	m, l, f := make([]float32, TileLanesWide), make([]float32, TileLanesWide), make([]float32, TileLanesWide)
	for b.Loop() {
		TileScoresWide(s, k, q, n, dim)
		TileSoftmaxWide(s, m, l, f, n)
		TileValuesWide(o, k, s, f, n, dim)
	}
	b.ReportMetric(float64(b.N)*4*n*dim*TileLanesWide/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func BenchmarkTile(b *testing.B) {
	const n, dim = 64, 128
	k, q := make([]float32, n*dim), make([]float32, dim*TileLanes)
	s, o := make([]float32, n*TileLanes), make([]float32, dim*TileLanes)
	m, l, f := make([]float32, TileLanes), make([]float32, TileLanes), make([]float32, TileLanes)
	rate := func(b *testing.B, flops float64) {
		b.ReportMetric(float64(b.N)*flops/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	}
	b.Run("scores", func(b *testing.B) {
		for b.Loop() {
			TileScores(s, k, q, n, dim)
		}
		rate(b, 2*n*dim*TileLanes)
	})
	b.Run("softmax", func(b *testing.B) {
		for b.Loop() {
			TileSoftmax(s, m, l, f, n)
		}
		rate(b, n*TileLanes)
	})
	b.Run("values", func(b *testing.B) {
		for b.Loop() {
			TileValues(o, k, s, f, n, dim)
		}
		rate(b, 2*n*dim*TileLanes)
	})
}

func BenchmarkDecode(b *testing.B) {
	const n, dim = 128, 128
	for _, heads := range []int{1, 2, 4} {
		q, k := make([]float32, heads*dim), make([]byte, 2*n*dim)
		s, o := make([]float32, heads*n), make([]float32, heads*dim)
		name := string(rune('0' + heads))
		b.Run("scores"+name, func(b *testing.B) {
			b.SetBytes(2 * n * dim)
			for b.Loop() {
				Scores(s, n, q, k, k, heads, n, dim)
			}
		})
		b.Run("values"+name, func(b *testing.B) {
			b.SetBytes(2 * n * dim)
			for b.Loop() {
				Values(o, s, n, k, k, heads, n, dim)
			}
		})
	}
}
