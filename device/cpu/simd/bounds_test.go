//go:build unix

package simd

import (
	"math"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"unsafe"
)

// atTheEnd is n bytes before memory that must not be touched: mapped files end anywhere.
func atTheEnd(t *testing.T, n int) []byte {
	t.Helper()
	page := os.Getpagesize()
	size := (n + page - 1) / page * page
	all, err := syscall.Mmap(-1, 0, size+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(all) })
	if err := syscall.Mprotect(all[size:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return all[size-n : size : size]
}

// singlesAtTheEnd is n random numbers there.
func singlesAtTheEnd(t *testing.T, r *rand.Rand, n int) []float32 {
	t.Helper()
	if n == 0 {
		return nil
	}
	x := unsafe.Slice((*float32)(unsafe.Pointer(&atTheEnd(t, 4*n)[0])), n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// A read too far ends the test's process.
func TestRoutinesReadNothingBehindWhatTheyAreGiven(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(20, 20))
		for _, n := range []int{8, 16, 24, 33, 64} {
			for rows := 1; rows <= 9; rows++ {
				for _, tokens := range []int{1, 2, 3, 4, 8} {
					x, dst := singlesAtTheEnd(t, r, tokens*n), singlesAtTheEnd(t, r, tokens*rows)
					for i, c := range productTests {
						c.product(dst, rows, x, atTheEnd(t, []int{4, 2, 2}[i]*rows*n), tokens, rows, n)
					}
					w := atTheEnd(t, 2*rows*n)
					Scores(dst, rows, x, w, nil, tokens, rows, n)
					Values(x, dst, rows, w, nil, tokens, rows, n)
				}
			}
			x, half := singlesAtTheEnd(t, r, n), atTheEnd(t, 2*n)
			FromF16(x, half)
			FromBF16(x, half)
			ToF16(half, x)
			Scale(x, x, 2)
			ScaleAdd(x, x, 2, 3)
			SwiGLU(x, x, x)
			Sum(half)
		}
		for _, c := range blockTests {
			for rows := 1; rows <= 5; rows++ {
				for _, tokens := range []int{1, 2, 4, 8} {
					cols := c.layout.Elements
					w := atTheEnd(t, rows*c.layout.Bytes)
					c.product(singlesAtTheEnd(t, r, tokens*rows), rows, singlesAtTheEnd(t, r, tokens*cols), w, tokens, rows, cols)
					c.from(singlesAtTheEnd(t, r, rows*cols), w)
				}
			}
		}
		for _, c := range wholeTests {
			for rows := 1; rows <= 9; rows++ {
				for _, tokens := range []int{1, 2, 4, 8} {
					var a Activations
					if cols := 256; a.Set(c.layout, singlesAtTheEnd(t, r, tokens*cols), tokens, cols) {
						a.Product(singlesAtTheEnd(t, r, tokens*rows), rows, atTheEnd(t, rows*cols/c.layout.Elements*c.layout.Bytes), rows)
					}
				}
			}
		}
		for _, bits := range []int{4, 8} {
			for rows := 1; rows <= 9; rows++ {
				for _, tokens := range []int{1, 2, 4, 8} {
					var a Activations
					if cols := 256; a.SetAffine(bits, 64, singlesAtTheEnd(t, r, tokens*cols), tokens, cols) {
						numbers := (*AffineNumbers)(unsafe.Pointer(&atTheEnd(t, int(unsafe.Sizeof(AffineNumbers{})))[0]))
						a.ProductAffine(singlesAtTheEnd(t, r, tokens*rows), rows, atTheEnd(t, rows*cols*bits/8), numbers, rows)
					}
				}
			}
		}
		if HaveFloatTiles() {
			const n, rows = 64, FloatTileRows
			x, w := singlesAtTheEnd(t, r, rows*FloatTileX(n)), singlesAtTheEnd(t, r, rows*n/2)
			for _, m := range []int{rows - 1, rows} {
				PackFloatTiles(x, singlesAtTheEnd(t, r, m*n), n, m, n)
			}
			for first := 0; first < rows; first += GEMMCols {
				PackFloatTileW(w[first*n/2:], atTheEnd(t, 2*GEMMCols*n), n, GEMMCols, n)
			}
			MultiplyFloatTiles(singlesAtTheEnd(t, r, (rows-1)*(rows+1)+rows), rows+1, x, w, n, 1, 1, true)
		}
		for _, n := range []int{128, WholeStep} {
			product := func(g WholeGEMM) {
				rows, cols := g.Tile()
				numbers, x := singlesAtTheEnd(t, r, rows*WholeRow(n)), singlesAtTheEnd(t, r, rows*g.X(n))
				for i := range rows {
					WholeNumbers(numbers[i*WholeRow(n):(i+1)*WholeRow(n)], singlesAtTheEnd(t, r, n))
				}
				for _, m := range []int{rows - 1, rows} {
					g.PackX(x, numbers[(rows-m)*WholeRow(n):], WholeRow(n), m, n)
				}
				g.Multiply(singlesAtTheEnd(t, r, (rows-1)*(cols+1)+cols), cols+1, x, singlesAtTheEnd(t, r, cols*g.W(n)), n, 1, 1, true, new(TileRoom))
			}
			for _, c := range wholeTests {
				if g, ok := WholeGEMMFor(c.layout, n); ok {
					g.Weights(singlesAtTheEnd(t, r, g.W(n)), atTheEnd(t, n/c.layout.Elements*c.layout.Bytes), n)
					product(g)
				}
			}
			for _, bits := range []int{4, 8} {
				if g, ok := WholeGEMMForAffine(bits, 64, n); ok {
					g.AffineWeights(singlesAtTheEnd(t, r, g.W(n)), atTheEnd(t, n*bits/8), n, 64, singlesAtTheEnd(t, r, n/64), singlesAtTheEnd(t, r, n/64))
					product(g)
				}
			}
		}
		var queries Queries
		var weights Weights
		for _, bits := range []int{4, 8} {
			for _, rows := range []int{1, 2, 3, 4, 5, 16, 17, 128} {
				for _, dim := range []int{16, 32, 48, 128} {
					w, scales := atTheEnd(t, rows*dim*bits/8), singlesAtTheEnd(t, r, rows*groups(dim))
					FromQuantized(bits, singlesAtTheEnd(t, r, rows*dim), w, scales, rows, dim)
					for heads := 1; heads <= 4; heads++ {
						x, s := singlesAtTheEnd(t, r, heads*dim), singlesAtTheEnd(t, r, heads*rows)
						ScoresQuantized(bits, s, rows, x, w, scales, nil, heads, rows, dim)
						ValuesQuantized(bits, x, s, rows, w, scales, nil, heads, rows, dim)
						stored := atTheEnd(t, 2*rows*groups(dim))
						queries.Set(bits, x, 1, heads, dim)
						queries.Scores(0, s, rows, w, stored, nil, rows)
						for i, v := range s { // as a softmax leaves them
							s[i] = float32(math.Abs(float64(v)))
						}
						for _, sum := range []float32{0, math.MaxFloat32} { // 24 bits, 16
							sums := singlesAtTheEnd(t, r, heads)
							for h := range sums {
								sums[h] = sum
							}
							weights.Values(bits, x, s, rows, w, stored, sums, nil, heads, rows, dim)
						}
						if dim%32 != 0 || AffineRows(dim/32, false) == 0 {
							continue
						}
						ProductAffine(s, rows, x, w, bits, 32, new(AffineNumbers), heads, rows, dim)
					}
				}
			}
		}
		for _, k := range []int{1, 2, 3, 8} {
			a, b, c := singlesAtTheEnd(t, r, 6*k), singlesAtTheEnd(t, r, 16*k), singlesAtTheEnd(t, r, 5*17+16)
			GEMM(c, 17, a, b, k, true)
			PackRows(a, singlesAtTheEnd(t, r, 6*k), k, 6, k)
			PackF32(b, atTheEnd(t, 4*16*k), k, 16, k)
			PackF16(b, atTheEnd(t, 2*16*k), k, 16, k)
			PackBF16(b, atTheEnd(t, 2*16*k), k, 16, k)
			n, dim := 4*k, 8
			s, q, keys := singlesAtTheEnd(t, r, n*TileLanes), singlesAtTheEnd(t, r, dim*TileLanes), singlesAtTheEnd(t, r, n*dim)
			m, l, f := singlesAtTheEnd(t, r, TileLanes), singlesAtTheEnd(t, r, TileLanes), singlesAtTheEnd(t, r, TileLanes)
			TileScores(s, keys, q, n, dim)
			TileSoftmax(s, m, l, f, n)
			TileValues(q, keys, s, f, n, dim)
			Softmax(singlesAtTheEnd(t, r, 3*16*k), 16*k, m, l, f, nil, 3, 16*k)
		}
	})
}
