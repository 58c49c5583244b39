package steering

import (
	"math"
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

const (
	// window is how many steps of a mode are remembered. Their median does not follow single slow steps, nor
	// for long those of a context that has passed.
	window = 32
	// enough is how many of them make a lesson.
	enough = 8
)

// Lessons are what measured steps have taught of each mode. They belong to a loaded model; one goroutine uses
// them. The zero value has learned nothing.
type Lessons struct {
	modes [sizes][placement.Ring + 1]lesson
	moves lesson
	tried [placement.Ring + 1]bool // without a prediction
}

// lesson is the last ratios of measured to predicted.
type lesson struct {
	ratios [window]float64
	n      int
}

// factor is by how much to multiply predictions.
type factor struct {
	median   float64
	error    float64 // standard error of the median, as a part of it
	measured bool    // and not taken over from other modes
}

func (l *lesson) learn(measured, predicted float64) {
	if r := measured / predicted; r > 0 && !math.IsInf(r, 1) {
		l.ratios[l.n%window] = r
		l.n++
	}
}

// factor is what the ratios say if there are at least so many. The error is estimated from their median
// absolute deviation, which outliers do not move: of normal noise it is 1/1.48 of the standard deviation, and
// a median of n is off by 1.25 standard deviations over the root of n.
func (l *lesson) factor(least int) (f factor) {
	if l.n < least {
		return factor{median: 1}
	}
	sorted := l.ratios
	last := sorted[:min(l.n, window)]
	slices.Sort(last)
	f = factor{median: last[len(last)/2], measured: true}
	for i, r := range last {
		last[i] = math.Abs(r - f.median)
	}
	slices.Sort(last)
	f.error = 1.25 * 1.48 * last[len(last)/2] / f.median / math.Sqrt(float64(len(last)))
	return f
}

// factors are by how much to multiply predictions of each mode for numbers of sequences of such a size. A mode that was not measured there is taken to be
// as far off as with fewer sequences, and by the square root of what those that were measured are off further.
func (l *Lessons) factors(size int) (all [placement.Ring + 1]factor) {
	for i := range all {
		all[i].median = 1
	}
	for i := range size + 1 {
		fewer, logs, n := all, 0.0, 0.0
		for m := range all {
			if all[m] = l.modes[i][m].factor(enough); all[m].measured {
				logs += math.Log(all[m].median / fewer[m].median)
				n++
			}
		}
		for m := range all {
			if !all[m].measured {
				all[m] = factor{median: fewer[m].median * math.Exp(logs/max(n, 1)/2)}
			}
		}
	}
	return all
}
