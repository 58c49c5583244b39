package calibrate

import (
	"slices"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

// bench runs kernels of a device over an arena, so that each run reads other memory than the one before.
type bench struct {
	Subject
	stream   device.Stream
	arena    []byte // of the device
	weights  []byte // of the device: as much as caches hold of a model's weights
	at       int
	cold     bool      // what is read is to come from memory, see cool
	deadline time.Time // of all measurements
	once     bool      // what is measured does not matter: kernels are to be compiled
	turn     float64   // seconds that a wait for the device takes besides what it waits for
	err      *error    // the first failure of the device
	taken    *[][]byte // of the device
}

// newBench is a bench on an arena. close gives back what it takes.
func newBench(s Subject, arena []byte, deadline time.Time) *bench {
	return &bench{Subject: s, stream: s.Device.NewStream(), arena: arena, weights: first(arena, weightsBytes), deadline: deadline, err: new(error), taken: new([][]byte)}
}

// over is a bench on another arena.
func (b *bench) over(arena []byte) *bench {
	part := *b
	part.arena, part.at = arena, 0
	return &part
}

// first is so many bytes of an arena, or all of it.
func first(arena []byte, bytes int) []byte { return arena[:min(bytes, len(arena))] }

// release gives back what operations took, which are not used any more.
func (b *bench) release() {
	for _, t := range *b.taken {
		b.Device.Free(t)
	}
	*b.taken = nil
}

// close ends the bench. It returns the first failure.
func (b *bench) close() error {
	b.fail(b.stream.Close())
	b.release()
	return *b.err
}

func (b *bench) fail(err error) {
	if err != nil && *b.err == nil {
		*b.err = err
	}
}

// finish waits for what the stream was given.
func (b *bench) finish() { b.fail(b.stream.Wait()) }

// pieceAlign is what pieces of the arena begin at multiples of, for kernels.
const pieceAlign = 64

// take is the next bytes of the arena, from its beginning again when it ends.
func (b *bench) take(n int) []byte {
	if b.at+n > len(b.arena) {
		b.at = 0
	}
	p := b.arena[b.at : b.at+n]
	b.at += (n + pieceAlign - 1) &^ (pieceAlign - 1)
	return p
}

// fits reports whether an operation can read so many bytes in one piece.
func (b *bench) fits(bytes int) bool { return bytes <= len(b.arena) }

// How often short operations are repeated, to be timed together, and how many samples there are at the least: about as long as a step, which has the machine's interrupts in it, too,
// and memory as it is on average. Where steps that are alike are kept there are enough for some to come when the first are known.
const (
	sampleTime      = time.Millisecond
	alikeSampleTime = 600 * time.Microsecond
	fewSamples      = 3
	fewAlikeSamples = 4
	fewAlike        = 8 // operations of a sample
)

// late reports whether the time for all measurements is up.
func (b *bench) late() bool { return time.Now().After(b.deadline) }

// run is how long so many operations take together.
func (b *bench) run(times int, op func()) float64 {
	if b.Alike {
		b.at = 0
	}
	start := time.Now()
	for range times {
		op()
	}
	b.finish()
	return time.Since(start).Seconds()
}

// seconds is how long an operation takes: the median of some samples, taken for about as long as
// given, as the time of a step that is predicted is a median. Once the deadline has passed it is one sample.
func (b *bench) seconds(within time.Duration, op func()) float64 {
	if *b.err != nil {
		return shortest
	}
	at := b.at
	first := b.run(1, op) // with cold caches and code
	reads := b.since(at)
	if b.cold && b.flush(nil) && !b.once && !b.late() {
		b.cool(reads, 1, op)
		first = b.run(1, op)
	}
	switch {
	case b.once:
		return b.run(1, op)
	case b.late():
		return first
	case b.Alike && first < launchesFor:
		return b.among(within, first, op)
	}
	times := 1
	if first < sampleTime.Seconds() {
		times = int(sampleTime.Seconds()/first) + 1
	}
	all := b.samples(within, fewSamples, func() float64 {
		b.cool(reads, times, op)
		return b.run(times, op) / float64(times)
	})
	return all[len(all)/2]
}

// among is how long an operation takes among others of its kind: what more of them take more. So what it takes to hand over the first ones, and to wait for the last,
// does not count.
func (b *bench) among(within time.Duration, first float64, op func()) float64 {
	alone := max(first-b.turn, first/16) // about
	times := max(int(alikeSampleTime.Seconds()/alone)+1, fewAlike)
	few := b.quartile(within/4, fewAlikeSamples, func() float64 { return b.run(times, op) })
	many := b.quartile(within*3/4, fewAlikeSamples, func() float64 { return b.run(3*times, op) })
	return max((many-few)/float64(2*times), shortest)
}

// quartile is the lower quartile of samples: what disturbs a machine makes it slower, never faster, and some of it passes.
func (b *bench) quartile(within time.Duration, few int, sample func() float64) float64 {
	all := b.samples(within, few, sample)
	return all[len(all)/4]
}

// samples is some samples, in order: few at the least, unless it is late.
func (b *bench) samples(within time.Duration, few int, sample func() float64) (all []float64) {
	for start := time.Now(); len(all) == 0 || !b.late() && *b.err == nil && (len(all) < few || time.Since(start) < within); {
		all = append(all, sample())
	}
	slices.Sort(all)
	return all
}

// shortest is what anything takes, in seconds.
const shortest = 1e-8

// floats takes n elements of the device.
func (b *bench) floats(n int) []float32 {
	data, err := b.Device.Alloc(4 * n)
	if err != nil {
		b.fail(err) // so that nothing runs
		return make([]float32, n)
	}
	*b.taken = append(*b.taken, data)
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(data))), n)
}

// ints takes n whole numbers of the device.
func (b *bench) ints(n int) []int32 {
	data := b.floats(n)
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(data))), n)
}

// filled is a tensor without zeros.
func (b *bench) filled(rows, cols int) device.Tensor {
	t := device.Tensor{Rows: rows, Cols: cols, Data: b.floats(rows * cols)}
	if *b.err == nil {
		b.fail(b.Device.Write(bytesOf(t.Data), bytesOf(someFloats(rows*cols))))
	}
	return t
}

func someFloats(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 1 / float32(1+i%7)
	}
	return x
}

func bytesOf[T float32 | int32](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// matrix is weights of the arena.
func (b *bench) matrix(rows, cols int) device.Matrix {
	return device.Matrix{Format: device.BF16, Rows: rows, Cols: cols, Data: b.take(2 * rows * cols)}
}

// eps is that of norms.
const eps = 1e-5

// layer is a decode step's pass through a layer with so many bytes of weights, attention aside, as package
// model's Decoder records it.
func (b *bench) layer(bytes int) func() {
	// Of hidden width h, with half as many KV heads as heads: 3 h^2 parameters, and 3 h i in an MLP of
	// width i, which is about 3 h.
	const dim, multiple = 64, 32 // elements of a head, and what devices want widths to be multiples of
	params := bytes / 2
	h := dim
	for 12*(h+dim)*(h+dim) <= params {
		h += dim
	}
	inner := max((params-3*h*h)/(3*h)&^(multiple-1), multiple)
	kvWidth := max(h/dim/2, 1) * dim
	x, norm, q, k, v := b.filled(1, h), b.filled(1, h), b.filled(1, h), b.filled(1, kvWidth), b.filled(1, kvWidth)
	gate, up := b.filled(1, inner), b.filled(1, inner)
	cos, sin := b.filled(1, dim/2), b.filled(1, dim/2)
	weight := b.filled(1, h).Data
	room := bytesOf(b.floats(kvWidth)) // a token's keys and values
	kv := attention.KV{Format: attention.F16, HeadDim: dim, Cap: 1, K: room[:2*kvWidth], V: room[2*kvWidth:]}
	s := b.stream
	return func() {
		s.RMSNorm(norm, x, weight, eps)
		s.MatMul(q, norm, b.matrix(h, h))
		s.MatMul(k, norm, b.matrix(kvWidth, h))
		s.MatMul(v, norm, b.matrix(kvWidth, h))
		s.Rope(q, dim, cos, sin, false)
		s.Rope(k, dim, cos, sin, false)
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

// product is one matrix product with one row, of so many bytes of weights: the head of a small model has few columns.
func (b *bench) product(bytes int) func() {
	cols := 512
	if bytes >= 32<<20 {
		cols = 4096
	}
	rows := bytes / 2 / cols
	x, y := b.filled(1, cols), b.filled(1, rows)
	return func() { b.stream.MatMul(y, x, b.matrix(rows, cols)) }
}

// blockTokens is the tokens of a block of keys and values.
const blockTokens = 256

// KVHeads and HeadDim are what is attended to on processors. Per byte it makes little difference.
const (
	KVHeads = 4
	HeadDim = 64
)

// shape is attention with so many query heads to a KV head.
func (b *bench) shape(group int) attention.Shape {
	return attention.Shape{Heads: b.KVHeads * group, KVHeads: b.KVHeads, HeadDim: b.HeadDim, Scale: 0.125}
}

// attend is the attention of one token over so many bytes of keys and values in a format, with so many query
// heads to a KV head.
func (b *bench) attend(bytes, group int, f attention.Format) func() {
	shape := b.shape(group)
	keys := bytes / shape.KVBytes(f)
	q, out := b.filled(1, shape.Heads*b.HeadDim), b.filled(1, shape.Heads*b.HeadDim)
	part := attention.PartialIn(b.floats, 1, shape)
	type place struct {
		kv   []attention.KV
		next int
	}
	places := map[int]place{} // by where they begin in the arena: a step finds its blocks made, too
	return func() {
		at, ok := places[b.at]
		if !ok {
			begin := b.at
			at.kv = make([]attention.KV, (keys+blockTokens-1)/blockTokens)
			b.blocks(at.kv, keys, f)
			at.next = b.at
			places[begin] = at
		}
		b.at = at.next
		b.stream.Reset(part)
		b.stream.Attend(part, q, keys-1, shape, at.kv)
		b.stream.Finish(out, part)
	}
}

// blocks makes blocks of so many tokens in all from the arena.
func (b *bench) blocks(kv []attention.KV, tokens int, f attention.Format) {
	for i := range kv {
		n := min(blockTokens, tokens-i*blockTokens)
		data := b.take(b.shape(1).BlockBytes(f, n))
		kv[i] = attention.KV{Format: f, HeadDim: b.HeadDim, First: i * blockTokens, Len: n, Cap: n, K: data[:len(data)/2], V: data[len(data)/2:]}
	}
}

// chunkProduct is the matrix product of so many rows with a matrix [width][width] in a format, and its operations; nil if the arena is too small, or the device has none.
func (b *bench) chunkProduct(f device.Format) func(rows, width int) (op func(), operations float64) {
	return func(rows, width int) (op func(), operations float64) {
		row, ok := b.row(f, width)
		if !ok || !b.fits(width*len(row.Data)) {
			return nil, 0
		}
		row.Rows = width
		x, y := b.filled(rows, width), b.filled(rows, width)
		return func() { b.stream.MatMul(y, x, b.weightsLike(row)) }, 2 * float64(rows) * float64(width) * float64(width)
	}
}

// chunkAttend is the attention of a prefill chunk of so many rows over as many keys each, and its operations; nil if the arena is too small.
func (b *bench) chunkAttend(rows, keys int) (op func(), operations float64) {
	const group = 4
	shape := b.shape(group)
	if !b.fits(keys * shape.KVBytes(attention.F16)) {
		return nil, 0
	}
	q := b.filled(rows, shape.Heads*b.HeadDim)
	part := attention.PartialIn(b.floats, rows, shape)
	kv := make([]attention.KV, (keys+blockTokens-1)/blockTokens)
	return func() {
		b.blocks(kv, keys, attention.F16)
		b.stream.Reset(part)
		b.stream.Attend(part, q, keys, shape, kv)
	}, 4 * float64(rows) * float64(keys) * float64(shape.Heads*b.HeadDim)
}
