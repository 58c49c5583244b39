//go:build !amd64 || noasm

package simd

const noFloatTiles = "simd: there are no tiles here"

func packParts([]float32, []float32, int, int) { panic(noFloatTiles) }

func multiplyFloatTiles([]float32, int, []float32, []float32, int, int, int, bool) {
	panic(noFloatTiles)
}
