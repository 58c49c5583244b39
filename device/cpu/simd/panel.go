package simd

import "math/bits"

// Products of several tokens with f32, f16 and bf16, with AVX-512, take some columns, a panel, of some rows, a block, at a time: the activations of a panel stay in the
// first cache while the block's weights come by. The next block comes into the second cache meanwhile. Sums wait from panel to panel as vectors, so that they are added
// up in the same order whatever the panels.
const (
	panelTokens      = 8         // that a routine takes, at most
	panelActivations = 8192      // of the tokens together: 32 KiB
	blockBytes       = 256 << 10 // of weights, of which the second cache has two
	blockRows        = 32
)

// panelSums is room for the sums of a block: a vector for each row and token.
type panelSums [blockRows * panelTokens * 16]float32

// panelColumns is how many columns of dim a panel for so many tokens has: for 3 as many as for 4, and for 5 and more as for 8.
func panelColumns(tokens, dim int) int { return min(dim, panelActivations>>bits.Len(uint(tokens-1))) }

// inOnePanel reports whether so many tokens' products are taken whole rows at a time.
func inOnePanel(tokens, cols int) bool {
	return tokens <= panelTokens && panelColumns(tokens, cols) == cols
}

// blockOf is how many of some rows make a block: about as many in each.
func blockOf(rows, row int) int {
	most := min(blockRows, max(4, blockBytes/max(1, row)&^3))
	blocks := (rows + most - 1) / most
	return ((rows+blocks-1)/blocks + 3) &^ 3
}

// productWide is product for several tokens where there is AVX-512.
func productWide(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int, of *productOf) {
	if inOnePanel(tokens, cols) {
		productInPanels(dst, stride, x, w, tokens, rows, cols, rows, nil, of)
		return
	}
	var sums panelSums
	productInPanels(dst, stride, x, w, tokens, rows, cols, blockOf(rows, cols*of.bytes), &sums, of)
}

func productInPanels(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols, block int, sums *panelSums, of *productOf) {
	row := cols * of.bytes
	for r := 0; r < rows; r += block {
		n := min(block, rows-r)
		part, next := w[r*row:(r+n)*row], w[(r+n)*row:]
		if sums == nil { // the rows come one after the other
			next = w[r*row+ahead(n*row, row):]
		}
		for t := 0; t < tokens; {
			take := min(tokens-t, panelTokens)
			out, in := dst[t*stride+r:], x[t*cols:]
			if take == 1 {
				of.wide(1, out, stride, in, part, next, n, cols)
			} else {
				panel := panelColumns(take, cols)
				for from := 0; from < cols; from += panel {
					of.panel(take, out, stride, in, part, next[min(len(next), n*from*of.bytes):], n, from, min(from+panel, cols), cols, sums)
				}
			}
			next = part[:0] // it is on its way
			t += take
		}
	}
}

// panel is a panel's products of 2 to 8 vectors. It knows the routines, rather than the format having them: sums then need not be in memory that is allocated.
func (of *productOf) panel(vectors int, s []float32, stride int, q []float32, k, next []byte, n, from, to, dim int, sums *panelSums) {
	switch of {
	case &productF32:
		panelProductF32(vectors, s, stride, q, k, next, n, from, to, dim, sums)
	case &productF16:
		panelProductF16(vectors, s, stride, q, k, next, n, from, to, dim, sums)
	case &productBF16:
		panelProductBF16(vectors, s, stride, q, k, next, n, from, to, dim, sums)
	}
}
