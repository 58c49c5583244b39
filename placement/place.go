package placement

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Plan is what every node holds once a model is loaded in a mode, at the full context.
type Plan struct {
	Model     string
	Mode      Mode
	Context   int // tokens of a sequence
	Sequences int
	Owner     int     // ring: index of the node that computes every layer in decode; otherwise -1
	Shares    []Share // one for each node, in node order
}

// Share is what one node holds.
type Share struct {
	Node        string
	Layers      Range   // that it has weights of; empty when First equals End
	TokenWeight float64 // pooled and ring: share of each sequence's tokens; sums to 1 over the nodes
	Blocks      int     // pooled and ring: blocks of each sequence at the full context
	Weights     int64   // bytes
	KV          int64   // bytes, of all sequences
	Rest        int64   // bytes: activations, lanes, what keeping blocks takes, and the process itself
	Has         int64   // bytes free for it
	Memory      int64   // bytes offered, those promised to others included
}

// Needs is what the node must have, in bytes.
func (s Share) Needs() int64 { return s.Weights + s.KV + s.Rest }

// Place decides where layers and tokens go in r.Mode. The error is a *Refusal when the nodes have
// too little memory, and otherwise names what is wrong with the request.
func Place(r Request) (*Plan, error) {
	f, err := newFootprint(r)
	if err != nil {
		return nil, err
	}
	p, refusal := f.place(r.Mode)
	if refusal != nil {
		return nil, refusal
	}
	return p, nil
}

// Fits reports whether Place would place r. It is quicker where it would not, for no refusal is made.
func Fits(r Request) (bool, error) {
	f, err := newFootprint(r)
	if err != nil {
		return false, err
	}
	_, ok := f.ranges(r.Mode)
	return ok, nil
}

func (f *footprint) place(mode Mode) (*Plan, *Refusal) {
	ranges, ok := f.ranges(mode)
	if !ok {
		return nil, f.refuse(mode)
	}
	return f.plan(mode, ranges), nil
}

// plan is what nodes hold with layers that fit.
func (f *footprint) plan(mode Mode, ranges []Range) *Plan {
	p := &Plan{Model: f.Model.Name, Mode: mode, Context: f.Context, Sequences: f.Sequences, Owner: -1}
	blocks := make([]int64, len(f.Nodes))
	if mode != Pipeline {
		blocks = f.spread(mode, ranges, f.blocks)
	}
	for i, r := range ranges {
		p.Shares = append(p.Shares, f.share(mode, i, r, blocks[i]))
	}
	if mode == Ring {
		p.Owner = f.first
	}
	return p
}

// ranges is the layers of each node in a mode, or false when it does not fit.
func (f *footprint) ranges(mode Mode) ([]Range, bool) {
	if mode != Ring {
		return f.layout(mode)
	}
	ranges := f.everywhere()
	return ranges, f.fits(Ring, ranges)
}

// fits reports whether nodes have the memory for such layers in a mode, with all tokens.
func (f *footprint) fits(mode Mode, ranges []Range) bool {
	for i, r := range ranges {
		if s := f.share(mode, i, r, 0); s.Needs() > s.Has {
			return false
		}
	}
	return mode == Pipeline || f.roomFor(mode, ranges)
}

// everywhere gives every node all layers.
func (f *footprint) everywhere() []Range {
	ranges := make([]Range, len(f.Nodes))
	for i := range ranges {
		ranges[i] = f.all()
	}
	return ranges
}

// spread gives nodes that many blocks of a sequence by bandwidth, as far as there is room.
func (f *footprint) spread(mode Mode, ranges []Range, blocks int64) []int64 {
	weights := make([]float64, len(ranges))
	caps := make([]int64, len(ranges))
	for i, r := range ranges {
		weights[i], caps[i] = f.Nodes[i].Bandwidth, f.room(mode, i, r)
	}
	return apportion(blocks, weights, caps)
}

// fastest is the first node of the highest bandwidth.
func fastest(nodes []Node) int {
	best := 0
	for i, n := range nodes {
		if n.Bandwidth > nodes[best].Bandwidth {
			best = i
		}
	}
	return best
}

// Table shows the plan, one node a line.
func (p *Plan) Table() string {
	return table("node\tlayers\ttokens\tweights\tKV\trest\tneeds\thas", len(p.Shares), func(i int) string {
		s := &p.Shares[i]
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", s.Node, s.layers(), s.tokens(),
			FormatBytes(s.Weights), FormatBytes(s.KV), FormatBytes(s.Rest), FormatBytes(s.Needs()), s.has())
	})
}

// has is what is free, and of how much.
func (s *Share) has() string {
	if s.Has == s.Memory {
		return FormatBytes(s.Has)
	}
	return FormatBytes(s.Has) + " of " + FormatBytes(s.Memory)
}

func (s *Share) layers() string {
	if s.Layers.Len() == 0 {
		return "none"
	}
	return fmt.Sprintf("%d-%d", s.Layers.First, s.Layers.End-1)
}

func (s *Share) tokens() string {
	if s.Blocks == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*s.TokenWeight)
}

// table lays out tab-separated lines in columns.
func table(head string, rows int, row func(int) string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, head)
	for i := range rows {
		fmt.Fprintln(w, row(i))
	}
	w.Flush() // to a strings.Builder, which takes everything
	return b.String()
}
