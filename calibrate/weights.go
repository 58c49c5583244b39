package calibrate

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/placement"
)

// weightFormats are those of placement.WeightFormats.
var weightFormats = [len(placement.WeightFormats)]device.Format{device.Q8_0, device.Q4_0, device.Q4_K, device.Q6_K, device.MLX8, device.MLX4}

// weighed measures what formats of weights there are against BF16, from memory and from the caches.
func (b *bench) weighed(r *placement.Rates) {
	memory := b.over(b.arena)
	memory.cold = true
	memory.weigh(&r.Memory)
	b.over(first(b.arena, cacheBytes)).weigh(&r.Cache)
}

// weigh measures how many times longer a byte of weights takes in each format than one of BF16, in products of as many bytes. A format that the device does not multiply stays unknown.
func (b *bench) weigh(k *placement.Kernels) {
	size := b.brisk(&k.Product, longProduct)
	halves := b.seconds(intenseFor, b.productIn(device.BF16, size))
	for i, f := range weightFormats {
		if op := b.productIn(f, size); op != nil && (b.once || !b.late()) {
			k.Weights[i] = b.seconds(intenseFor, op) / halves
		}
	}
}

// longProduct is so long that all threads take part in it, in seconds.
const longProduct = 1e-3

// productIn is productOf one token.
func (b *bench) productIn(f device.Format, bytes int) func() { return b.productOf(1, f, bytes) }

// productOf is one matrix product of so many tokens with about so many bytes of weights in a format, nil if the device has none with it.
func (b *bench) productOf(tokens int, f device.Format, bytes int) func() {
	const cols = 2048
	w, ok := b.row(f, cols)
	if !ok {
		return nil
	}
	w.Rows = max(bytes/(len(w.Data)+len(w.Scales)+len(w.Biases))&^(rowsAlign-1), rowsAlign)
	x, y := b.filled(tokens, cols), b.filled(tokens, w.Rows)
	return func() { b.stream.MatMul(y, x, b.weightsLike(w)) }
}

// row is one row of weights in a format as the device keeps it; ok is false if it has no products with it.
func (b *bench) row(f device.Format, cols int) (row device.Matrix, ok bool) {
	row = device.Matrix{Format: f, Rows: 1, Cols: cols, Data: make([]byte, f.MatrixBytes(1, cols))}
	if f.Affine() {
		row.Group, row.ScaleFormat = 64, device.BF16
		row.Scales, row.Biases = make([]byte, row.GroupBytes()), make([]byte, row.GroupBytes())
	}
	loaded, err := b.Device.Load(row) // which tells in what pieces the device keeps it
	if err != nil {
		return device.Matrix{}, false
	}
	b.Device.Unload(loaded)
	return loaded, true
}

// weightsLike is w.Rows rows of weights of the arena, whose pieces are as those of w.
func (b *bench) weightsLike(w device.Matrix) device.Matrix {
	w.Data, w.Scales, w.Biases = b.take(w.Rows*len(w.Data)), b.take(w.Rows*len(w.Scales)), b.take(w.Rows*len(w.Biases))
	return w
}

// rowsAlign is what rows of a matrix are a multiple of, for kernels.
const rowsAlign = 16
