package placement

import (
	"fmt"
	"math"
)

// Curve is how long an operation takes, in seconds, by the bytes that it reads: at each of CurveSizes.
// Between them it is a straight line, and beyond them the nearest one goes on. So it holds for a device
// that needs a moment to begin, and for one that takes more of itself to a larger operation.
type Curve [4]float64

// CurveSizes are the sizes at which a Curve is measured, in bytes.
var CurveSizes = [len(Curve{})]float64{64 << 10, 512 << 10, 4 << 20, 32 << 20}

// At is the time of an operation that reads so many bytes, in seconds.
func (c *Curve) At(bytes float64) float64 {
	i := 1
	for i < len(c)-1 && bytes > CurveSizes[i] {
		i++
	}
	slope := (c[i] - c[i-1]) / (CurveSizes[i] - CurveSizes[i-1])
	return max(c[i-1]+slope*(bytes-CurveSizes[i-1]), 0)
}

// Rate is how many bytes/s the largest operations read.
func (c *Curve) Rate() float64 {
	last := len(c) - 1
	return (CurveSizes[last] - CurveSizes[last-1]) / (c[last] - c[last-1])
}

// Rates is what was measured of a node with the kernels that it runs. The zero value means that nothing was.
type Rates struct {
	Layer   Curve    // a decode step's pass through a layer, attention aside, by the layer's weights
	Product Curve    // one matrix product of a decode step, by its weights
	Attend  [2]Curve // attention of one token in decode, by keys and values, where each byte takes as many operations as in AttendIntensity

	PrefillProduct float64 // operations/s of the matrix products of a prefill chunk
	PrefillAttend  float64 // operations/s of its attention
}

// AttendIntensity is at how many operations for each byte of keys and values Rates.Attend is measured. In
// halves that is the number of query heads to a key-value head.
var AttendIntensity = [2]float64{1, 8}

// Known reports whether the rates were measured.
func (r *Rates) Known() bool { return *r != Rates{} }

// Numbers are all rates, in a fixed order, for who sends or stores them.
func (r *Rates) Numbers() []*float64 {
	var all []*float64
	for _, c := range []*Curve{&r.Layer, &r.Product, &r.Attend[0], &r.Attend[1]} {
		for i := range c {
			all = append(all, &c[i])
		}
	}
	return append(all, &r.PrefillProduct, &r.PrefillAttend)
}

// attend is the time of one token's attention, in decode.
func (r *Rates) attend(bytes, operations float64) float64 {
	if bytes == 0 {
		return 0
	}
	low, high := r.Attend[0].At(bytes), r.Attend[1].At(bytes)
	share := (operations/bytes - AttendIntensity[0]) / (AttendIntensity[1] - AttendIntensity[0])
	return low + max(share, 0)*max(high-low, 0)
}

// Check finds a rate that no machine has.
func (r *Rates) Check() error {
	if !r.Known() {
		return nil
	}
	for _, c := range []struct {
		name  string
		curve *Curve
	}{{"Layer", &r.Layer}, {"Product", &r.Product}, {"Attend[0]", &r.Attend[0]}, {"Attend[1]", &r.Attend[1]}} {
		before := 0.0
		for i, t := range c.curve {
			if !(t > before && t <= maxOperation) {
				return fmt.Errorf("rates: %s takes %v s at %.0f bytes, which is not more than %v, for fewer, or over %d s", c.name, t, CurveSizes[i], before, maxOperation)
			}
			before = t
		}
	}
	for _, s := range []struct {
		name  string
		speed float64
	}{{"PrefillProduct", r.PrefillProduct}, {"PrefillAttend", r.PrefillAttend}} {
		if !(s.speed >= 1 && s.speed <= maxFLOPS) || math.IsNaN(s.speed) {
			return fmt.Errorf("rates: %s %v is not in 1..1e24 operations/s", s.name, s.speed)
		}
	}
	return nil
}

const maxOperation = 3600 // seconds
