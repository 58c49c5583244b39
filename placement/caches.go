package placement

import "math"

// KeptBytes is how much lay in the caches when Rates.Kept was measured.
const KeptBytes = 16 << 20

// caches is what share of its reading a node does from the caches, by how much passes through them between two readings of the same: what the node and the others of its machine
// read in a step, and what strangers do meanwhile, of whom only that is known how fast they drive out what lies there and is not read.
type caches struct {
	sizes     []float64 // bytes that are read in turn
	shares    []float64 // of that reading, from the caches
	every     []float64 // seconds in which they are read once
	distances []float64 // bytes that pass meanwhile
	strangers float64   // bytes/s
}

// newCaches is the caches as a node measured them alone.
func newCaches(r *Rates) caches {
	c := caches{sizes: CacheSizes[:], shares: r.Cached[:]}
	for i, size := range CacheSizes {
		c.every = append(c.every, r.inTurn(size, r.Cached[i]))
	}
	c.pass(c.intrusion(r))
	return c
}

// among is the caches as the node measured them with others of its machine, by some shares of its reading.
func among(s *Sharing, shares []float64) caches {
	return caches{sizes: s.Bytes[:], shares: shares, every: s.Every[:]}
}

// pass has strangers put so many bytes/s into the caches.
func (c *caches) pass(strangers float64) {
	c.strangers = strangers
	for i, size := range c.sizes {
		c.distances = append(c.distances, size+strangers*c.every[i])
	}
}

// share is that of a step in which so many bytes are read, and that begins so long after the one before; 0 is as long as it took to measure.
func (c *caches) share(reads, interval float64) float64 {
	last := len(c.sizes) - 1
	distance := reads + c.strangers*interval
	if interval == 0 {
		distance = line(c.sizes, c.distances, reads)
	}
	if distance > c.distances[last] { // as many times too large, as little is there by chance
		return c.shares[last] * c.distances[last] / distance
	}
	return line(c.distances, c.shares, max(distance, c.distances[0]))
}

// inTurn is how long it takes to read so many bytes, a share of them from the caches.
func (r *Rates) inTurn(bytes, share float64) float64 {
	const size = 512 << 10
	return bytes / size * (share*r.Cache.Product.At(size) + (1-share)*r.Memory.Product.At(size))
}

// intrusion is how many bytes/s strangers put into the caches. Half of what lies there is gone when so much has been read in turn, and half of a little when it was not read for so
// long: the same number of bytes must have passed.
func (c *caches) intrusion(r *Rates) float64 {
	last := len(c.sizes) - 1
	little := min(line(c.sizes, c.shares, KeptBytes), 1)
	half := little / 2
	if little == 0 || c.shares[last] >= half || r.Kept[0] == 0 {
		return 0 // it is not known
	}
	much := becomes(KeptBytes, c.sizes[last], func(bytes float64) bool { return line(c.sizes, c.shares, bytes) <= half })
	long := becomes(0, longKept, func(after float64) bool { return r.kept(after) <= 0.5 })
	if long == longKept {
		return 0
	}
	const most = 1e12 // bytes/s: all goes by time
	if long += line(c.sizes, c.every, KeptBytes) - line(c.sizes, c.every, much); long <= (much-KeptBytes)/most {
		return most
	}
	return (much - KeptBytes) / long
}

// longKept is how long what nobody reads may be kept, in seconds, and strangers still be said to drive it out.
const longKept = 1.0

// kept is what share of a little that lies in the caches is there after so many seconds.
func (r *Rates) kept(after float64) float64 {
	last := len(KeptAfter) - 1
	if after > KeptAfter[last] { // it goes on to vanish as fast, in proportion
		return math.Pow(r.Kept[last], after/KeptAfter[last])
	}
	return line(append([]float64{0}, KeptAfter[:]...), append([]float64{1}, r.Kept[:]...), after)
}

// becomes is where, from low to high, what is not true at first becomes so; high if it does not.
func becomes(low, high float64, is func(float64) bool) float64 {
	for range 50 {
		if middle := (low + high) / 2; is(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}
