package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// shape is a layer of experts.
type shape struct{ experts, active, width, hidden int }

// expertCases are routing, and experts of few tokens, which is memory's, and of many.
func (b *bench) expertCases() []maker {
	s, many := shape{128, 8, 768, 2048}, 2048
	if b.opts.Tiny {
		s, many = shape{6, 2, 32, 64}, 40
	}
	list := []maker{routeCase(s, 1), routeCase(s, many)}
	for _, f := range []kernels.WeightFormat{kernels.BF16, kernels.Q8} {
		for _, tokens := range []int{1, 8, many} {
			list = append(list, expertsCase(f, s, tokens))
		}
	}
	return list
}

func routeCase(s shape, tokens int) maker {
	return maker{"route", fmt.Sprintf("%d tokens to %d of %d", tokens, s.active, s.experts), func(b *bench) (measured, error) {
		to, logits, err := b.routes(s, tokens)
		return measured{bytes: int64(4 * tokens * (s.experts + 2*s.active)), launch: func(int) error {
			return b.set.Route(b.queue, to, logits, tokens, s.experts, true)
		}}, err
	}}
}

// routes makes room for where tokens go, and the logits that say it.
func (b *bench) routes(s shape, tokens int) (to kernels.Routes, logits gpu.Range, err error) {
	to.Active = s.active
	for _, r := range []*gpu.Range{&to.Chosen, &to.Weights} {
		if *r, err = b.alloc(int64(4 * tokens * s.active)); err != nil {
			return
		}
	}
	logits, err = b.filled(int64(4*tokens*s.experts), singles(9, tokens*s.experts))
	return
}

// expertsCase goes through some layers, so that no cache holds the experts that tokens go to.
func expertsCase(f kernels.WeightFormat, s shape, tokens int) maker {
	return maker{"experts " + f.String(), fmt.Sprintf("%d tokens, %d of %d, [%d][%d]", tokens, s.active, s.experts, s.width, s.hidden), func(b *bench) (measured, error) {
		w, err := b.weights(f, 3*s.experts*s.width, s.hidden) // all matrices of a layer are as large as one of so many rows
		if err != nil {
			return measured{}, err
		}
		matrix := func(rows, cols int) kernels.Weights { return kernels.Weights{Format: f, Rows: rows, Cols: cols} }
		e := kernels.Experts{Gate: matrix(s.width, s.hidden), Down: matrix(s.hidden, s.width), Count: s.experts, Origin: w[0].Data}
		scales := w[0].Scales.Buffer.Address() + uint64(w[0].Scales.Offset) - e.Origin.Buffer.Address() - uint64(e.Origin.Offset)
		n := int64(s.width) * int64(s.hidden)
		each, apart := uint64(f.DataBytes(n)), uint64(f.ScaleBytes(n))
		table := make([]byte, 0, 48*s.experts)
		for i := range uint64(s.experts) {
			for part := range uint64(3) {
				table = binary.LittleEndian.AppendUint64(table, (3*i+part)*each)
				table = binary.LittleEndian.AppendUint64(table, scales+(3*i+part)*apart)
			}
		}
		if e.Table, err = b.filled(int64(len(table)), table); err != nil {
			return measured{}, err
		}
		to, _, err := b.routes(s, tokens)
		if err != nil {
			return measured{}, err
		}
		// Other experts for each launch, so that those of the last are in no cache.
		const turns = 16
		random := rand.New(rand.NewPCG(7, 7))
		var all []int32
		used := map[int32]bool{}
		for turn := range turns {
			for range tokens {
				for _, expert := range random.Perm(s.experts)[:s.active] {
					if all = append(all, int32(expert)); turn == 0 {
						used[int32(expert)] = true
					}
				}
			}
		}
		chosen, err := b.filled(int64(4*len(all)), bytesOf(all))
		if err != nil {
			return measured{}, err
		}
		pairs := tokens * s.active
		var room kernels.ExpertsRoom
		var x, dst gpu.Range
		for _, r := range []struct {
			at *gpu.Range
			n  int64
		}{{&room.Gate, int64(4 * pairs * s.width)}, {&room.Other, int64(4 * pairs * max(s.width, s.hidden))}, {&room.Lists, kernels.ListBytes(tokens, s.active, s.experts)},
			{&room.Terms, max(16, kernels.ExpertTerms(tokens, s.active, e))}, {&x, int64(4 * tokens * s.hidden)}, {&dst, int64(4 * tokens * s.hidden)}} {
			if *r.at, err = b.filled(r.n, singles(3, int(min(r.n, patternBytes)/4))); err != nil {
				return measured{}, err
			}
		}
		launch := func(i int) error {
			to.Chosen = gpu.Range{Buffer: chosen.Buffer, Offset: chosen.Offset + int64(4*pairs*(i%turns))}
			return b.set.Experts(b.queue, dst, x, to, e, room, tokens)
		}
		return measured{bytes: int64(len(used))*(2*e.Gate.Bytes()+e.Down.Bytes()) + int64(12*tokens*s.hidden), operations: 6 * float64(pairs) * float64(s.width) * float64(s.hidden), launch: launch}, nil
	}}
}
