package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Noise is how nodes and steps differ from what placement knows. The zero value is not at all.
type Noise struct {
	// Stragglers is the share of the nodes, rounded to whole ones, that are slow during the whole run, and
	// Slowdown how many times as long their computing and reading takes: at least 1.
	Stragglers float64 `json:"stragglers"`
	Slowdown   float64 `json:"slowdown"`
	// Uneven is by how much of itself each piece of computing takes longer: the mean of an exponential
	// distribution.
	Uneven float64 `json:"uneven"`
}

func (n *Noise) check() error {
	switch {
	case !(n.Stragglers >= 0 && n.Stragglers <= 1):
		return fmt.Errorf("simulate: a share of stragglers of %v is not in 0..1", n.Stragglers)
	case n.Stragglers > 0 && !(n.Slowdown >= 1 && !math.IsInf(n.Slowdown, 0)):
		return fmt.Errorf("simulate: stragglers take %v times as long, which is not 1 or more", n.Slowdown)
	case !(n.Uneven >= 0 && !math.IsInf(n.Uneven, 0)):
		return fmt.Errorf("simulate: uneven %v is not 0 or more", n.Uneven)
	}
	return nil
}

// The random numbers of a seed that are independent of one another.
const (
	streamStragglers = iota
	streamSteps
)

// slowdowns draws the stragglers, and gives what each node's work takes in multiples of what it should.
func (n *Noise) slowdowns(nodes int, seed uint64) []float64 {
	slow := make([]float64, nodes)
	for i := range slow {
		slow[i] = 1
	}
	rng := rand.New(rand.NewPCG(seed, streamStragglers))
	for _, i := range rng.Perm(nodes)[:int(n.Stragglers*float64(nodes)+0.5)] {
		slow[i] = n.Slowdown
	}
	return slow
}
