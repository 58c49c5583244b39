package simd

import (
	"sync"
	"unsafe"

	"github.com/orrery-ai/orrery/device/quant"
)

// ProductQ8_0 is [ProductF32] with w as blocks of [quant.Q8_0]; cols is a multiple of a block's elements.
func ProductQ8_0(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int) {
	productBlocks(dst, stride, x, w, tokens, rows, cols, &blocksQ8_0)
}

// ProductQ4_0 is ProductQ8_0 with blocks of [quant.Q4_0].
func ProductQ4_0(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int) {
	productBlocks(dst, stride, x, w, tokens, rows, cols, &blocksQ4_0)
}

// ProductQ4_K is ProductQ8_0 with blocks of [quant.Q4_K].
func ProductQ4_K(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int) {
	productBlocks(dst, stride, x, w, tokens, rows, cols, &blocksQ4_K)
}

// ProductQ6_K is ProductQ8_0 with blocks of [quant.Q6_K].
func ProductQ6_K(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int) {
	productBlocks(dst, stride, x, w, tokens, rows, cols, &blocksQ6_K)
}

// FromQ8_0 is [quant.FromQ8_0].
func FromQ8_0(dst []float32, src []byte) {
	src = src[:len(dst)/quant.Q8_0.Elements*quant.Q8_0.Bytes]
	switch {
	case haveAVX512:
		fromQ8_0AVX512(dst, src, halves())
	case haveAVX2:
		fromQ8_0AVX2(dst, src, halves())
	case haveNEON:
		fromQ8_0NEON(dst, src)
	default:
		quant.FromQ8_0(dst, src)
	}
}

// FromQ4_0 is [quant.FromQ4_0].
func FromQ4_0(dst []float32, src []byte) {
	src = src[:len(dst)/quant.Q4_0.Elements*quant.Q4_0.Bytes]
	switch {
	case haveAVX512:
		fromQ4_0AVX512(dst, src, halves())
	case haveAVX2:
		fromQ4_0AVX2(dst, src, halves())
	case haveNEON:
		fromQ4_0NEON(dst, src)
	default:
		quant.FromQ4_0(dst, src)
	}
}

// FromQ4_K is [quant.FromQ4_K].
func FromQ4_K(dst []float32, src []byte) {
	src = src[:len(dst)/quant.Q4_K.Elements*quant.Q4_K.Bytes]
	switch {
	case haveAVX512:
		fromQ4_KAVX512(dst, src, halves())
	case haveAVX2:
		for ; len(dst) >= quant.Q4_K.Elements; dst, src = dst[quant.Q4_K.Elements:], src[quant.Q4_K.Bytes:] {
			numbers := quant.NumbersQ4_K(src)
			fromQ4_KAVX2(dst, src, &numbers)
		}
	case haveNEON:
		fromQ4_KNEON(dst, src)
	default:
		quant.FromQ4_K(dst, src)
	}
}

// FromQ6_K is [quant.FromQ6_K].
func FromQ6_K(dst []float32, src []byte) {
	src = src[:len(dst)/quant.Q6_K.Elements*quant.Q6_K.Bytes]
	switch {
	case haveAVX512:
		fromQ6_KAVX512(dst, src, halves())
	case haveAVX2:
		for ; len(dst) >= quant.Q6_K.Elements; dst, src = dst[quant.Q6_K.Elements:], src[quant.Q6_K.Bytes:] {
			numbers := quant.NumbersQ6_K(src)
			fromQ6_KAVX2(dst, src, &numbers)
		}
	case haveNEON:
		fromQ6_KNEON(dst, src)
	default:
		quant.FromQ6_K(dst, src)
	}
}

// FromAffine is [quant.FromAffine], for groups of a multiple of 32 elements.
func FromAffine(dst []float32, q []byte, bits, group int, scales, biases []float32) {
	q, scales, biases = q[:len(dst)*bits/8], scales[:len(dst)/group], biases[:len(dst)/group]
	switch {
	case haveAVX512 && bits == 4:
		fromAffine4AVX512(dst, q, scales, biases, group)
	case haveAVX512 && bits == 8:
		fromAffine8AVX512(dst, q, scales, biases, group)
	case haveAVX2 && bits == 4:
		fromAffine4AVX2(dst, q, scales, biases, group)
	case haveAVX2 && bits == 8:
		fromAffine8AVX2(dst, q, scales, biases, group)
	case haveNEON && bits == 4:
		fromAffine4NEON(dst, q, scales, biases, group)
	case haveNEON && bits == 8:
		fromAffine8NEON(dst, q, scales, biases, group)
	default:
		quant.FromAffine(dst, q, bits, group, scales, biases)
	}
}

// halves is every half as a float32: looking one up leaves the multipliers alone. NEON's routines do without.
var halves = sync.OnceValue(func() *[65536]float32 {
	if haveNEON {
		return nil
	}
	var table [65536]float32
	var b [2]byte
	for i := range table {
		b[0], b[1] = byte(i), byte(i>>8)
		table[i] = f16(b[:], 0)
	}
	return &table
})

// blocksOf is what the product with one format of blocks is made of.
type blocksOf struct {
	quant.Layout
	wide func(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32)

	// narrow is wide for AVX2, of up to four vectors; nil where [Activations] take all that there is of the format.
	narrow func(vectors int, s []float32, stride int, q []float32, k, next []byte, n, dim int, halves *[65536]float32)
}

var (
	blocksQ8_0 = blocksOf{quant.Q8_0, wideProductQ8_0, narrowProductQ8_0}
	blocksQ4_0 = blocksOf{quant.Q4_0, wideProductQ4_0, narrowProductQ4_0}
	blocksQ4_K = blocksOf{quant.Q4_K, wideProductQ4_K, nil}
	blocksQ6_K = blocksOf{quant.Q6_K, wideProductQ6_K, nil}
)

func productBlocks(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int, of *blocksOf) {
	if tokens == 0 || rows == 0 {
		return
	}
	row := cols / of.Elements * of.Bytes
	dst, x = dst[:(tokens-1)*stride+rows], x[:tokens*cols]
	product, most := of.wide, 8
	if haveAVX2 && !haveAVX512 {
		product, most = of.narrow, 4
	}
	if !haveAVX2 && !haveNEON || product == nil {
		productExpanded(dst, stride, x, w[:rows*row], tokens, rows, cols, of.Layout)
		return
	}
	step := rowsAtOnce(rows, row, tokens, together(tokens, most))
	for r := 0; r < rows; r += step {
		n := min(step, rows-r)
		part, next := w[r*row:(r+n)*row], w[min(len(w), r*row+ahead(n*row, row)):]
		for t := 0; t < tokens; {
			take := together(tokens-t, most)
			product(take, dst[t*stride+r:], stride, x[t*cols:], part, next, n, cols, halves())
			next = part[:0] // it is on its way
			t += take
		}
	}
}

// expandedAtOnce is how many elements of a row are expanded before they are used: a multiple of all blocks.
const expandedAtOnce = 1024

// productExpanded expands a part of a row at a time.
func productExpanded(dst []float32, stride int, x []float32, w []byte, tokens, rows, cols int, of quant.Layout) {
	var scratch [expandedAtOnce]float32
	for r := range rows {
		for t := range tokens {
			dst[t*stride+r] = 0
		}
		for c := 0; c < cols; c += expandedAtOnce {
			part := scratch[:min(expandedAtOnce, cols-c)]
			expand(part, w[(r*cols+c)/of.Elements*of.Bytes:], of)
			for t := range tokens {
				dst[t*stride+r] += DotF32(x[t*cols+c:][:len(part)], bytesOf(part))
			}
		}
	}
}

// expand calls what expands a layout by its name, not through a variable, so that the scratch of who calls stays on its stack.
func expand(dst []float32, src []byte, l quant.Layout) {
	switch l {
	case quant.Q8_0:
		FromQ8_0(dst, src)
	case quant.Q4_0:
		FromQ4_0(dst, src)
	case quant.Q4_K:
		FromQ4_K(dst, src)
	case quant.Q6_K:
		FromQ6_K(dst, src)
	}
}

// bytesOf is the memory of x.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
