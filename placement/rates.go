package placement

import (
	"fmt"
	"slices"
)

// Rates is what was measured of a node with the kernels that it runs, one token at a time for decode and
// a chunk at a time for prefill: package calibrate measures it, and docs/placement.md says how. The zero value
// means that nothing was measured.
type Rates struct {
	Memory Kernels // decode when what is read lies in memory
	Cache  Kernels // and when it lies in the caches

	// Cached is the share of its reading that a step does from the caches, in 0..1, when it reads as many bytes, over
	// and over, as each of CacheSizes says.
	Cached [7]float64
	// Kept is the share of what lies in the caches, in 0..1, that is still there when it was not read for the times
	// KeptAfter. The last cache may be shared with others, of whom nothing else is known.
	Kept [4]float64

	PrefillProduct float64 // operations/s of a chunk's matrix products
	PrefillPacked  float64 // the same with weights in WeightFormats, which are all about as fast; 0 is not known, and taken to be PrefillProduct
	PrefillAttend  float64 // operations/s of a chunk's attention

	// Rows is how many times longer a product takes with BatchRows tokens than with one, where weights lie in the caches:
	// in BF16, and then in each of WeightFormats; 0 is not known. That is mostly computing, which takes as long while
	// weights come from memory.
	Rows [1 + len(WeightFormats)]float64

	// Crowd is how many times longer attention takes when two, three and four nodes such as this one attend at
	// once on the same processors, or on the same GPU.
	Crowd [3]float64

	// Packed is how many times longer a byte of keys and values takes in each of PackedBits than one of halves.
	Packed [2]float64
	// Turn is what a step, and any other wait of the host for its device, takes besides its operations, in seconds: from
	// handing over the first of them until the device begins, and from its end until the host has the result. It is 0 on
	// a CPU.
	Turn float64
	// Record is how long the host takes to record a layer of a step, in seconds, on a device that runs the step before
	// meanwhile. It is 0 where the host waits for the device instead.
	Record float64
	// Begin is how long the host takes to record such a step besides its layers, in seconds.
	Begin float64
	// Gate is the device's part of an exchange that was recorded ahead, in seconds: until the host sees what the device
	// sends, and until the device sees what the host received. It is 0 for a device that makes no exchanges by itself.
	Gate float64
}

// Kernels is how long the operations of a decode step take.
type Kernels struct {
	Layer   Curve // a pass through a layer, attention aside, by the bytes of its weights
	Product Curve // one matrix product, by the bytes of its weights
	Attend  Curve // attention of a query, by the bytes of keys and values in halves, with the first of Intensities

	// Intense is how many times longer attention takes with each of the other Intensities than with the first.
	Intense [3]float64
	// Weights is how many times longer a byte of weights takes in each of WeightFormats than one of BF16; 0 is not known.
	Weights [len(WeightFormats)]float64
}

// Curve is how long an operation takes, in seconds, by the bytes that it reads: at each of CurveSizes.
// Between them it is a straight line, and beyond them the nearest line goes on. So it holds for a device
// that needs a moment to begin, and for one that uses more of its threads for a larger operation.
type Curve [5]float64

// The points at which rates are measured.
var (
	CurveSizes  = [len(Curve{})]float64{64 << 10, 512 << 10, 4 << 20, 32 << 20, 256 << 20}                            // bytes
	CacheSizes  = [len(Rates{}.Cached)]float64{8 << 20, 16 << 20, 32 << 20, 64 << 20, 96 << 20, 128 << 20, 256 << 20} // bytes
	KeptAfter   = [len(Rates{}.Kept)]float64{2e-3, 4e-3, 8e-3, 16e-3}                                                 // seconds
	Intensities = [1 + len(Kernels{}.Intense)]float64{2, 4, 8, 16}                                                    // operations for each byte of keys and values in halves: the query heads to a KV head
	PackedBits  = [len(Rates{}.Packed)]int{8, 4}                                                                      // of an element of keys or values
)

// Known reports whether the rates were measured.
func (r *Rates) Known() bool { return *r != Rates{} }

// Numbers are pointers to all rates, in a fixed order, for those who send or store them.
func (r *Rates) Numbers() []*float64 {
	var all []*float64
	add := func(numbers []float64) {
		for i := range numbers {
			all = append(all, &numbers[i])
		}
	}
	for _, k := range []*Kernels{&r.Memory, &r.Cache} {
		for _, c := range k.curves() {
			add(c.curve[:])
		}
		add(k.Intense[:])
		add(k.Weights[:])
	}
	add(r.Cached[:])
	add(r.Kept[:])
	all = append(all, &r.PrefillProduct, &r.PrefillPacked, &r.PrefillAttend)
	add(r.Rows[:])
	add(r.Crowd[:])
	add(r.Packed[:])
	return append(all, &r.Turn, &r.Record, &r.Begin, &r.Gate)
}

// Values is all rates, in the order of Numbers.
func (r *Rates) Values() []float64 {
	var all []float64
	for _, v := range r.Numbers() {
		all = append(all, *v)
	}
	return all
}

// Take sets all rates to values in that order, which may have come from another node. It is an error if they are too
// few or too many, or if Check finds one that cannot be.
func (r *Rates) Take(values []float64) error {
	numbers := r.Numbers()
	if len(values) != len(numbers) {
		return fmt.Errorf("rates: %d values, not %d", len(values), len(numbers))
	}
	for i, v := range values {
		*numbers[i] = v
	}
	return r.Check()
}

type namedCurve struct {
	name  string
	curve *Curve
}

func (k *Kernels) curves() []namedCurve {
	return []namedCurve{{"Layer", &k.Layer}, {"Product", &k.Product}, {"Attend", &k.Attend}}
}

// At is the time of an operation that reads so many bytes, in seconds.
func (c *Curve) At(bytes float64) float64 { return max(line(CurveSizes[:], c[:], bytes), 0) }

// Rate is how many bytes/s the largest operations read: by how much longer the last of CurveSizes takes than the one before.
func (c *Curve) Rate() float64 {
	last := len(c) - 1
	return (CurveSizes[last] - CurveSizes[last-1]) / (c[last] - c[last-1])
}

// attend is the time of one query's attention over bytes of halves, or what takes as many.
func (k *Kernels) attend(bytes, operations float64) float64 {
	if bytes == 0 {
		return 0
	}
	intense := [len(Intensities)]float64{1}
	copy(intense[1:], k.Intense[:])
	return k.Attend.At(bytes) * line(Intensities[:], intense[:], max(operations/bytes, Intensities[0]))
}

// packed is how many times longer a byte takes of elements of so many bits than of halves.
func (r *Rates) packed(bits int) float64 {
	if i := slices.Index(PackedBits[:], bits); i >= 0 {
		return r.Packed[i]
	}
	return 1
}

// crowd is how many times longer attention takes with so many nodes at once.
func (r *Rates) crowd(nodes int) float64 {
	if nodes <= 1 {
		return 1
	}
	return max(line([]float64{1, 2, 3, 4}, append([]float64{1}, r.Crowd[:]...), float64(nodes)), 1)
}

// line is y at a point, on the straight lines through the points (xs, ys), of which there are two at least;
// the first and the last go on.
func line(xs, ys []float64, x float64) float64 {
	i, _ := slices.BinarySearch(xs, x)
	i = min(max(i, 1), len(xs)-1)
	return ys[i-1] + (ys[i]-ys[i-1])*(x-xs[i-1])/(xs[i]-xs[i-1])
}

const maxOperation = 3600 // seconds

// Check finds a rate that no machine has, and names it. Rates that are not known are in order.
func (r *Rates) Check() error {
	if !r.Known() {
		return nil
	}
	for name, k := range map[string]*Kernels{"Memory": &r.Memory, "Cache": &r.Cache} {
		for _, c := range k.curves() {
			before := 0.0
			for i, t := range c.curve {
				if !(t > before && t <= maxOperation) {
					return fmt.Errorf("rates: %s.%s takes %v s at %.0f bytes, which is not more than for fewer, or over %d s", name, c.name, t, CurveSizes[i], maxOperation)
				}
				before = t
			}
		}
		if err := ascending("rates: "+name+".Intense", k.Intense[:], 1, 1e3); err != nil {
			return err
		}
		for i, f := range k.Weights {
			if !(f >= 0 && f <= 1e3) {
				return fmt.Errorf("rates: %s.Weights %v, of %s, is not in 0..1000", name, f, WeightFormats[i])
			}
		}
	}
	for _, f := range r.Rows {
		if !(f >= 0 && f <= 1e3) {
			return fmt.Errorf("rates: Rows %v is not in 0..1000", f)
		}
	}
	if err := ascending("rates: Crowd", r.Crowd[:], 1, 1e3); err != nil {
		return err
	}
	for i, f := range r.Packed {
		if !(f > 0 && f <= 1e3) {
			return fmt.Errorf("rates: Packed %v, of %d bits, is not in 0..1000", f, PackedBits[i])
		}
	}
	for name, t := range map[string]float64{"Turn": r.Turn, "Record": r.Record, "Begin": r.Begin, "Gate": r.Gate} {
		if !(t >= 0 && t <= maxOperation) {
			return fmt.Errorf("rates: %s %v is not in 0..%d s", name, t, maxOperation)
		}
	}
	for i, share := range r.Cached {
		if !(share >= 0 && share <= 1) {
			return fmt.Errorf("rates: Cached %v, at %.0f bytes, is not in 0..1", share, CacheSizes[i])
		}
	}
	before := 1.0
	for i, share := range r.Kept {
		if !(share >= 0 && share <= before) {
			return fmt.Errorf("rates: Kept %v, after %v s, is not in 0..%v", share, KeptAfter[i], before)
		}
		before = share
	}
	for _, s := range []struct {
		name  string
		speed float64
	}{{"PrefillProduct", r.PrefillProduct}, {"PrefillAttend", r.PrefillAttend}} {
		if !(s.speed >= 1 && s.speed <= maxFLOPS) {
			return fmt.Errorf("rates: %s %v is not in 1..1e24 operations/s", s.name, s.speed)
		}
	}
	if !(r.PrefillPacked >= 0 && r.PrefillPacked <= maxFLOPS) {
		return fmt.Errorf("rates: PrefillPacked %v is not in 0..1e24 operations/s", r.PrefillPacked)
	}
	return nil
}

// ascending checks factors that do not fall.
func ascending(name string, factors []float64, low, high float64) error {
	for _, f := range factors {
		if !(f >= low && f <= high) {
			return fmt.Errorf("%s %v is below %v, or over %v", name, f, low, high)
		}
		low = f
	}
	return nil
}
