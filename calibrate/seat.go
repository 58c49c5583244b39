package calibrate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport"
)

// What a seat is told to do, in the first byte of a message; the part of its memory that is meant follows.
const (
	sayRoom       byte = iota // say how much memory it has
	forgetPart                // have the caches hold nothing of a part, where they can be emptied
	attendRate                // attend to a part as rates are measured, in blocks that lie in order, and say how long that takes for a byte
	attendTo                  // attend to a part that lies as a model's keys and values do
	forgetWeights             // have the caches hold nothing of so many bytes of weights
	multiply                  // compute what layers of so many bytes do besides attention
)

// Layout is what seats read: weights, and keys and values that lie block by block of tokens, and in a block layer by layer.
type Layout struct {
	Layers, KVHeads, HeadDim int
	LayerBytes               int64 // of a layer's weights; 0 is none
}

// The most of each that a layout has.
const (
	mostLayers  = 1 << 12
	mostKVHeads = 1 << 10
	mostHeadDim = 1 << 10
)

// Check finds what no model has: it may have come from another node.
func (l Layout) Check() error {
	if l.Layers < 1 || l.Layers > mostLayers || l.KVHeads < 1 || l.KVHeads > mostKVHeads || l.HeadDim < 2 || l.HeadDim > mostHeadDim || l.HeadDim%2 != 0 || l.LayerBytes < 0 {
		return fmt.Errorf("%d layers of %d heads with %d elements: a seat cannot attend to that", l.Layers, l.KVHeads, l.HeadDim)
	}
	return nil
}

// weights is how many bytes of weights each of some seats reads: 0 where caches hold none to speak of, or there are too few to measure.
func (l Layout) weights(seats int) int {
	if l.LayerBytes < leastLayer || l.LayerBytes > weightsBytes {
		return 0
	}
	if part := l.LayerBytes * int64(l.Layers) / int64(seats); part <= weightsBytes {
		return int(part)
	}
	return 0
}

const leastLayer = 64 << 10

// SeatBytes is the memory that a seat takes for the time being: for keys and values, and for weights.
const SeatBytes = seatArena + weightsBytes

const seatArena = 256 << 20

// Seat is a node's part in a sitting, see [Sit]: memory full of keys and values, to which it attends as it is told over a lane.
type Seat struct {
	in         *transport.Receiver
	out        *transport.Sender
	layout     Layout
	bench      *bench
	multiplies *bench              // over weights
	layer      func()              // of those; nil where they are too many
	passes     map[pass]func() int // which return how many bytes they attend to
	free       func()
}

// pass is attention to all layers of a part of the memory.
type pass struct {
	verb         byte
	first, bytes int
}

// NewSeat takes memory and makes the lanes to who directs the sitting, which must be ready.
func NewSeat(e *transport.Endpoint, from string, id uint64, d device.Device, l Layout) (*Seat, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	arena, free, err := newArena(d, 8*seatArena, fillTime)
	if err != nil {
		return nil, err
	}
	weights, freeWeights, err := newArena(d, 8*weightsBytes, arenaTime)
	if err != nil {
		free()
		return nil, err
	}
	s := &Seat{layout: l, passes: map[pass]func() int{}, free: func() { free(); freeWeights() }}
	s.bench = newBench(Subject{Device: d, KVHeads: KVHeads, HeadDim: HeadDim}, arena, time.Now().Add(SittingTime))
	s.bench.weights = weights
	if l.LayerBytes >= leastLayer && l.LayerBytes <= int64(len(weights)) {
		s.multiplies = s.bench.over(weights)
		s.layer = s.multiplies.layer(int(l.LayerBytes))
	}
	if s.in, err = e.Receiver(from, probeLane(id, false), seatBytes); err != nil {
		return nil, errors.Join(err, s.close())
	}
	out, err := e.Sender(from, probeLane(id, true), seatBytes)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.out = out
	return s, nil
}

// seatBytes is the size of messages to a seat and from it.
const seatBytes = 1 + 2*8

func (s *Seat) close() error {
	if s.out != nil {
		s.out.Close()
	}
	if s.in != nil {
		s.in.Close()
	}
	defer s.free()
	return s.bench.close()
}

// Serve does what it is told until who directs closes his lanes, ctx ends, or SittingTime has passed. Then the seat is free.
func (s *Seat) Serve(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.close()) }()
	ctx, cancel := context.WithTimeout(ctx, SittingTime)
	defer cancel()
	deadline, _ := ctx.Deadline()
	defer context.AfterFunc(ctx, s.in.Close)()
	for {
		m, err := s.in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		said, err := s.do(m.Bytes)
		m.Release()
		if err == nil {
			err = s.out.Send(deadline, binary.LittleEndian.AppendUint64(nil, math.Float64bits(said)))
		}
		if err != nil {
			return err
		}
	}
}

// do does as a message tells, and returns what is to be said.
func (s *Seat) do(message []byte) (float64, error) {
	if len(message) != seatBytes {
		return 0, fmt.Errorf("a seat is told something in %d bytes, not %d", len(message), seatBytes)
	}
	arena := s.bench.arena
	if message[0] == forgetWeights || message[0] == multiply {
		arena = s.bench.weights
	}
	begin, n := binary.LittleEndian.Uint64(message[1:]), binary.LittleEndian.Uint64(message[9:])
	if room := uint64(len(arena)); begin%pieceAlign != 0 || begin > room || n > room-begin {
		return 0, fmt.Errorf("a seat with %d bytes is told to read %d from %d on", room, n, begin)
	}
	switch message[0] {
	case sayRoom:
		return float64(len(arena)), nil
	case forgetPart, forgetWeights:
		s.bench.flush(arena[begin : begin+n])
		return 0, nil
	case attendRate, attendTo:
		key := pass{message[0], int(begin), int(n)}
		do := s.passes[key]
		if do == nil {
			if len(s.passes) == mostPasses {
				return 0, fmt.Errorf("a seat is told to attend to more than %d parts", mostPasses)
			}
			do = s.newPass(key)
			s.passes[key] = do
		}
		if *s.bench.err != nil {
			return 0, *s.bench.err
		}
		start := time.Now()
		bytes := do()
		s.bench.finish()
		return time.Since(start).Seconds() / float64(bytes), *s.bench.err
	case multiply:
		if s.layer == nil {
			return 0, errors.New("a seat has no room for a layer's weights")
		}
		size := int(s.layout.LayerBytes)
		times := max((int(n)+size/2)/size, 1)
		s.multiplies.arena, s.multiplies.at = first(arena, times*size), 0
		start := time.Now()
		for range times {
			s.layer()
		}
		s.multiplies.finish()
		return time.Since(start).Seconds() / float64(times*size), *s.bench.err
	}
	return 0, fmt.Errorf("a seat is told to do %d, which it does not know", message[0])
}

// mostPasses bounds what a seat remembers.
const mostPasses = 256

// fewBlocks is how many blocks each layer has at the least, or else there are fewer layers.
const fewBlocks = 8

// newPass is attention to a part of the arena, layer by layer. Of blocks that do not fit there is one, of fewer tokens.
func (s *Seat) newPass(p pass) (do func() int) {
	b := *s.bench
	if p.verb == attendTo {
		b.KVHeads, b.HeadDim = s.layout.KVHeads, s.layout.HeadDim
	}
	shape := b.shape(int(placement.Intensities[0]))
	tokens := min(blockTokens, p.bytes/shape.KVBytes(attention.F16))
	if tokens == 0 {
		s.bench.fail(fmt.Errorf("a token's keys and values are more than the %d bytes of a seat", p.bytes))
		return nil
	}
	piece := shape.BlockBytes(attention.F16, tokens)
	layers := min(max(p.bytes/piece/fewBlocks, 1), s.layout.Layers)
	blocks := p.bytes / piece / layers
	kv := make([][]attention.KV, layers)
	for l := range layers {
		for i := range blocks {
			at := l*blocks + i
			if p.verb == attendTo {
				at = i*layers + l
			}
			data := b.arena[p.first+at*piece:][:piece]
			kv[l] = append(kv[l], attention.KV{Format: attention.F16, HeadDim: b.HeadDim, First: i * tokens, Len: tokens, Cap: tokens, K: data[:piece/2], V: data[piece/2:]})
		}
	}
	q, out := b.filled(1, shape.Heads*b.HeadDim), b.filled(1, shape.Heads*b.HeadDim)
	part := attention.PartialIn(b.floats, 1, shape)
	return func() int {
		for _, kv := range kv {
			b.stream.Reset(part)
			b.stream.Attend(part, q, blocks*tokens-1, shape, kv)
			b.stream.Finish(out, part)
		}
		return layers * blocks * piece
	}
}
