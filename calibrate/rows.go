package calibrate

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/placement"
)

// shortProduct is how long a product with one token may take that is measured with several, in seconds.
const shortProduct = 500e-6

// severalTokens measures how many times longer products take with as many tokens as a step may have than with one. A format that the device does not multiply stays unknown.
func (b *bench) severalTokens(r *placement.Rates) {
	cached := b.over(first(b.arena, cacheBytes))
	size := cached.brisk(&r.Cache.Product, shortProduct)
	for i, f := range append([]device.Format{device.BF16}, weightFormats[:]...) {
		one := cached.productIn(f, size)
		if one == nil || !b.once && b.late() {
			continue
		}
		alone := cached.seconds(intenseFor, one)
		r.Rows[i] = cached.seconds(intenseFor, cached.productOf(placement.BatchRows, f, size)) / alone
	}
}
