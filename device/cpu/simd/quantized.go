package simd

import "encoding/binary"

// Rows of 8 or 4 bits are as package plane has them: [n][dim·bits/8]. Elements share a scale in groups of QuantizedGroup; here scales
// are float32, [n][⌈dim/32⌉]. dim is a multiple of 16.

// QuantizedGroup is the number of elements that share a scale.
const QuantizedGroup = 32

// ScoresQuantized is
//
//	for h := range heads {
//		for j := range n {
//			sum := float32(0)
//			for i := range dim {
//				sum += q[h*dim+i] * k[j*dim+i] // k as element times scale
//			}
//			s[h*stride+j] = sum
//		}
//	}
//
// Up to four heads share each load of k. next, which will be read soon, is brought into the cache meanwhile, as many bytes of it
// as k has at most; it may be empty.
func ScoresQuantized(bits int, s []float32, stride int, q []float32, k []byte, scales []float32, next []byte, heads, n, dim int) {
	if heads == 0 || n == 0 {
		return
	}
	s, q, k, scales = s[:(heads-1)*stride+n], q[:heads*dim], k[:n*dim*bits/8], scales[:n*groups(dim)]
	if !haveAVX2 && !haveNEON {
		scoresQuantizedGo(bits, s, stride, q, k, scales, heads, n, dim)
		return
	}
	for {
		share := sharedHeads(heads)
		scoresQuantized(bits, share, s, stride, q, k, scales, next, n, dim)
		if heads -= share; heads == 0 {
			return
		}
		s, q = s[share*stride:], q[share*dim:]
	}
}

// ValuesQuantized is
//
//	for h := range heads {
//		for j := range n {
//			for i := range dim {
//				o[h*dim+i] += p[h*stride+j] * v[j*dim+i] // v as element times scale
//			}
//		}
//	}
//
// Up to four heads share each load of v. next is as in [ScoresQuantized].
func ValuesQuantized(bits int, o, p []float32, stride int, v []byte, scales []float32, next []byte, heads, n, dim int) {
	if heads == 0 || n == 0 {
		return
	}
	o, p, v, scales = o[:heads*dim], p[:(heads-1)*stride+n], v[:n*dim*bits/8], scales[:n*groups(dim)]
	if !haveAVX2 && !haveNEON {
		valuesQuantizedGo(bits, o, p, stride, v, scales, heads, n, dim)
		return
	}
	for {
		share := sharedHeads(heads)
		valuesQuantized(bits, share, o, p, stride, v, scales, next, n, dim)
		if heads -= share; heads == 0 {
			return
		}
		o, p = o[share*dim:], p[share*stride:]
	}
}

// FromQuantized is
//
//	for j := range n {
//		for i := range dim {
//			dst[j*dim+i] = float32(element(src, j, i)) * scales[j*⌈dim/32⌉+i/32]
//		}
//	}
func FromQuantized(bits int, dst []float32, src []byte, scales []float32, n, dim int) {
	dst, src, scales = dst[:n*dim], src[:n*dim*bits/8], scales[:n*groups(dim)]
	if (haveAVX2 || haveNEON) && n > 0 {
		fromQuantized(bits, dst, src, scales, n, dim)
		return
	}
	fromQuantizedGo(bits, dst, src, scales, n, dim)
}

// Prefetch asks for b, which will be read soon, to be brought into the cache, where there is an instruction for that.
func Prefetch(b []byte) {
	if haveAVX2 || haveNEON {
		prefetchAsm(b)
	}
}

// groups is the number of scales of a row.
func groups(dim int) int { return (dim + QuantizedGroup - 1) / QuantizedGroup }

// sharedHeads is how many of so many heads share loads.
func sharedHeads(heads int) int {
	switch {
	case heads >= 4:
		return 4
	case heads >= 2:
		return 2
	}
	return 1
}

// element is element i of a row, without its scale.
func element(bits int, row []byte, i int) float32 {
	if bits == 8 {
		return float32(int8(row[i]))
	}
	return float32(int(binary.LittleEndian.Uint32(row[i/8*4:])>>(i%8/2*4+i%2*16)&15) - 8)
}

func scoresQuantizedGo(bits int, s []float32, stride int, q []float32, k []byte, scales []float32, heads, n, dim int) {
	for j := range n {
		row, scale := k[j*dim*bits/8:], scales[j*groups(dim):]
		for h := range heads {
			s[h*stride+j] = 0
		}
		for i := range dim {
			x := element(bits, row, i) * scale[i/QuantizedGroup]
			for h := range heads {
				s[h*stride+j] += q[h*dim+i] * x
			}
		}
	}
}

func valuesQuantizedGo(bits int, o, p []float32, stride int, v []byte, scales []float32, heads, n, dim int) {
	for j := range n {
		row, scale := v[j*dim*bits/8:], scales[j*groups(dim):]
		for i := range dim {
			x := element(bits, row, i) * scale[i/QuantizedGroup]
			for h := range heads {
				o[h*dim+i] += p[h*stride+j] * x
			}
		}
	}
}

func fromQuantizedGo(bits int, dst []float32, src []byte, scales []float32, n, dim int) {
	for j := range n {
		row, scale := src[j*dim*bits/8:], scales[j*groups(dim):]
		for i := range dim {
			dst[j*dim+i] = element(bits, row, i) * scale[i/QuantizedGroup]
		}
	}
}
