package main

import (
	"fmt"
	"strings"
)

// wideProducts are the products of 1, 2, 4 or 8 rows of activations with stored weights, for AVX-512. They
// accumulate in the same order, so that a token's result does not depend on what it is batched with.
var wideProducts = func() []routine {
	var rs []routine
	for _, f := range formats {
		for _, vectors := range []int{1, 2, 4, 8} {
			rs = append(rs, routine{fmt.Sprintf("product%d_%s_avx512", vectors, strings.ToLower(f.name)), func(a *asm) { wideProduct(a, f, vectors) }})
		}
	}
	return rs
}()

func wideProduct(a *asm, f format, vectors int) {
	a.wide = true
	name := fmt.Sprintf("product%d%sAVX512", vectors, f.name)
	a.begin(name, "func(s []float32, stride int, q []float32, k, next []byte, n, dim int)",
		name+" is", "",
		fmt.Sprintf("\tfor h := range %d {\n\t\tfor j := range n {\n\t\t\tfor i := range dim {\n\t\t\t\ts[h*stride+j] += q[h*dim+i] * k[j*dim+i] // from 0\n\t\t\t}\n\t\t}\n\t}", vectors),
		"", fmt.Sprintf("for dim a multiple of 16. It prefetches next, at most %d*n*dim bytes of it.", f.bytes))
	a.products(f, vectors, min(4, 16/vectors), false)
}
