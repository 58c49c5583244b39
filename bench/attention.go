package bench

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/internal/offheap"
)

// Attending says what to measure of attention alone, in this process, over made-up keys and values.
type Attending struct {
	Shape   attention.Shape
	Depths  []int              // keys, the queries' own included
	Formats []attention.Format // of keys and values
	Batches []int              // queries in one call, of the last tokens: 1 as in decode, a chunk as in prefill
	Threads int
	Block   int            // tokens of a block
	Repeat  int            // runs
	Done    func(Attended) // told of each as it is there; may be nil

	// Of tests, which have less time; 0: coldBytes and runTime.
	cold int           // least bytes that calls go over in turn, so that none finds its keys in a cache
	run  time.Duration // of each run
}

// Attended is how fast attention was at a depth, in one layer.
type Attended struct {
	Depth, Batch int
	Format       attention.Format
	Seconds      Spread  // of a call
	Bytes        int64   // of keys and values that a call needs, each once
	Pairs        float64 // of queries with keys that they see, in a call
	Operations   float64 // multiplications and additions of a call
	OfRead       Spread  // part of a plain read's speed that it reached, the read in turn with it
	OfPeak       Spread  // part of what the multipliers reach, measured just before, see [cpu.MeasurePeak]
}

// ReadRate is how many bytes/s the median run read.
func (a *Attended) ReadRate() float64 { return float64(a.Bytes) / a.Seconds.Median }

// Rate is the operations/s of the median run.
func (a *Attended) Rate() float64 { return a.Operations / a.Seconds.Median }

// Speed is tokens/s through one layer.
func (a *Attended) Speed() Spread {
	n := float64(a.Batch)
	return Spread{Min: n / a.Seconds.Max, Median: n / a.Seconds.Median, Max: n / a.Seconds.Min}
}

const (
	coldBytes = 768 << 20 // a few times the caches of a large processor
	// runTime is about how long a run is, half of which goes into the plain read.
	runTime  = 400 * time.Millisecond
	peakTime = 10 * time.Millisecond
)

// Check reports what cannot be measured.
func (o *Attending) Check() error {
	if len(o.Depths) == 0 || len(o.Formats) == 0 || len(o.Batches) == 0 || slices.Min(o.Depths) < 1 || slices.Min(o.Batches) < 1 || o.Threads < 1 || o.Block < 1 || o.Repeat < 1 {
		return fmt.Errorf("bench: %d depths, %d formats, %d batches, %d threads, blocks of %d, %d runs: there must be some of each",
			len(o.Depths), len(o.Formats), len(o.Batches), o.Threads, o.Block, o.Repeat)
	}
	if o.Block > orrery.MaxBlockTokens {
		return fmt.Errorf("bench: a block of %d is not between 1 and %d tokens", o.Block, orrery.MaxBlockTokens)
	}
	if least, most := slices.Min(o.Depths), slices.Max(o.Batches); most > least {
		return fmt.Errorf("bench: %d tokens attend at once, and there are %d keys, theirs included", most, least)
	}
	if s := o.Shape; s.KVHeads < 1 || s.HeadDim < 1 || s.Heads < 1 || s.Heads%s.KVHeads != 0 || s.HeadDim%8 != 0 {
		return fmt.Errorf("bench: %d heads, %d of keys and values, of %d elements: the first is a multiple of the second, the third of 8", s.Heads, s.KVHeads, s.HeadDim)
	}
	for _, f := range o.Formats {
		if err := f.Check(o.Shape.HeadDim); err != nil {
			return err
		}
	}
	return nil
}

// Run measures every batch in every format at every depth. It takes 768 MiB for keys and values, or as much as those of
// one layer if that is more.
func (o *Attending) Run(ctx context.Context) ([]Attended, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	d := cpu.New(o.Threads)
	defer d.Close()
	stream := d.NewStream()
	defer stream.Close()
	var all []Attended
	for _, depth := range o.Depths {
		for _, f := range o.Formats {
			more, err := o.over(ctx, stream, depth, f)
			all = append(all, more...)
			if err != nil {
				return all, fmt.Errorf("%v at %d tokens: %w", f, depth, err)
			}
		}
	}
	return all, nil
}

// over measures all batches over the same keys.
func (o *Attending) over(ctx context.Context, stream device.Stream, depth int, f attention.Format) (all []Attended, err error) {
	made, err := o.makeUp(depth, f)
	if err != nil {
		return nil, err
	}
	defer made.free()
	for _, batch := range o.Batches {
		a := Attended{Depth: depth, Batch: batch, Format: f, Bytes: int64(depth) * int64(o.Shape.KVBytes(f))}
		a.Pairs = float64(batch) * (float64(depth) - float64(batch-1)/2)
		a.Operations = 4 * a.Pairs * float64(o.Shape.Heads*o.Shape.HeadDim)
		if err := o.measure(ctx, stream, made, &a); err != nil {
			return all, err
		}
		if o.Done != nil {
			o.Done(a)
		}
		all = append(all, a)
	}
	return all, nil
}

func (o *Attending) measure(ctx context.Context, stream device.Stream, made *madeUp, a *Attended) error {
	q, part := device.NewTensor(a.Batch, o.Shape.Heads*o.Shape.HeadDim), attention.NewPartial(a.Batch, o.Shape)
	random := rand.New(rand.NewPCG(2, 1))
	for i := range q.Data {
		q.Data[i] = float32(random.NormFloat64())
	}
	attend := func(layer int) (time.Duration, error) {
		start := time.Now()
		stream.Reset(part)
		stream.Attend(part, q, a.Depth-a.Batch, o.Shape, made.layers[layer%len(made.layers)])
		err := stream.Wait()
		return time.Since(start), err
	}
	if _, err := attend(0); err != nil { // with cold code
		return err
	}
	var seconds, ofRead, ofPeak []float64
	layer := 0
	for range o.Repeat {
		peak := cpu.MeasurePeak(o.Threads, peakTime)
		var attending, reading time.Duration
		calls := 0
		for ; calls == 0 || attending+reading < cmp.Or(o.run, runTime); calls++ {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			reading += cpu.ReadOnce(made.ahead(int(a.Bytes)), o.Threads)
			took, err := attend(layer)
			if err != nil {
				return err
			}
			attending += took
			layer++
		}
		of := attending.Seconds() / float64(calls)
		seconds = append(seconds, of)
		ofRead = append(ofRead, reading.Seconds()/attending.Seconds())
		ofPeak = append(ofPeak, a.Operations/of/peak)
	}
	a.Seconds, a.OfRead, a.OfPeak = SpreadOf(seconds), SpreadOf(ofRead), SpreadOf(ofPeak)
	return nil
}

// madeUp is keys and values of some layers, one after the other in memory.
type madeUp struct {
	memory []byte
	layers [][]attention.KV
	at     int // where it is read next
}

// makeUp fills a block with random keys and values, and copies it.
func (o *Attending) makeUp(depth int, f attention.Format) (*madeUp, error) {
	size, blocks := o.Shape.BlockBytes(f, o.Block), (depth+o.Block-1)/o.Block
	cold := cmp.Or(o.cold, coldBytes)
	layers := (cold + size*blocks - 1) / (size * blocks)
	memory, err := offheap.MapHuge(layers * blocks * size)
	if err != nil {
		return nil, err
	}
	block := func(at, first int) attention.KV {
		data := memory[at : at+size]
		return attention.KV{Format: f, HeadDim: o.Shape.HeadDim, First: first, Len: min(o.Block, depth-first), Cap: o.Block, K: data[:size/2], V: data[size/2:]}
	}
	random, x := rand.New(rand.NewPCG(1, 1)), make([]float32, o.Shape.HeadDim)
	pattern := block(0, 0)
	for head := range o.Shape.KVHeads {
		for token := range o.Block {
			for _, data := range [][]byte{pattern.K, pattern.V} {
				for i := range x {
					x[i] = float32(random.NormFloat64())
				}
				pattern.Put(data, head, token, x)
			}
		}
	}
	m := &madeUp{memory: memory, at: len(memory) / 2, layers: make([][]attention.KV, layers)}
	at := 0
	for l := range m.layers {
		for first := 0; first < depth; first += o.Block {
			copy(memory[at:at+size], memory[:size])
			m.layers[l] = append(m.layers[l], block(at, first))
			at += size
		}
	}
	return m, nil
}

// ahead is as many bytes of the memory as attention to a layer reads, half of it ahead of where attention is: neither finds in
// a cache what the other has read.
func (m *madeUp) ahead(n int) []byte {
	if m.at+n > len(m.memory) {
		m.at = 0
	}
	m.at += n
	return m.memory[m.at-n : m.at]
}

func (m *madeUp) free() { offheap.Unmap(m.memory) }

// AttendedCurves are the curves of a picture, in millions of keys a second that a query attends to: one for each format and batch.
func AttendedCurves(all []Attended) []Curve {
	var curves curves
	for _, a := range all {
		name := a.Format.String()
		if a.Batch > 1 {
			name = fmt.Sprintf("%v, %d tokens", a.Format, a.Batch)
		}
		millions := a.Pairs / 1e6
		curves.add(name, Point{Depth: a.Depth, Speed: Spread{Min: millions / a.Seconds.Max, Median: millions / a.Seconds.Median, Max: millions / a.Seconds.Min}})
	}
	return curves
}
