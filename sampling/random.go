package sampling

// uniform is a number from 0 to 1, without 1, that depends on seed and position and nothing else.
//
// A generator seeded with both and asked for one number will not do: neighbouring seeds of PCG, for one,
// give correlated numbers. A hash gives each pair a number of its own, from any pattern of pairs.
func uniform(seed uint64, position int) float64 {
	h := mix(mix(seed+golden) + golden*uint64(position))
	return float64(h>>11) / (1 << 53)
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
