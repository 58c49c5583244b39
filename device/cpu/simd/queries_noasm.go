//go:build !amd64 || noasm

package simd

// fix says that there is no routine that takes whole numbers.
func fix(dst []byte, _ int, _ []float32, _, _ int) ([]byte, bool) { return dst, false }

func scoresFixed(*Queries, int, []float32, int, []byte, []byte, []byte, int) {
	panic("simd: nothing makes queries for this")
}
