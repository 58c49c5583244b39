package calibrate

import (
	"slices"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

// bench runs kernels of a device over an arena, so that each run reads other memory than the one before.
type bench struct {
	stream   device.Stream
	arena    []byte
	weights  []byte // smaller, in pages such as weights lie in
	at       int
	deadline time.Time // of all measurements
	part     *bench    // of which this is a part, or nil
	err      error     // the first failure of the device
}

// over is a bench on another arena.
func (b *bench) over(arena []byte) *bench {
	return &bench{stream: b.stream, arena: arena, deadline: b.deadline, part: b}
}

// take is the next bytes of the arena, from its beginning again when it ends.
func (b *bench) take(n int) []byte {
	if b.at+n > len(b.arena) {
		b.at = 0
	}
	p := b.arena[b.at : b.at+n]
	b.at += n
	return p
}

// fits reports whether an operation can read so many bytes in one piece.
func (b *bench) fits(bytes int) bool { return bytes <= len(b.arena) }

const (
	sampleTime = 50 * time.Microsecond // short operations are repeated for so long, and timed together
	fewSamples = 2
)

// late reports whether the time for all measurements is up.
func (b *bench) late() bool { return time.Now().After(b.deadline) }

// seconds is how long an operation takes: the lower quartile of some samples, taken for about as long as
// given. What disturbs a machine makes it slower, never faster, and some of it passes. Once the deadline has
// passed it is one sample.
func (b *bench) seconds(within time.Duration, op func()) float64 {
	run := func(times int) time.Duration {
		start := time.Now()
		for range times {
			op()
		}
		b.finish()
		return max(time.Since(start), 1)
	}
	first := run(1) // with cold caches and code
	if b.late() {
		return first.Seconds()
	}
	times := 1
	if first < sampleTime {
		times = int(sampleTime/first) + 1
	}
	var samples []float64
	for start := time.Now(); len(samples) == 0 || !b.late() && (len(samples) < fewSamples || time.Since(start) < within); {
		samples = append(samples, run(times).Seconds()/float64(times))
	}
	slices.Sort(samples)
	return samples[len(samples)/4]
}

// matrix is weights of the arena.
func (b *bench) matrix(rows, cols int) device.Matrix {
	return device.Matrix{Format: device.BF16, Rows: rows, Cols: cols, Data: b.take(2 * rows * cols)}
}

// filled is a tensor without zeros.
func filled(rows, cols int) device.Tensor {
	t := device.NewTensor(rows, cols)
	for i := range t.Data {
		t.Data[i] = 1 / float32(1+i%7)
	}
	return t
}

func ones(n int) []float32 { return filled(1, n).Data }

// headDim is the elements of a head in all that is measured. Per byte it makes little difference.
const headDim = 64

// layer is a decode step's pass through a layer with so many bytes of weights, attention aside, as package
// model's Decoder records it.
func (b *bench) layer(bytes int) func() {
	// Of hidden width h, with half as many KV heads as heads: 3 h^2 parameters, and 3 h i in an MLP of
	// width i, which is about 3 h.
	params := bytes / 2
	h := headDim
	for 12*(h+headDim)*(h+headDim) <= params {
		h += headDim
	}
	inner := (params - 3*h*h) / (3 * h)
	kvWidth := max(h/headDim/2, 1) * headDim
	x, norm, q, k, v := filled(1, h), filled(1, h), filled(1, h), filled(1, kvWidth), filled(1, kvWidth)
	gate, up := filled(1, inner), filled(1, inner)
	cos, sin := filled(1, headDim/2), filled(1, headDim/2)
	weight := ones(h)
	kv := attention.KV{Format: attention.F16, HeadDim: headDim, Cap: 1, K: make([]byte, 2*kvWidth), V: make([]byte, 2*kvWidth)}
	const eps = 1e-5
	s := b.stream
	return func() {
		s.RMSNorm(norm, x, weight, eps)
		s.MatMul(q, norm, b.matrix(h, h))
		s.MatMul(k, norm, b.matrix(kvWidth, h))
		s.MatMul(v, norm, b.matrix(kvWidth, h))
		s.Rope(q, headDim, cos, sin, false)
		s.Rope(k, headDim, cos, sin, false)
		s.Append(&kv, 0, k, v)
		s.MatMul(norm, q, b.matrix(h, h))
		s.Add(x, norm)
		s.RMSNorm(norm, x, weight, eps)
		s.MatMul(gate, norm, b.matrix(inner, h))
		s.MatMul(up, norm, b.matrix(inner, h))
		s.SwiGLU(gate, gate, up)
		s.MatMul(norm, gate, b.matrix(h, inner))
		s.Add(x, norm)
	}
}

// product is one matrix product with one row, of so many bytes of weights.
func (b *bench) product(bytes int) func() {
	const cols = 512
	rows := bytes / 2 / cols
	x, y := filled(1, cols), filled(1, rows)
	return func() { b.stream.MatMul(y, x, b.matrix(rows, cols)) }
}

const (
	kvHeads     = 4
	blockTokens = 256
	tokenBytes  = 2 * kvHeads * headDim * 2 // of keys and values, in halves
)

// attend is the attention of one token over so many bytes of keys and values, in halves, with so many query
// heads to a KV head.
func (b *bench) attend(bytes, group int) func() {
	shape := attention.Shape{Heads: kvHeads * group, KVHeads: kvHeads, HeadDim: headDim, Scale: 0.125}
	keys := bytes / tokenBytes
	q, out := filled(1, shape.Heads*headDim), filled(1, shape.Heads*headDim)
	part := attention.NewPartial(1, shape)
	kv := make([]attention.KV, (keys+blockTokens-1)/blockTokens)
	return func() {
		b.blocks(kv, keys)
		part.Reset()
		b.stream.Attend(part, q, keys-1, shape, kv)
		b.stream.Finish(out, part)
	}
}

// blocks makes blocks of so many tokens in all from the arena.
func (b *bench) blocks(kv []attention.KV, tokens int) {
	for i := range kv {
		n := min(blockTokens, tokens-i*blockTokens)
		data := b.take(n * tokenBytes)
		kv[i] = attention.KV{Format: attention.F16, HeadDim: headDim, First: i * blockTokens, Len: n, Cap: n, K: data[:len(data)/2], V: data[len(data)/2:]}
	}
}

// chunk is the rows of a prefill step.
const chunk = 1024

// chunkProduct is the matrix product of a prefill chunk with a matrix [width][width], and its operations.
func (b *bench) chunkProduct(width int) (op func(), operations float64) {
	x, y := filled(chunk, width), filled(chunk, width)
	return func() { b.stream.MatMul(y, x, b.matrix(width, width)) }, 2 * chunk * float64(width) * float64(width)
}

// chunkAttend is the attention of a prefill chunk of so many rows over as many keys each, and its operations.
func (b *bench) chunkAttend(rows, keys int) (op func(), operations float64) {
	const group = 4
	shape := attention.Shape{Heads: kvHeads * group, KVHeads: kvHeads, HeadDim: headDim, Scale: 0.125}
	q := filled(rows, shape.Heads*headDim)
	part := attention.NewPartial(rows, shape)
	kv := make([]attention.KV, (keys+blockTokens-1)/blockTokens)
	return func() {
		b.blocks(kv, keys)
		part.Reset()
		b.stream.Attend(part, q, keys, shape, kv)
	}, 4 * float64(rows) * float64(keys) * float64(shape.Heads*headDim)
}
