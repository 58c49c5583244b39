package kvcache

import (
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/residence"
)

// errStopped ends a fill whose caller wants no more of it.
var errStopped = errors.New("the filling was stopped")

// Fill stores keys and values of r that f makes up in whole blocks of a batch, as if they had been copied here;
// an epoch that has them is taken up later. Between blocks it asks stop. It returns the bytes made, whether or
// not there is an error.
func (s *Sequence) Fill(batch uint64, r residence.Rect, f *Filler, stop func() bool) (bytes int64, err error) {
	size := s.geometry.BlockTokens
	for first := r.Tokens.First; first < r.Tokens.End; {
		block := residence.Rect{Layers: r.Layers, Tokens: residence.Span{First: first, End: min((first/size+1)*size, r.Tokens.End)}}
		for l := r.Layers.First; l < r.Layers.End; l++ {
			if stop() {
				return bytes, errStopped
			}
			kv, memory, err := s.incoming(batch, block, l)
			if err != nil {
				return bytes, err
			}
			err = f.fill(s.geometry.Memory, kv, l)
			memory.release()
			if err != nil {
				return bytes, err
			}
			s.mu.Lock()
			kv.Len = block.Tokens.Len()
			s.mu.Unlock()
			bytes += s.geometry.LayerBytes(block.Tokens.Len())
		}
		first = block.Tokens.End
	}
	return bytes, nil
}

// fillRows is how many different rows there are: few enough to stay in a near cache, enough for attention
// to differ from token to token.
const fillRows = 1024

// Filler makes keys and values up. They are a function of (seed, layer, position, head) alone, so they do not
// depend on which node makes them up. Each row is one of fillRows, of normal deviates.
type Filler struct {
	seed     uint64
	geometry Geometry
	rows     attention.KV // one head's fillRows rows, in K, in the format of the cache
	half     []byte       // what is written next
}

// NewFiller makes up what fits the geometry.
func NewFiller(g Geometry, seed uint64) *Filler {
	dim := g.Shape.HeadDim
	f := &Filler{seed: seed, geometry: g, rows: attention.KV{Format: g.Format, HeadDim: dim, Cap: fillRows, K: make([]byte, g.Format.PlaneBytes(dim, fillRows))}}
	rng := rand.New(rand.NewPCG(seed, fillRows))
	row := make([]float32, g.Shape.HeadDim)
	for i := range fillRows {
		for j := range row {
			row[j] = float32(rng.NormFloat64())
		}
		f.rows.Put(f.rows.K, 0, i, row)
	}
	return f
}

// fill writes every row for which kv, a block in m, has room.
func (f *Filler) fill(m device.Memory, kv *attention.KV, layer int) error {
	f.half = slices.Grow(f.half[:0], len(kv.K))[:len(kv.K)]
	dim := f.geometry.Shape.HeadDim
	for part, to := range [][]byte{kv.K, kv.V} {
		for head := range f.geometry.Shape.KVHeads {
			for t := range kv.Cap {
				kv.Copy(f.half, head, t, &f.rows, f.rows.K, 0, f.row(layer, kv.First+t, 2*head+part), dim)
			}
		}
		if err := m.Write(to, f.half); err != nil {
			return err
		}
	}
	return nil
}

// row is which of the rows the key (even part) or value (odd part) of a head is.
func (f *Filler) row(layer, position, part int) int {
	// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014) spreads every bit over all.
	h := f.seed + uint64(layer)<<48 + uint64(part)<<32 + uint64(position)
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return int((h ^ h>>31) % fillRows)
}
