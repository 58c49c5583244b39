package sampling

import (
	"errors"
	"fmt"
	"math"
)

// A Sampler holds the scratch of sampling: it allocates only when the vocabulary grows. The zero value is
// ready. It belongs to one goroutine.
type Sampler struct {
	candidates []candidate // in order of their ids
	heap       []candidate // of those that top-p may keep, with the heaviest first
	largest    []float32   // the k largest logits, as a heap with the smallest first
}

// candidate is a token that may still be drawn.
type candidate struct {
	id     int32
	weight float64 // e^((logit-max)/temperature): its probability, but for a common factor; at most 1
}

// Sample returns the token for a position, from the logits [vocabulary] of the one before. logits are not
// changed. A logit of -Inf is never drawn. It is an error if a logit is NaN, if the largest is infinite, if
// there are none, or if p is not valid.
func (s *Sampler) Sample(logits []float32, p Params, position int) (int32, error) {
	if err := p.Validate(); err != nil {
		return 0, err
	}
	best, err := argmax(logits)
	if err != nil || p.Temperature == 0 {
		return best, err
	}
	kept := s.weigh(logits, logits[best], p)
	if p.TopP > 0 && p.TopP < 1 {
		kept = s.keepTop(kept, float64(p.TopP))
	}
	if p.MinP > 0 {
		kept = keepAbove(kept, float64(p.MinP)) // the heaviest weighs 1
	}
	return draw(kept, uniform(p.Seed, position)), nil
}

// argmax is the lowest id with the largest logit.
func argmax(logits []float32) (int32, error) {
	if len(logits) == 0 {
		return 0, errors.New("no logits")
	}
	best, most := 0, float32(math.Inf(-1))
	for i, v := range logits {
		if v > most {
			best, most = i, v
		} else if v != v {
			return 0, fmt.Errorf("logit %d is NaN", i)
		}
	}
	if math.IsInf(float64(most), 0) {
		return 0, fmt.Errorf("the largest logit is %v", most)
	}
	return int32(best), nil
}

// weigh makes candidates, in order of their ids, of the tokens that top-k leaves.
func (s *Sampler) weigh(logits []float32, most float32, p Params) []candidate {
	least := float32(math.Inf(-1))
	if 0 < p.TopK && p.TopK < len(logits) {
		least = s.kthLargest(logits, p.TopK)
	}
	s.candidates = s.candidates[:0]
	scale := 1 / float64(p.Temperature)
	for id, v := range logits {
		if v < least {
			continue
		}
		if w := math.Exp((float64(v) - float64(most)) * scale); w > 0 {
			s.candidates = append(s.candidates, candidate{int32(id), w})
		}
	}
	return s.candidates
}

// kthLargest is the k-th largest of values, which are more than k.
func (s *Sampler) kthLargest(values []float32, k int) float32 {
	h := append(s.largest[:0], values[:k]...)
	for i := k/2 - 1; i >= 0; i-- {
		siftDown(h, i, smaller)
	}
	for _, v := range values[k:] {
		if v > h[0] {
			h[0] = v
			siftDown(h, 0, smaller)
		}
	}
	s.largest = h
	return h[0]
}

// keepTop keeps the fewest candidates, heaviest first and lower ids first among equals, that hold the share
// p of the weight, in their order. It overwrites cs.
func (s *Sampler) keepTop(cs []candidate, p float64) []candidate {
	total := sum(cs)
	// The candidates lighter than this hold less than 1-p together, so the others suffice.
	least := (1 - p) * total / float64(len(cs))
	heap := s.heap[:0]
	for _, c := range cs {
		if c.weight >= least {
			heap = append(heap, c)
		}
	}
	s.heap = heap
	for i := len(heap)/2 - 1; i >= 0; i-- {
		siftDown(heap, i, heavier)
	}
	var last candidate
	for held := 0.0; len(heap) > 0 && held < p*total; {
		last = heap[0]
		held += last.weight
		end := len(heap) - 1
		heap[0] = heap[end]
		heap = heap[:end]
		siftDown(heap, 0, heavier)
	}
	kept := cs[:0]
	for _, c := range cs {
		if !heavier(last, c) {
			kept = append(kept, c)
		}
	}
	return kept
}

// keepAbove keeps the candidates of at least the weight, in their order. It overwrites cs.
func keepAbove(cs []candidate, weight float64) []candidate {
	kept := cs[:0]
	for _, c := range cs {
		if c.weight >= weight {
			kept = append(kept, c)
		}
	}
	return kept
}

func sum(cs []candidate) (total float64) {
	for _, c := range cs {
		total += c.weight
	}
	return total
}

// draw is the candidate in which the share u, from 0 to 1 without 1, of the weight lies, in order of their ids.
func draw(cs []candidate, u float64) int32 {
	left := u * sum(cs)
	for _, c := range cs {
		if left -= c.weight; left < 0 {
			return c.id
		}
	}
	return cs[len(cs)-1].id // rounding
}

func smaller(a, b float32) bool   { return a < b }
func heavier(a, b candidate) bool { return a.weight > b.weight || a.weight == b.weight && a.id < b.id }

// siftDown restores the heap h, in which no element is before its parent, below i.
func siftDown[T any](h []T, i int, before func(a, b T) bool) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && before(h[c+1], h[c]) {
			c++
		}
		if !before(h[c], h[i]) {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}
