package calibrate

import (
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

// median is the median of each rate, held to what a machine can have, and to what 4 bytes hold, so that a node
// sees its own rates as the others do.
func median(all []placement.Rates) (r placement.Rates) {
	numbers := make([][]*float64, len(all))
	for i := range all {
		numbers[i] = all[i].Numbers()
	}
	for i, v := range r.Numbers() {
		var samples []float64
		for _, n := range numbers {
			samples = append(samples, *n[i])
		}
		slices.Sort(samples)
		*v = (samples[(len(samples)-1)/2] + samples[len(samples)/2]) / 2
	}
	for _, k := range []*placement.Kernels{&r.Memory, &r.Cache} {
		for _, c := range []*placement.Curve{&k.Layer, &k.Product, &k.Attend} {
			for i := 1; i < len(c); i++ { // noise apart, more takes longer
				c[i] = max(c[i], c[i-1]*1.01)
			}
		}
		rising(k.Intense[:])
	}
	rising(r.Crowd[:])
	for _, c := range [][2]*placement.Curve{{&r.Cache.Layer, &r.Memory.Layer}, {&r.Cache.Product, &r.Memory.Product}, {&r.Cache.Attend, &r.Memory.Attend}} {
		for i := range c[0] { // and nothing is slower from the caches
			c[0][i] = min(c[0][i], c[1][i])
		}
	}
	falling(r.Cached[:])
	falling(r.Kept[:])
	for _, v := range r.Numbers() {
		*v = float64(float32(*v))
	}
	return r
}

// rising makes factors not fall, from one on.
func rising(factors []float64) {
	before := 1.0
	for i := range factors {
		factors[i] = max(factors[i], before)
		before = factors[i]
	}
}

// falling makes shares not rise, with the least change to them in squares: those that rise become their mean (the
// pool-adjacent-violators algorithm). So one that was disturbed does not pull down all that follow.
func falling(shares []float64) {
	for end := 2; end <= len(shares); end++ {
		first, sum := end-1, shares[end-1]
		for first > 0 && sum/float64(end-first) > shares[first-1] {
			first--
			sum += shares[first]
		}
		for i := first; i < end; i++ {
			shares[i] = sum / float64(end-first)
		}
	}
}
