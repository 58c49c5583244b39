//go:build !amd64 || noasm

package simd

// set says that there is no routine that takes whole numbers.
func (w *Weights) set(int, []byte, []byte, int, int) []float32 { return nil }

func (w *Weights) add(int, []float32, []float32, int, []byte, []float32, []float32, []byte, int, int) bool {
	panic("simd: nothing makes weights for this")
}
