//go:build amd64 && !noasm

package simd

func packParts(dst, src []float32, stride, blocks int) { packPartsAVX512(dst, src, stride, blocks) }

func multiplyFloatTiles(c []float32, stride int, x, w []float32, blocks, xs, ws int, add bool) {
	floatTileGEMM(c, stride, x, w, blocks, xs, ws, add)
}
