package quant

// Each function writes what the blocks of src stand for to dst, whose length is a multiple of a block's elements.

// FromQ8_0 is for blocks of [Q8_0].
func FromQ8_0(dst []float32, src []byte) {
	for i := range len(dst) / Q8_0.Elements {
		b := src[i*Q8_0.Bytes:][:Q8_0.Bytes]
		out := dst[i*Q8_0.Elements:][:Q8_0.Elements]
		d := half(b)
		for j := range out {
			out[j] = d * float32(int8(b[2+j]))
		}
	}
}

// FromQ4_0 is for blocks of [Q4_0].
func FromQ4_0(dst []float32, src []byte) {
	for i := range len(dst) / Q4_0.Elements {
		b := src[i*Q4_0.Bytes:][:Q4_0.Bytes]
		out := dst[i*Q4_0.Elements:][:Q4_0.Elements]
		d := half(b)
		for j, q := range b[2:] {
			out[j] = d * float32(int(q&15)-8)
			out[j+16] = d * float32(int(q>>4)-8)
		}
	}
}

// FromQ4_K is for blocks of [Q4_K].
func FromQ4_K(dst []float32, src []byte) {
	for i := range len(dst) / Q4_K.Elements {
		b := src[i*Q4_K.Bytes:][:Q4_K.Bytes]
		out := dst[i*Q4_K.Elements:][:Q4_K.Elements]
		numbers := NumbersQ4_K(b)
		for group := range 8 {
			scale, least := numbers[group], numbers[8+group]
			for j, q := range b[16+group/2*32:][:32] {
				out[group*32+j] = float32(scale*float32(q>>(group%2*4)&15)) - least // rounded twice on every processor
			}
		}
	}
}

// NumbersQ4_K is the scales d s of a block's eight groups, then their minimums dmin m.
func NumbersQ4_K(b []byte) (numbers [16]float32) {
	d, dmin := half(b), half(b[2:])
	for group := range 8 {
		s, m := scaleQ4_K(b[4:16], group)
		numbers[group], numbers[8+group] = d*float32(s), dmin*float32(m)
	}
	return numbers
}

// scaleQ4_K is the scale and the minimum of a group of 32.
func scaleQ4_K(scales []byte, group int) (s, m byte) {
	if group < 4 {
		return scales[group] & 63, scales[group+4] & 63
	}
	return scales[group+4]&15 | scales[group-4]>>6<<4, scales[group+4]>>4 | scales[group]>>6<<4
}

// FromQ6_K is for blocks of [Q6_K].
func FromQ6_K(dst []float32, src []byte) {
	for i := range len(dst) / Q6_K.Elements {
		b := src[i*Q6_K.Bytes:][:Q6_K.Bytes]
		out := dst[i*Q6_K.Elements:][:Q6_K.Elements]
		low, high, numbers := b[:128], b[128:192], NumbersQ6_K(b)
		for j := range out {
			part, quarter, l := j/128, j/32%4, j%32
			q := low[64*part+32*(quarter%2)+l]>>(quarter/2*4)&15 | high[32*part+l]>>(2*quarter)&3<<4
			out[j] = numbers[j/16] * float32(int(q)-32)
		}
	}
}

// NumbersQ6_K is the scales d s of a block's sixteen groups.
func NumbersQ6_K(b []byte) (numbers [16]float32) {
	d := half(b[208:])
	for i := range numbers {
		numbers[i] = d * float32(int8(b[192+i]))
	}
	return numbers
}
