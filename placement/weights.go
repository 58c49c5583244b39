package placement

import (
	"cmp"
	"fmt"
)

// WeightFormats are the quantized formats of weights, by the names that package device gives them, in the order in which
// [Kernels.Weights] and [Rates.Rows] have them.
var WeightFormats = [...]string{"Q8_0", "Q4_0", "Q4_K", "Q6_K", "MLX8", "MLX4"}

// weightBits is what an element takes in each of WeightFormats, with its part of the scales.
var weightBits = [len(WeightFormats)]float64{8.5, 4.5, 4.5, 6.5625, 8.5, 4.5}

// stored is bytes of weights, and how many of them are in each of WeightFormats.
type stored struct {
	bytes  float64
	packed [len(WeightFormats)]float64
}

// storedIn is bytes of which some are in formats by name.
func storedIn(bytes int64, formats map[string]int64) stored {
	s := stored{bytes: float64(bytes)}
	for i, name := range WeightFormats {
		s.packed[i] = float64(formats[name])
	}
	return s
}

// times is so many times as many weights, stored alike.
func (s stored) times(n float64) stored {
	s.bytes *= n
	for i := range s.packed {
		s.packed[i] *= n
	}
	return s
}

// share is the share of the elements that are in one of WeightFormats, if the others are in BF16.
func (s stored) share() float64 {
	packed, others := 0.0, 8*s.bytes/16
	for i, bytes := range s.packed {
		packed += 8 * bytes / weightBits[i]
		others -= 8 * bytes / 16
	}
	if packed == 0 {
		return 0
	}
	return packed / (packed + others)
}

// takes is how long an operation takes that reads such weights, in seconds, by how long it takes with BF16. With as many
// elements in BF16 its matrices have the same rows and columns, and it takes as long to begin. The rest of its time is
// scaled by its bytes: there are fewer, and each takes longer. A format of which nothing was measured is taken to be like
// BF16, byte for byte.
func (k *Kernels) takes(c *Curve, s stored) float64 {
	halves, bytes := s.bytes, s.bytes // of as many elements in BF16, and those of BF16 that take as long
	for i, longer := range k.Weights {
		if longer > 0 {
			halves += s.packed[i] * (16/weightBits[i] - 1)
			bytes += s.packed[i] * (longer - 1)
		}
	}
	if halves == bytes {
		return c.At(bytes)
	}
	begin := c.At(0)
	return begin + (c.At(halves)-begin)*bytes/halves
}

// rows is how many times longer a product with such weights takes with BatchRows tokens than with one, from the caches. A
// format of which that is not known is taken to be like BF16.
func (r *Rates) rows(s stored) float64 {
	all, longer, others := 0.0, 0.0, s.bytes
	for i, bytes := range s.packed {
		if each := r.Rows[1+i]; bytes > 0 && each > 0 {
			one := bytes * cmp.Or(r.Cache.Weights[i], 1) // in bytes of BF16
			all, longer, others = all+one, longer+one*each, others-bytes
		}
	}
	if all += others; all == 0 {
		return 1
	}
	return (longer + others*r.Rows[0]) / all
}

// checkFormats finds formats of more bytes than there are in all.
func checkFormats(bytes int64, formats map[string]int64) error {
	left := bytes
	for name, n := range formats {
		if n < 0 || n > left {
			return fmt.Errorf("%d bytes in %s, of %d in all formats", n, name, bytes)
		}
		left -= n
	}
	return nil
}
