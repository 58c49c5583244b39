package residence

import (
	"cmp"
	"fmt"
	"slices"
)

// Span is a half-open range, of layers or of tokens.
type Span struct{ First, End int }

// Len is the number of elements.
func (s Span) Len() int { return s.End - s.First }

// Intersect is the part common to both; it is empty (Len <= 0) when there is none.
func (s Span) Intersect(t Span) Span {
	return Span{max(s.First, t.First), min(s.End, t.End)}
}

// Contains reports whether i lies in s.
func (s Span) Contains(i int) bool { return s.First <= i && i < s.End }

func (s Span) String() string { return fmt.Sprintf("%d-%d", s.First, s.End) }

// Rect is a part of a sequence's KV cache: some layers of some tokens.
type Rect struct{ Layers, Tokens Span }

// Area is the number of (layer, token) pairs.
func (r Rect) Area() int {
	if r.Layers.Len() <= 0 || r.Tokens.Len() <= 0 {
		return 0
	}
	return r.Layers.Len() * r.Tokens.Len()
}

func (r Rect) intersect(o Rect) Rect {
	return Rect{r.Layers.Intersect(o.Layers), r.Tokens.Intersect(o.Tokens)}
}

func (r Rect) String() string { return fmt.Sprintf("layers %v tokens %v", r.Layers, r.Tokens) }

// Holding says that a node answers for a part.
type Holding struct {
	Rect
	Node int // index into the model's nodes
}

func (h Holding) String() string { return fmt.Sprintf("%v on %d", h.Rect, h.Node) }

// coalesce joins neighbours of the same node: first over layers, then over tokens. The result is
// sorted by first token, then first layer.
func coalesce(hs []Holding) []Holding {
	slices.SortFunc(hs, func(a, b Holding) int {
		return cmp.Or(cmp.Compare(a.Tokens.First, b.Tokens.First), cmp.Compare(a.Tokens.End, b.Tokens.End),
			cmp.Compare(a.Layers.First, b.Layers.First))
	})
	joined := hs[:0]
	for _, h := range hs {
		if n := len(joined); n > 0 {
			last := &joined[n-1]
			if last.Node == h.Node && last.Tokens == h.Tokens && last.Layers.End == h.Layers.First {
				last.Layers.End = h.Layers.End
				continue
			}
		}
		joined = append(joined, h)
	}
	slices.SortFunc(joined, func(a, b Holding) int {
		return cmp.Or(cmp.Compare(a.Layers.First, b.Layers.First), cmp.Compare(a.Layers.End, b.Layers.End),
			cmp.Compare(a.Tokens.First, b.Tokens.First))
	})
	out := joined[:0]
	for _, h := range joined {
		if n := len(out); n > 0 {
			last := &out[n-1]
			if last.Node == h.Node && last.Layers == h.Layers && last.Tokens.End == h.Tokens.First {
				last.Tokens.End = h.Tokens.End
				continue
			}
		}
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b Holding) int {
		return cmp.Or(cmp.Compare(a.Tokens.First, b.Tokens.First), cmp.Compare(a.Layers.First, b.Layers.First))
	})
	return out
}
