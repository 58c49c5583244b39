package placement

import (
	"fmt"
	"slices"
)

// Work is what computing with a model takes, where [Model] is what holding it takes. Sizes are in bytes.
type Work struct {
	ReadBytes    []int64            // [layers] weights that decoding one token reads in each layer: of experts, the active ones
	HeadRead     int64              // weights of the head, which decoding reads once a token
	ReadIn       []map[string]int64 // [layers] of ReadBytes, those in each of WeightFormats, by name; nil: none are
	HeadIn       map[string]int64   // the same of HeadRead
	ExpertShare  []float64          // [layers] the share of its experts that a token goes to, in 0..1; 0, or nil: a layer without experts
	TokenFLOPs   []float64          // [layers] operations of one token's matrix products in each layer
	HeadFLOPs    float64            // and in the head
	PairFLOPs    []float64          // [layers] operations of attention between one query and one key in each layer, all heads
	KVBits       int                // of an element of keys and values as it is stored: 32, 16, 8 or 4; 0 is 16
	HiddenBytes  int64              // the hidden state of one token, as one node hands it to the next
	QueryBytes   int64              // one token's queries of a layer, as an owner sends them to a holder
	PartialBytes int64              // the holder's answer: (o, m, l) of every head
}

// Link is the way from one node to another.
type Link struct {
	Latency   float64 // one way, seconds
	Bandwidth float64 // bytes/s
	Sending   float64 // seconds of Latency in which the sender can do nothing else, such as send to another node
	// Ahead is how long an exchange takes that was recorded ahead on the devices of both ends, of AheadBytes each way,
	// in seconds: it may go another way than messages of the hosts. 0 says that it is not known, or that they make none.
	Ahead float64
	// Telling is how long it keeps the node at the other end from computing to tell of a step that it has done and to take
	// in the next one, in seconds. It counts on the way from the process that drives the steps.
	Telling float64
}

// AheadBytes is the size of the messages with which exchanges of devices are measured, in bytes: about the queries of a
// token in a layer of a large model.
const AheadBytes = 16 << 10

// transfer is the time in which so many bytes arrive.
func (l Link) transfer(bytes float64) float64 { return l.Latency + bytes/l.Bandwidth }

const maxLatency = 3600 // seconds

func (l Link) check() error {
	if !(l.Latency >= 0 && l.Latency <= maxLatency) {
		return fmt.Errorf("latency %v is not in 0..%d seconds", l.Latency, maxLatency)
	}
	if !(l.Sending >= 0 && l.Sending <= l.Latency) {
		return fmt.Errorf("sending for %v seconds is not in 0..%v, the latency", l.Sending, l.Latency)
	}
	if !(l.Ahead >= 0 && l.Ahead <= maxLatency) {
		return fmt.Errorf("an exchange of %v seconds is not in 0..%d", l.Ahead, maxLatency)
	}
	if !(l.Telling >= 0 && l.Telling <= maxLatency) {
		return fmt.Errorf("telling of a step for %v seconds is not in 0..%d", l.Telling, maxLatency)
	}
	if !(l.Bandwidth >= 1 && l.Bandwidth <= maxBandwidth) {
		return fmt.Errorf("bandwidth %v is not in 1..1e18 bytes/s", l.Bandwidth)
	}
	return nil
}

const maxFLOPS = 1e24 // operations, and operations/s

// check finds what is wrong with the work of a model of so many layers, and names it.
func (w *Work) check(m *Model) error {
	layers := len(m.LayerBytes)
	for _, f := range []struct {
		name string
		n    int
	}{{"ReadBytes", len(w.ReadBytes)}, {"TokenFLOPs", len(w.TokenFLOPs)}, {"PairFLOPs", len(w.PairFLOPs)}} {
		if f.n != layers {
			return fmt.Errorf("placement: model %q: %s is of %d layers, LayerBytes of %d", m.Name, f.name, f.n, layers)
		}
	}
	for _, f := range []struct {
		name string
		n    int64
	}{{"HeadRead", w.HeadRead}, {"HiddenBytes", w.HiddenBytes}, {"QueryBytes", w.QueryBytes}, {"PartialBytes", w.PartialBytes}} {
		if f.n < 0 || f.n > maxBytes {
			return fmt.Errorf("placement: model %q: %s %d is not in 0..2^50", m.Name, f.name, f.n)
		}
	}
	if w.KVBits != 0 && w.KVBits != 16 && w.KVBits != 32 && !slices.Contains(PackedBits[:], w.KVBits) {
		return fmt.Errorf("placement: model %q: KVBits %d are not 32, 16, 8 or 4", m.Name, w.KVBits)
	}
	if w.ReadIn != nil && len(w.ReadIn) != layers {
		return fmt.Errorf("placement: model %q: ReadIn is of %d layers, LayerBytes of %d", m.Name, len(w.ReadIn), layers)
	}
	for l, formats := range w.ReadIn {
		if err := checkFormats(w.ReadBytes[l], formats); err != nil {
			return fmt.Errorf("placement: model %q layer %d: %w", m.Name, l, err)
		}
	}
	if err := checkFormats(w.HeadRead, w.HeadIn); err != nil {
		return fmt.Errorf("placement: model %q: head: %w", m.Name, err)
	}
	if w.ExpertShare != nil && len(w.ExpertShare) != layers {
		return fmt.Errorf("placement: model %q: ExpertShare is of %d layers, LayerBytes of %d", m.Name, len(w.ExpertShare), layers)
	}
	for l, share := range w.ExpertShare {
		if !(share >= 0 && share <= 1) {
			return fmt.Errorf("placement: model %q layer %d: ExpertShare %v is not in 0..1", m.Name, l, share)
		}
	}
	operations := func(n float64) bool { return n >= 0 && n <= maxFLOPS }
	if !operations(w.HeadFLOPs) {
		return fmt.Errorf("placement: model %q: HeadFLOPs %v is not in 0..1e24", m.Name, w.HeadFLOPs)
	}
	for l := range layers {
		switch {
		case w.ReadBytes[l] < 0 || w.ReadBytes[l] > m.LayerBytes[l]:
			return fmt.Errorf("placement: model %q layer %d: ReadBytes %d is not in 0..%d, its LayerBytes", m.Name, l, w.ReadBytes[l], m.LayerBytes[l])
		case !operations(w.TokenFLOPs[l]) || !operations(w.PairFLOPs[l]):
			return fmt.Errorf("placement: model %q layer %d: TokenFLOPs %v or PairFLOPs %v is not in 0..1e24", m.Name, l, w.TokenFLOPs[l], w.PairFLOPs[l])
		}
	}
	return nil
}
