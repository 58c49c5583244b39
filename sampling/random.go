package sampling

// Fraction is the random number of a token, from 0 to 1, without 1, as a fraction of 2^64: it depends on the seed and the position and
// nothing else, and its lowest 11 bits are zero, so that a float64 holds it.
//
// A generator seeded with both and asked for one number will not do: neighbouring seeds of PCG, for one,
// give correlated numbers. A hash gives each pair a number of its own, from any pattern of pairs.
func Fraction(seed uint64, position int) uint64 {
	return mix(mix(seed+golden)+golden*uint64(position)) &^ (1<<11 - 1)
}

// uniform is Fraction as a number.
func uniform(seed uint64, position int) float64 {
	return float64(Fraction(seed, position)>>11) / (1 << 53)
}

// golden is 2^64 over the golden ratio, the step of SplitMix64.
const golden = 0x9E3779B97F4A7C15

// mix is the output function of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
// Generators", 2014, with the constants of Stafford's variant 13).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
