//go:build !amd64 || noasm

package simd

func wordsOf([]int16, []float32, []float32, []float32) { panic(noWholeNumbers) }

func (g WholeGEMM) scales() int { panic(noWholeNumbers) }
func (g WholeGEMM) adds() bool  { panic(noWholeNumbers) }
func (g WholeGEMM) tiles() bool { panic(noWholeNumbers) }

func (g WholeGEMM) words([]int16, []float32, []float32, []byte) { panic(noWholeNumbers) }

func (g WholeGEMM) affineWords([]int16, []byte) { panic(noWholeNumbers) }

func (g WholeGEMM) multiply([]float32, int, []float32, []float32, int, bool) { panic(noWholeNumbers) }

func (g WholeGEMM) bytes([]int8, []float32, []float32, []byte) { panic(noWholeNumbers) }

func (g WholeGEMM) affineBytes([]int8, []byte) { panic(noWholeNumbers) }

func packLines([]float32, []float32, int, int) { panic(noWholeNumbers) }

func (g WholeGEMM) multiplyTiles([]float32, int, []float32, []float32, *[1024]float32, int, int, int, bool) {
	panic(noWholeNumbers)
}
