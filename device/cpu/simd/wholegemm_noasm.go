//go:build !amd64 || noasm

package simd

func wordsOf([]int16, []float32, []float32, []float32) { panic(noWholeNumbers) }

func (g WholeGEMM) scales() int { panic(noWholeNumbers) }
func (g WholeGEMM) adds() bool  { panic(noWholeNumbers) }

func (g WholeGEMM) words([]int16, []float32, []float32, []byte) { panic(noWholeNumbers) }

func (g WholeGEMM) affineWords([]int16, []byte) { panic(noWholeNumbers) }

func (g WholeGEMM) multiply([]float32, int, []float32, []float32, int, bool) { panic(noWholeNumbers) }
