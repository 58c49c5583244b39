package simd

import (
	"math"
	"unsafe"
)

// HaveFloatTiles reports whether there is [MultiplyFloatTiles], for weights in bfloat16 and rows of a multiple of FloatTileCols.
func HaveFloatTiles() bool { return haveAMX }

const (
	// FloatTileRows is how many rows of activations, and of weights, MultiplyFloatTiles takes at once.
	FloatTileRows = 32
	// FloatTileCols is what columns are a multiple of.
	FloatTileCols = 32

	floatParts = 3 // numbers in bfloat16 that a float32 is the sum of
)

// FloatTileX is how many float32 a row of n activations takes in a pack.
func FloatTileX(n int) int { return floatParts * n / 2 }

// PackFloatTiles lays n columns of up to FloatTileRows rows of src out for [MultiplyFloatTiles]; those that are missing are zeros.
func PackFloatTiles(dst, src []float32, stride, rows, n int) {
	for first := 0; first < FloatTileRows; first += GEMMCols {
		to := dst[first*FloatTileX(n):][:GEMMCols*FloatTileX(n)]
		if rows-first >= GEMMCols {
			packParts(to, src[first*stride:][:(GEMMCols-1)*stride+n], stride, n/FloatTileCols)
			continue
		}
		clear(to)
		for r := first; r < rows; r++ {
			partsGo(to[(r-first)*GEMMCols:], src[r*stride:][:n])
		}
	}
}

// partsGo is the twin of packParts for one row.
func partsGo(dst, src []float32) {
	const part = GEMMCols * GEMMCols // float32 of sixteen rows of one
	for i, v := range src {
		block, at := dst[i/FloatTileCols*floatParts*part:], i%FloatTileCols
		for p := range floatParts {
			upper := math.Float32bits(v) & 0xffff0000
			if v != v {
				upper |= 1 << 22 // what says so may have been below
			}
			unsafe.Slice((*uint16)(unsafe.Pointer(&block[p*part])), FloatTileCols)[at] = uint16(upper >> 16)
			if v -= math.Float32frombits(upper); v != v { // not finite
				v = 0
			}
		}
	}
}

// PackFloatTileW lays n columns of up to 16 rows of weights in bfloat16 out for [MultiplyFloatTiles], two in the place of a float32. It is PackF32 of pairs.
func PackFloatTileW(dst []float32, src []byte, stride, rows, n int) {
	PackF32(dst, src, stride/2, rows, n/2)
}

// MultiplyFloatTiles is [GEMM] with n columns of so many times FloatTileRows rows of activations and of weights, in packs one behind the other. It adds up in another order.
// Where a weight is not finite the result is NaN, and numbers below 2^-126 count as 0.
func MultiplyFloatTiles(c []float32, stride int, x, w []float32, n, xs, ws int, add bool) {
	if xs == 0 || ws == 0 {
		return
	}
	multiplyFloatTiles(c[:(xs*FloatTileRows-1)*stride+ws*FloatTileRows], stride, x[:xs*FloatTileRows*FloatTileX(n)], w[:ws*FloatTileRows*n/2], n/FloatTileCols, xs, ws, add)
}
