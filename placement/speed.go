package placement

import "fmt"

// speed is how fast a node works: by the rates that were measured of it or, without them, at its
// bandwidth and FLOPS times an efficiency, where each piece of work takes the longer of its reading and
// its computing.
type speed struct {
	rates          *Rates  // nil if none were measured
	inTurn, atOnce beside  // nodes of its machine that read in turn, and at once
	read           float64 // bytes/s
	compute        float64 // operations/s
}

// beside is what a node finds of memory and caches that it shares.
type beside struct {
	keys, weights caches
	slower        float64 // how many times longer keys and values take from memory
}

// newBeside is what was measured, where strangers put so many bytes/s into the caches.
func newBeside(s *Sharing, strangers float64) beside {
	b := beside{among(s, s.Cached[:]), among(s, s.Weights[:]), s.Slower}
	b.keys.pass(strangers)
	b.weights.pass(strangers)
	return b
}

// reading is how a step reads: what share of it from the caches, and how many times longer what comes from memory takes than was measured of the node alone.
type reading struct{ cached, slower float64 }

// fromMemory is how one reads alone what no cache holds.
var fromMemory = reading{0, 1}

func newSpeed(n Node, efficiency float64) (speed, error) {
	if n.Rates.Known() {
		if err := n.Rates.Check(); err != nil {
			return speed{}, fmt.Errorf("placement: node %s: %w", n.Name, err)
		}
		c := newCaches(&n.Rates)
		alone := beside{c, c, 1}
		return speed{rates: &n.Rates, inTurn: alone, atOnce: alone}, nil
	}
	if !(n.FLOPS >= 1 && n.FLOPS <= maxFLOPS) {
		return speed{}, fmt.Errorf("placement: node %s: no rates were measured of it, and FLOPS %v is not in 1..1e24", n.Name, n.FLOPS)
	}
	return speed{read: n.Bandwidth * efficiency, compute: n.FLOPS * efficiency}, nil
}

// takes is the time in which a node without rates reads so many bytes and does so many operations, at once.
func (s speed) takes(bytes, operations float64) float64 {
	return max(bytes/s.read, operations/s.compute)
}

// layer is a decode step's pass through a layer, attention aside, of so many tokens with as many operations each.
func (s speed) layer(r reading, weights stored, operations, tokens float64) float64 {
	if s.rates == nil {
		return s.takes(weights.bytes, tokens*operations)
	}
	return s.multiplies(r, func(k *Kernels) float64 { return k.takes(&k.Layer, weights) }, weights, tokens)
}

// product is one matrix product of a decode step of so many tokens.
func (s speed) product(r reading, weights stored, operations, tokens float64) float64 {
	if s.rates == nil {
		return s.takes(weights.bytes, tokens*operations)
	}
	return s.multiplies(r, func(k *Kernels) float64 { return k.takes(&k.Product, weights) }, weights, tokens)
}

// multiplies is what products take with several tokens, by what they take with one: with few as long as reading does, and with many as their computing, which grows with them.
func (s speed) multiplies(r reading, one func(k *Kernels) float64, weights stored, tokens float64) float64 {
	cached, memory := one(&s.rates.Cache), r.slower*one(&s.rates.Memory)
	if tokens > 1 {
		computing := cached * s.rates.rows(weights) * tokens / BatchRows
		cached, memory = max(cached, computing), max(memory, computing)
	}
	return r.cached*cached + (1-r.cached)*memory
}

// attend is the attention of one token over the keys and values of a layer, in decode, stored in elements of so many bits, and what of it is reading from memory. What is measured of the
// operations for each byte is that of halves, so elements count.
func (s speed) attend(r reading, bytes, operations float64, bits int) (took, memory float64) {
	if s.rates == nil {
		took = s.takes(bytes, operations)
		return took, took
	}
	if bits < 16 && bits > 0 {
		const scales = 0.5 // bits of an element
		operations *= (float64(bits) + scales) / 16
	}
	memory = s.rates.packed(bits) * (1 - r.cached) * r.slower * s.rates.Memory.attend(bytes, operations)
	return memory + s.rates.packed(bits)*r.cached*s.rates.Cache.attend(bytes, operations), memory
}

// turn is what a step takes the node besides its operations.
func (s speed) turn() float64 {
	if s.rates == nil {
		return 0
	}
	return s.rates.Turn
}

// records reports whether the node's host records a step while its device runs the one before.
func (s speed) records() bool { return s.rates != nil && s.rates.Record > 0 }

// devices is what the devices of two nodes take of an exchange: less if it was given ahead to both, else each host waits for its device on the way out
// and on the way back.
func devices(a, b speed) float64 {
	if a.rates != nil && b.rates != nil && a.rates.Gate > 0 && b.rates.Gate > 0 {
		return a.rates.Gate + b.rates.Gate
	}
	return a.turn() + b.turn()
}

// matrices is the matrix products of a layer for a prefill chunk, of which a share are with weights in one of WeightFormats.
func (s speed) matrices(bytes, operations, share float64) float64 {
	if s.rates == nil {
		return s.takes(bytes, operations)
	}
	packed := s.rates.PrefillPacked
	if packed == 0 {
		packed = s.rates.PrefillProduct
	}
	return max(s.rates.Memory.Layer.At(bytes), operations*((1-share)/s.rates.PrefillProduct+share/packed))
}

// attendChunk is the attention of a prefill chunk over keys and values of a layer.
func (s speed) attendChunk(bytes, operations float64) float64 {
	if s.rates == nil {
		return s.takes(bytes, operations)
	}
	return max(s.rates.Memory.attend(bytes, 0), operations/s.rates.PrefillAttend)
}
