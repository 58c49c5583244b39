package cpu

import (
	"math"

	"github.com/orrery-ai/orrery/device"
)

type routeJob struct {
	to         device.Routing
	logits     device.Tensor
	normalized bool
}

// Route implements [device.Stream].
func (s *stream) Route(to device.Routing, logits device.Tensor, normalized bool) {
	if to.Active < 1 || to.Active > logits.Cols || len(to.Experts) != logits.Rows*to.Active || len(to.Weights) != len(to.Experts) {
		mismatch("Route", "logits [%d][%d] to %d and %d of %d each", logits.Rows, logits.Cols, len(to.Experts), len(to.Weights), to.Active)
	}
	s.route = routeJob{to, logits, normalized}
	s.run(&s.route, logits.Rows, 6*float64(logits.Cols))
}

func (j *routeJob) run(first, end int, _ *worker) {
	k := j.to.Active
	for t := first; t < end; t++ {
		j.row(j.to.Experts[t*k:(t+1)*k], j.to.Weights[t*k:(t+1)*k], j.logits.Row(t))
	}
}

// row chooses for one token. weights holds the logits of the chosen ones until all are known.
func (j *routeJob) row(experts []int32, weights, logits []float32) {
	n := 0
	for i, v := range logits {
		if v-v != 0 { // infinite, or NaN
			for r := range experts {
				experts[r], weights[r] = int32(r), float32(math.NaN())
			}
			return
		}
		if n == len(experts) && v <= weights[n-1] {
			continue
		}
		at := min(n, len(experts)-1)
		for ; at > 0 && v > weights[at-1]; at-- {
			experts[at], weights[at] = experts[at-1], weights[at-1]
		}
		experts[at], weights[at] = int32(i), v
		n = min(n+1, len(experts))
	}
	most, sum := float64(weights[0]), 0.0
	if !j.normalized {
		for _, v := range logits {
			sum += math.Exp(float64(v) - most)
		}
	} else {
		for _, v := range weights {
			sum += math.Exp(float64(v) - most)
		}
	}
	for r, v := range weights {
		weights[r] = float32(math.Exp(float64(v)-most) / sum)
	}
}
