package placement

import (
	"cmp"
	"slices"
)

// apportion divides total whole things in proportion to weights (all positive), giving nobody more
// than its cap: those who would get more are filled, and the others share what is left in the same
// proportion. Fractions go to the largest remainders, ties to the first. When the caps sum to less
// than total, everybody is filled. For total up to 2^40 float64 cannot round a share to a wrong whole.
func apportion(total int64, weights []float64, caps []int64) []int64 {
	share := make([]int64, len(weights))
	rest := make([]int, 0, len(weights)) // who still takes part
	for i := range weights {
		rest = append(rest, i)
	}
	for len(rest) > 0 {
		sum := 0.0
		for _, i := range rest {
			sum += weights[i]
		}
		ideal := func(i int) float64 { return float64(total) * (weights[i] / sum) }
		open := rest[:0:0]
		for _, i := range rest {
			if float64(caps[i]) > ideal(i) {
				open = append(open, i)
			}
		}
		if len(open) == len(rest) {
			remainder := make([]float64, len(weights))
			left := total
			for _, i := range rest {
				share[i] = int64(ideal(i))
				remainder[i] = ideal(i) - float64(share[i])
				left -= share[i]
			}
			slices.SortStableFunc(rest, func(a, b int) int { return cmp.Compare(remainder[b], remainder[a]) })
			for _, i := range rest[:left] { // at most one each, for which the cap has room
				share[i]++
			}
			return share
		}
		for _, i := range rest {
			if !slices.Contains(open, i) {
				share[i] = min(caps[i], total)
				total -= share[i]
			}
		}
		rest = open
	}
	return share
}
