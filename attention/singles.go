package attention

import (
	"encoding/binary"
	"math"

	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// Blocks of singles are for comparing with other implementations: they are exact, not fast.

// scoresF32 is simd.Scores for keys stored as singles.
func scoresF32(s []float32, stride int, q []float32, k []byte, heads, n, dim int) {
	for j := range n {
		for h := range heads {
			s[h*stride+j] = simd.DotF32(q[h*dim:(h+1)*dim], k[4*j*dim:4*(j+1)*dim])
		}
	}
}

// valuesF32 is simd.Values for values stored as singles; scratch has room for one of them.
func valuesF32(o, p []float32, stride int, v []byte, scratch []float32, heads, n, dim int) {
	for j := range n {
		simd.FromF32(scratch, v[4*j*dim:4*(j+1)*dim])
		for h := range heads {
			weight := p[h*stride+j]
			for i, x := range scratch {
				o[h*dim+i] += weight * x
			}
		}
	}
}

// encode stores the elements of src in a format that is not quantized.
func (f Format) encode(dst []byte, src []float32) {
	if f == F32 {
		for i, x := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
		}
		return
	}
	simd.ToF16(dst, src)
}
