package quant

// FromAffine writes the elements of q, of so many bits each, 4 or 8, to dst. scales and biases have one number for each
// group of elements; len(dst) is a multiple of group.
func FromAffine(dst []float32, q []byte, bits, group int, scales, biases []float32) {
	for i := range dst {
		v := q[i*bits/8]
		if bits == 4 {
			v = v >> (i % 2 * 4) & 15
		}
		dst[i] = float32(scales[i/group]*float32(v)) + biases[i/group] // rounded twice on every processor
	}
}
