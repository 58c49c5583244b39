//go:build amd64 && !noasm

package simd

// wholeKernel is how packs of whole numbers are multiplied.
type wholeKernel struct {
	scales       int  // of 32 weights
	adds         bool // weights add something to their product
	wide, narrow func(c []float32, stride int, x, w []float32, groups int, add bool)
	tiles        func(c []float32, stride int, x, w []float32, room *[1024]float32, groups, xs, ws int, add bool)
}

var (
	wholeScaled = wholeKernel{1, false, gemmWholeAVX512, gemmWholeAVX2, tileGEMM}
	wholeAdding = wholeKernel{1, true, gemmWholeSumsAVX512, gemmWholeSumsAVX2, tileGEMMSums}
	wholeHalves = wholeKernel{2, false, gemmWholeHalvesAVX512, gemmWholeHalvesAVX2, nil}
)

// wordsOf makes words of activations, their scales, and their sums times these.
func wordsOf(words []int16, scales, sums, x []float32) { wordsAVX2(words, scales, sums, x) }

func (g WholeGEMM) scales() int { return g.of.kernel.scales }
func (g WholeGEMM) adds() bool  { return g.of.kernel.adds }
func (g WholeGEMM) tiles() bool { return haveAMX && g.of.kernel.tiles != nil }

func (g WholeGEMM) words(dst []int16, scales, least []float32, src []byte) {
	src = src[:len(dst)/g.of.Elements*g.of.Bytes]
	g.of.words(dst, scales, least, src, halves())
}

func (g WholeGEMM) affineWords(dst []int16, src []byte) {
	g.of.affineWords(dst, src[:len(dst)/g.of.Elements*g.of.Bytes])
}

func (g WholeGEMM) bytes(dst []int8, scales, least []float32, src []byte) {
	src = src[:len(dst)/g.of.Elements*g.of.Bytes]
	g.of.inBytes(dst, scales, least, src, halves())
}

func (g WholeGEMM) affineBytes(dst []int8, src []byte) {
	g.of.affineInBytes(dst, src[:len(dst)/g.of.Elements*g.of.Bytes])
}

func packLines(dst, src []float32, stride, groups int) { packLinesAVX512(dst, src, stride, groups) }

func (g WholeGEMM) multiplyTiles(c []float32, stride int, x, w []float32, room *[1024]float32, groups, xs, ws int, add bool) {
	g.of.kernel.tiles(c, stride, x, w, room, groups, xs, ws, add)
}

func (g WholeGEMM) multiply(c []float32, stride int, x, w []float32, groups int, add bool) {
	if haveAVX512 {
		g.of.kernel.wide(c, stride, x, w, groups, add)
	} else {
		g.of.kernel.narrow(c, stride, x, w, groups, add)
	}
}
