//go:build unix

package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Panels that are not full, blocks whose rows are no multiple of four, and memory that ends with the data.
func TestTokensInPanelsHaveTheBitsThatTheyHaveAlone(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(50, 51))
		for i, c := range productTests {
			for _, tokens := range []int{2, 3, 4, 5, 6, 7, 8, 11, 24} {
				cols := panelColumns(min(tokens, panelTokens), math.MaxInt) + 16*(1+r.IntN(3)) // a panel and a bit
				for _, rows := range []int{1, 3, blockRows + 5, 2*blockRows + 1} {
					x, dst := singlesAtTheEnd(t, r, tokens*cols), singlesAtTheEnd(t, r, tokens*rows)
					x[r.IntN(len(x))] = nan
					x[r.IntN(len(x))] = float32(math.Inf(1))
					w := atTheEnd(t, []int{4, 2, 2}[i]*rows*cols)
					from, _ := stored(floats(t, r, rows*cols), c.name)
					copy(w, from)
					c.product(dst, rows, x, w, tokens, rows, cols)
					alone := make([]float32, rows)
					for token := range tokens {
						c.product(alone, rows, x[token*cols:], w, 1, rows, cols)
						for row, want := range alone {
							if got := dst[token*rows+row]; got != want && (got == got || want == want) {
								t.Fatalf("%s, %d tokens, %d columns, row %d of %d: token %d is %v, alone %v", c.name, tokens, cols, row, rows, token, got, want)
							}
						}
					}
				}
			}
		}
	})
}

func TestBlocksHaveAllRowsAndRoomForTheirSums(t *testing.T) {
	for rows := 1; rows < 300; rows++ {
		for _, row := range []int{1, 2048, 16384, 65536, blockBytes} {
			block := blockOf(rows, row)
			if block < 1 || block%4 != 0 || block > blockRows || block > 4 && block*row > blockBytes {
				t.Fatalf("%d rows of %d bytes in blocks of %d", rows, row, block)
			}
		}
	}
}

func TestPanelsAllocateNothing(t *testing.T) {
	const rows, cols = 2 * blockRows, panelActivations/panelTokens + 16
	x, dst, w := make([]float32, panelTokens*cols), make([]float32, panelTokens*rows), make([]byte, 4*rows*cols)
	for _, c := range productTests {
		for tokens := 2; tokens <= panelTokens; tokens++ {
			if n := testing.AllocsPerRun(10, func() { c.product(dst, rows, x, w, tokens, rows, cols) }); n > 0 {
				t.Errorf("%s, %d tokens: %v allocations", c.name, tokens, n)
			}
		}
	}
}
