//go:build !amd64 || noasm

package simd

func tileScoresAVX512(s, k, q []float32, n, dim int)    { tileScoresWideGo(s, k, q, n, dim) }
func tileSoftmaxAVX512(s, m, l, f []float32, n int)     { tileSoftmaxWideGo(s, m, l, f, n) }
func tileValuesAVX512(o, v, p, f []float32, n, dim int) { tileValuesWideGo(o, v, p, f, n, dim) }
