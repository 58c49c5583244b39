package actors

import (
	"slices"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/steering"
)

// forecast predicts for steering, from what the cost model says of each mode.
type forecast struct {
	costs     map[placement.Mode]*placement.Cost
	links     [][]placement.Link
	policy    *residence.Policy
	pairBytes int64
	missing   []int64 // bytes of the layers that each node has not loaded, as ring needs
	contexts  []int   // at which steps were predicted
	steps     [placement.Ring + 1][len(crowds)][]float64
}

// crowds are the numbers of sequences for which steps are predicted, once, before anybody asks: a step of eight takes a tenth of a millisecond to predict for 64 layers on three
// nodes. Between two of them time grows linearly, and beyond the last one with the number, as all steps are full there.
var crowds = [...]int{1, 2, 3, 4, 6, 8, 12, 16, 32, 64}

// loadRate is at what rate layers come into memory that a switch to ring needs, in bytes/s: of a solid-state disk.
const loadRate = 1e9

// stepsPerOctave is at how many contexts between one and its double steps are predicted. Between two of them
// they grow linearly.
const stepsPerOctave = 4

// Forecast makes of predicted costs, and the ways between the model's members by index, what Steer takes.
func (c *Conductor) Forecast(costs map[placement.Mode]*placement.Cost, links [][]placement.Link) (steering.Predictor, error) {
	policy, err := c.spec.policy()
	if err != nil {
		return nil, err
	}
	f := &forecast{costs: costs, links: links, policy: policy, pairBytes: c.spec.Model.Config.KVBytesPerToken(c.spec.KV)}
	for _, layers := range c.spec.Layers {
		missing := int64(0)
		for l := range c.spec.Model.Config.Layers {
			if c.spec.Mode != placement.Ring && !layers.Contains(l) {
				missing += c.spec.Model.LayerBytes(l)
			}
		}
		f.missing = append(f.missing, missing)
	}
	f.contexts = []int{0}
	for at := 16; ; at *= 2 {
		for i := range stepsPerOctave {
			f.contexts = append(f.contexts, at+i*at/stepsPerOctave)
		}
		if 2*at >= c.spec.Context {
			f.contexts = append(f.contexts, 2*at)
			break
		}
	}
	for mode, cost := range costs {
		for i, sequences := range crowds {
			for _, at := range f.contexts {
				f.steps[mode][i] = append(f.steps[mode][i], cost.Batch(slices.Repeat([]int{at}, sequences)).Seconds())
			}
		}
	}
	return f, nil
}

// Step implements steering.Predictor.
func (f *forecast) Step(m placement.Mode, sequences, context int) float64 {
	if f.costs[m] == nil {
		return 0
	}
	i, part := between(crowds[:], sequences)
	if last := crowds[len(crowds)-1]; sequences > last {
		return f.step(m, i, context) * float64(sequences) / float64(last)
	}
	if part == 0 {
		return f.step(m, i, context)
	}
	return (1-part)*f.step(m, i, context) + part*f.step(m, i+1, context)
}

// step is one of as many sequences as the i-th crowd has.
func (f *forecast) step(m placement.Mode, i, context int) float64 {
	at, part := between(f.contexts, context)
	if steps := f.steps[m][i]; part > 0 {
		return (1-part)*steps[at] + part*steps[at+1]
	}
	return f.steps[m][i][at]
}

// between is the last of some ascending numbers that is no larger than n, or the first one, and which part of the way from there to the next one n is.
func between(numbers []int, n int) (i int, part float64) {
	i, found := slices.BinarySearch(numbers, n)
	switch {
	case found || i == 0:
		return i, 0
	case i == len(numbers):
		return i - 1, 0
	}
	return i - 1, float64(n-numbers[i-1]) / float64(numbers[i]-numbers[i-1])
}

// Prefill implements steering.Predictor.
func (f *forecast) Prefill(m placement.Mode, base, tokens int) float64 {
	c := f.costs[m]
	if c == nil {
		return 0
	}
	whole := c.Prefill(base + tokens).Seconds
	if base > 0 {
		whole -= c.Prefill(base).Seconds
	}
	return whole
}

// Move implements steering.Predictor: the time of the node that has most to send, or to receive, and of
// announcing it. To ring, layers that are not there come first.
func (f *forecast) Move(from, to placement.Mode, context int) float64 {
	n := len(f.links)
	in, out, latency, load := make([]float64, n), make([]float64, n), 0.0, 0.0
	for i, row := range f.policy.Traffic(from, to, context) {
		for j, pairs := range row {
			if i != j {
				seconds := float64(int64(pairs)*f.pairBytes) / f.links[i][j].Bandwidth
				out[i], in[j] = out[i]+seconds, in[j]+seconds
				latency = max(latency, f.links[i][j].Latency)
			}
		}
		if to == placement.Ring {
			load = max(load, float64(f.missing[i])/loadRate)
		}
	}
	slowest := 0.0
	for i := range n {
		slowest = max(slowest, in[i], out[i])
	}
	return load + slowest + 4*latency // asked for, arrived, announced, taken up
}
