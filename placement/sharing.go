package placement

import (
	"fmt"
	"slices"
)

// alike is the nodes that have something in common with node i, which is one of them. A node whose machine
// is not known has nothing in common with another.
func alike(nodes []Node, i int, same func(a, b Node) bool) []int {
	if nodes[i].Machine == "" {
		return []int{i}
	}
	var all []int
	for j, n := range nodes {
		if same(nodes[i], n) {
			all = append(all, j)
		}
	}
	return all
}

// reads is how many bytes all nodes of each node's machine read in a decode step.
func (c *Cost) reads(context int) []float64 {
	reads := make([]float64, len(c.speeds))
	for _, o := range c.owners {
		for l := o.layers.First; l < o.layers.End; l++ {
			reads[o.node] += float64(c.model.LayerBytes[l])
			if w := c.model.window(l); w > 0 {
				reads[o.node] += float64(min(w, context)) * float64(c.model.KVBytesPerToken[l])
			} else if c.plan.Mode == Pipeline {
				reads[o.node] += float64(context) * float64(c.model.KVBytesPerToken[l])
			}
		}
		if o.layers.End == len(c.model.LayerBytes) {
			reads[o.node] += float64(c.work.HeadRead)
		}
	}
	if c.plan.Mode != Pipeline {
		for l, k := range c.model.KVBytesPerToken {
			for j, s := range c.plan.Shares {
				if c.model.window(l) == 0 {
					reads[j] += s.TokenWeight * float64(context) * float64(k)
				}
			}
		}
	}
	together := make([]float64, len(reads))
	for i := range together {
		for _, j := range c.cache[i] {
			together[i] += reads[j]
		}
	}
	return together
}

// cached is what share of its reading each node does from the caches in a step, by what all nodes of its machine
// read in one, and how long after the one before it begins.
func (c *Cost) cached(reads []float64, interval float64) []float64 {
	shares := make([]float64, len(reads))
	for i, s := range c.speeds {
		if s.rates != nil {
			shares[i] = s.caches.share(reads[i], interval)
		}
	}
	return shares
}

// crowd turns what nodes would take alone, some of it to read from memory, into what they take at once: those on the same processors
// together as long as was measured of as many alike, and those that share a machine's memory as much longer for what comes from there as
// was measured of them all.
func (c *Cost) crowd(times, memory []float64) {
	alone := append([]float64(nil), times...)
	for i, s := range c.speeds {
		if s.rates == nil || alone[i] == 0 {
			continue
		}
		busy, sum := 0, 0.0
		for _, j := range c.shared[i] {
			if alone[j] > 0 {
				busy++
				sum += alone[j]
			}
		}
		fromMemory := memory[i] / alone[i]
		times[i] = max(alone[i], sum/float64(busy)*s.rates.crowd(busy))
		if c.slower == nil || len(c.cache[i]) == len(c.shared[i]) {
			continue
		}
		others := 0.0
		for _, j := range c.cache[i] {
			if alone[j] > 0 && !slices.Contains(c.shared[i], j) {
				others++
			}
		}
		times[i] *= 1 + fromMemory*(c.slower[i]-1)*others/float64(len(c.cache[i])-len(c.shared[i]))
	}
}

// TogetherBytes is how much each node of a machine attends to, again and again, when it is measured how they slow each other down.
const TogetherBytes = 256 << 20

// ShareMemory tells of each node how many times longer attention to TogetherBytes takes while the other nodes of its machine,
// on processors of their own, attend to as much. Without it, predictions take each node to have the memory to itself.
func (c *Cost) ShareMemory(slower []float64) error {
	if len(slower) != len(c.speeds) {
		return fmt.Errorf("placement: how %d of %d nodes slow each other down", len(slower), len(c.speeds))
	}
	for i, s := range slower {
		if !(s >= 1 && s <= maxSlower) {
			return fmt.Errorf("placement: node %s is %v times slower beside others", c.plan.Shares[i].Node, s)
		}
	}
	c.slower = slices.Clone(slower)
	for i, s := range c.speeds {
		if s.rates != nil {
			c.slower[i] = s.slowerMemory(slower[i], len(c.cache[i]))
		}
	}
	return nil
}

const maxSlower = 1e3

// slowerMemory is how many times longer memory takes, if attending beside others takes so many times longer: the caches hold less for each of so many
// nodes than for one, and are no slower.
func (s speed) slowerMemory(slower float64, nodes int) float64 {
	const slice = 1 << 20
	cache, memory := s.rates.Cache.Attend.At(slice), s.rates.Memory.Attend.At(slice)
	alone, together := s.caches.share(TogetherBytes, 0), s.caches.share(TogetherBytes*float64(nodes), 0)
	if together == 1 {
		return 1
	}
	took := slower * (alone*cache + (1-alone)*memory)
	return max((took-together*cache)/((1-together)*memory), 1)
}

// DriveFrom tells the way between each node and the process that drives the steps: it hands a step to the
// first owner, and gets the token from the last, which a step waits for if they are not the same node; and how many seconds it takes from the one to the other, 0 if that is
// not known. Without it, predictions take the token to go from the last owner to the first.
func (c *Cost) DriveFrom(ways []Link, turn float64) error {
	if !(turn >= 0 && turn <= maxLatency) {
		return fmt.Errorf("placement: who drives takes %v seconds between two steps, which is not in 0..%d", turn, maxLatency)
	}
	if len(ways) != len(c.speeds) {
		return fmt.Errorf("placement: ways to %d of %d nodes", len(ways), len(c.speeds))
	}
	for _, l := range ways {
		if err := l.check(); err != nil {
			return fmt.Errorf("placement: the way from who drives: %w", err)
		}
	}
	c.driver, c.turn = ways, turn
	return nil
}
