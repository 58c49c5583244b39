package simd

// ProductF32 is
//
//	for t := range tokens {
//		for r := range rows {
//			dst[t*stride+r] = 0
//			for i := range cols {
//				dst[t*stride+r] += x[t*cols+i] * w[r*cols+i] // w as f32
//			}
//		}
//	}
//
// A token's result does not depend on the others. What lies in w behind the rows is brought into the cache
// meanwhile, as many bytes as the rows have at most.
func ProductF32(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int) {
	product(dst, stride, x, w, tokens, rows, cols, &productF32)
}

// ProductF16 is ProductF32 with w as f16.
func ProductF16(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int) {
	product(dst, stride, x, w, tokens, rows, cols, &productF16)
}

// ProductBF16 is ProductF32 with w as bf16.
func ProductBF16(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int) {
	product(dst, stride, x, w, tokens, rows, cols, &productBF16)
}

// ProductTokens is up to how many tokens these products are faster than [GEMM], whose weights must be packed: with AVX-512 that takes as long as multiplying them by
// 10 to 30 tokens.
func ProductTokens() int {
	if haveAVX512 {
		return 32
	}
	return 8
}

// productBytes is how many of the weights tokens that several routines take, one after the other, use before going on: few enough
// for the first cache.
const productBytes = 16 << 10

// rowsAtOnce is how many of some rows the tokens use before going on, where a routine takes so many of the tokens.
func rowsAtOnce(rows, row, tokens, take int) int {
	if take == tokens {
		return rows
	}
	return max(4, productBytes/max(1, row)&^3)
}

// together is how many of some tokens a routine takes, where there is one for each power of two up to most.
func together(tokens, most int) int {
	take := 1
	for take < most && 2*take <= tokens {
		take *= 2
	}
	return take
}

// aheadBytes is how far ahead of the weights in use further ones are asked for, at least: memory takes a while, and rows of four bits are short.
const aheadBytes = 8 << 10

// ahead is that in so many bytes of rows that a product takes four at a time: where those begin that are asked for at first.
func ahead(bytes, row int) int {
	rows := (aheadBytes/max(1, row) + 4) &^ 3
	return min(bytes, rows*row)
}

// directAhead is ahead where routines that are direct take 2 rows of the elements given at a time, or 4 if they are longer than 4096: as close behind the last of
// these as suffices, since the first cache must hold what is asked for until it is used.
func directAhead(bytes, row, cols int) int {
	others := 1
	if cols > 4096 {
		others = 3
	}
	return min(bytes, max(aheadBytes, others*row+aheadBytes/2))
}

// productOf is what the product with one format is made of.
type productOf struct {
	bytes int                                                                                 // of an element
	wide  func(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim int) // with AVX-512 of one vector: for more see panel
	one   func(dst, x []float32, w []byte)
	pair  func(dst, dst2, x, x2 []float32, w []byte)
}

var (
	productF32  = productOf{4, wideProductF32, dotsF32, dotsPairF32}
	productF16  = productOf{2, wideProductF16, dotsF16, dotsPairF16}
	productBF16 = productOf{2, wideProductBF16, dotsBF16, dotsPairBF16}
)

func product(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int, of *productOf) {
	if tokens == 0 || rows == 0 {
		return
	}
	row := cols * of.bytes
	dst, x = dst[:(tokens-1)*stride+rows], x[:tokens*cols]
	wide := cols > 0 && (haveAVX512 && cols%16 == 0 || haveNEON && cols%8 == 0)
	if wide && haveAVX512 && tokens > 1 {
		productWide(dst, stride, x, w, tokens, rows, cols, of)
		return
	}
	most := 2
	if wide {
		most = 8
	}
	step := rowsAtOnce(rows, row, tokens, together(tokens, most))
	for r := 0; r < rows; r += step {
		n := min(step, rows-r)
		part := w[r*row : (r+n)*row]
		next := w[(r+n)*row:]
		switch { // they take a few rows at a time, and the next of them come first
		case wide && direct && tokens == 1:
			next = w[min(len(w), r*row+directAhead(n*row, row, cols)):]
		case wide:
			next = w[min(len(w), r*row+ahead(n*row, row)):]
		}
		for t := 0; t < tokens; {
			out, in := dst[t*stride+r:], x[t*cols:]
			left := tokens - t
			switch {
			case wide:
				take := together(left, most)
				of.wide(take, out, stride, in, part, next, n, cols)
				next = part[:0] // it is on its way
				t += take
			case left >= 2:
				of.pair(out[:n], out[stride:stride+n], in[:cols], in[cols:2*cols], part)
				t += 2
			default:
				of.one(out[:n], in[:cols], part)
				t++
			}
		}
	}
}
