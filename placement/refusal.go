package placement

import (
	"fmt"
	"sort"
	"strings"
)

// Refusal says that a model does not fit, what each node lacks and what would make it fit. It shows
// the layers as they lack least.
type Refusal struct {
	Model      string
	Mode       Mode
	From       Mode // of a switch that does not fit: the mode that it would leave; otherwise 0
	Beside     bool // it would fit alone, and not beside what is kept for From
	Context    int  // tokens of a sequence, as asked for
	Sequences  int  // as asked for
	Rows       []Row
	Missing    int64  // bytes lacking on all nodes together; unless Beside, with these it fits
	MaxContext int    // the most tokens that fit with as many sequences; 0 when not one does
	MaxSeqs    int    // the most sequences that fit at the context asked for; 0 when not one does
	LayersBy   string // what gave the layers, where they were not free to choose
}

// Row is what one node would have to hold.
type Row struct {
	Share
	Lacks int64 // bytes; 0 when it has enough
}

// refuse explains why mode does not fit.
func (f *footprint) refuse(mode Mode) *Refusal {
	r := &Refusal{Model: f.Model.Name, Mode: mode, Context: f.Context, Sequences: f.Sequences}
	ranges := f.everywhere()
	if mode != Ring {
		ranges = f.nearest(mode)
		r.LayersBy = f.pinnedBy
	}
	blocks := make([]int64, len(f.Nodes))
	if mode != Pipeline {
		// What finds no room is shown where it should be, by bandwidth.
		left := f.blocks
		blocks = f.spread(mode, ranges, left)
		for _, n := range blocks {
			left -= n
		}
		weights, caps := make([]float64, len(ranges)), make([]int64, len(ranges))
		for i, n := range f.Nodes {
			weights[i], caps[i] = n.Bandwidth, f.blocks
		}
		for i, n := range apportion(left, weights, caps) {
			blocks[i] += n
		}
	}
	for i, rg := range ranges {
		r.add(f.share(mode, i, rg, blocks[i]))
	}
	r.MaxContext = f.maxContext(mode)
	r.MaxSeqs = f.maxSequences(mode)
	return r
}

// add appends a row, and reports whether it lacks nothing.
func (r *Refusal) add(s Share) bool {
	row := Row{s, max(s.Needs()-s.Has, 0)}
	r.Rows = append(r.Rows, row)
	r.Missing += row.Lacks
	return row.Lacks == 0
}

// maxContext is the longest context in whole blocks, below the one asked for, that fits.
func (f *footprint) maxContext(mode Mode) int {
	n := sort.Search(int(f.blocks)-1, func(n int) bool {
		_, ok := f.at((n + 1) * f.BlockTokens).ranges(mode)
		return !ok
	})
	return n * f.BlockTokens
}

// maxSequences is how many sequences, fewer than asked for, fit at the context.
func (f *footprint) maxSequences(mode Mode) int {
	return sort.Search(f.Sequences-1, func(n int) bool {
		g := *f
		g.Sequences = n + 1
		_, ok := g.ranges(mode)
		return !ok
	})
}

// Error is the whole in one line, with the nodes that lack memory by name.
func (r *Refusal) Error() string {
	var lacks []string
	for _, row := range r.Rows {
		if row.Lacks > 0 {
			lacks = append(lacks, fmt.Sprintf("node %s lacks %s", row.Node, FormatBytes(row.Lacks)))
		}
	}
	why := ""
	switch {
	case r.Mode == Ring:
		why = " (every node holds all weights)"
	case r.LayersBy != "":
		why = " (layers given by " + r.LayersBy + ")"
	}
	what := fmt.Sprintf("%s with %s of %d tokens", r.Model, sequences(r.Sequences), r.Context)
	if r.Beside {
		what = fmt.Sprintf("%s, kept for %s mode too,", what, r.From)
		why = " (nodes keep what either needs)"
	} else if r.From != 0 {
		what = fmt.Sprintf("switching %s in one go from %s", what, r.From)
		why = " (old and new blocks at once)"
	}
	return fmt.Sprintf("placement: %s does not fit in %s mode%s: %s: %s", what, r.Mode, why, strings.Join(lacks, ", "), r.Advice())
}

func sequences(n int) string {
	if n == 1 {
		return "1 sequence"
	}
	return fmt.Sprintf("%d sequences", n)
}

// Advice says what would make it fit.
func (r *Refusal) Advice() string {
	ways := []string{fmt.Sprintf("with %s more memory there", FormatBytes(r.Missing))}
	if r.Beside {
		ways = []string{fmt.Sprintf("with more memory there, or loaded in %s mode", r.Mode)}
	}
	if r.MaxContext > 0 {
		ways = append(ways, fmt.Sprintf("with a context of %d", r.MaxContext))
	}
	if r.MaxSeqs > 0 {
		ways = append(ways, "with "+sequences(r.MaxSeqs))
	}
	advice := "it fits " + strings.Join(ways, " or ")
	if r.MaxContext == 0 && !r.Beside {
		advice += "; no context is short enough"
	}
	return advice
}

// Table shows what each node has, needs and lacks, one node a line.
func (r *Refusal) Table() string {
	return table("node\tlayers\thas\tneeds\tweights\tKV\trest\tlacks", len(r.Rows), func(i int) string {
		s := &r.Rows[i]
		lacks := "-"
		if s.Lacks > 0 {
			lacks = FormatBytes(s.Lacks)
		}
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", s.Node, s.layers(), FormatBytes(s.Has), FormatBytes(s.Needs()),
			FormatBytes(s.Weights), FormatBytes(s.KV), FormatBytes(s.Rest), lacks)
	})
}
