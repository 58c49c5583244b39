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
	From       Mode   // of a switch that does not fit: the mode that it would leave; otherwise 0
	Beside     []Mode // modes that fit and without which this one would, too
	Context    int    // tokens of a sequence, as asked for
	Sequences  int    // as asked for
	Rows       []Row
	Missing    int64  // bytes lacking on all nodes together; unless Beside, with these it fits
	MaxContext int    // the most tokens that fit with as many sequences; 0 when not one does
	MaxSeqs    int    // the most sequences that fit at the context asked for; 0 when not one does
	LayersBy   string // what gave the layers, where they were not free to choose
}

// Row is what one node would have to hold.
type Row struct {
	Share
	Lacks int64  // bytes; 0 when it has enough
	Taken string // who has what is not free, for people: "12.0 GiB are promised to …"; empty where that is not known
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
	row := Row{Share: s, Lacks: max(s.Needs()-s.Has, 0)}
	r.Rows = append(r.Rows, row)
	r.Missing += row.Lacks
	return row.Lacks == 0
}

// maxContext is the longest context in whole blocks, below the one asked for, that fits.
func (f *footprint) maxContext(mode Mode) int {
	return f.longest(func(g *footprint) bool { _, ok := g.ranges(mode); return ok })
}

// maxSequences is how many sequences, fewer than asked for, fit at the context.
func (f *footprint) maxSequences(mode Mode) int {
	return f.mostSequences(func(g *footprint) bool { _, ok := g.ranges(mode); return ok })
}

// longest is the longest context in whole blocks, below that of f, for which fits holds.
func (f *footprint) longest(fits func(*footprint) bool) int {
	n := sort.Search(int(f.blocks)-1, func(n int) bool { return !fits(f.at((n + 1) * f.BlockTokens)) })
	return n * f.BlockTokens
}

// mostSequences is the largest number of sequences, below that of f, for which fits holds.
func (f *footprint) mostSequences(fits func(*footprint) bool) int {
	return sort.Search(f.Sequences-1, func(n int) bool {
		g := *f
		g.Sequences = n + 1
		return !fits(&g)
	})
}

// Error is the whole in one line, with the nodes that lack memory by name.
func (r *Refusal) Error() string {
	var lacks []string
	for _, row := range r.Rows {
		if row.Lacks > 0 {
			lack := fmt.Sprintf("node %s lacks %s", row.Node, FormatBytes(row.Lacks))
			if row.Has < row.Memory {
				lack += fmt.Sprintf(" (it has %s free%s)", row.has(), row.taken())
			}
			lacks = append(lacks, lack)
		}
	}
	why := ""
	switch {
	case len(r.Beside) > 0:
		why = fmt.Sprintf(" beside %s (weights for one and KV cache for the other at once)", joined(r.Beside))
	case r.Mode == Ring:
		why = " (every node holds all weights)"
	case r.LayersBy != "":
		why = " (layers given by " + r.LayersBy + ")"
	}
	what := fmt.Sprintf("%s with %s of %d tokens", r.Model, sequences(r.Sequences), r.Context)
	if r.From != 0 {
		what = fmt.Sprintf("switching %s in one go from %s", what, r.From)
		why = " (old and new blocks at once)"
	}
	return fmt.Sprintf("placement: %s does not fit in %s mode%s: %s: %s", what, r.Mode, why, strings.Join(lacks, ", "), r.Advice())
}

// taken is who has what is not free, after a comma.
func (r *Row) taken() string {
	if r.Taken == "" {
		return ""
	}
	return ", " + r.Taken
}

func joined(modes []Mode) string {
	names := make([]string, len(modes))
	for i, m := range modes {
		names[i] = m.String()
	}
	return strings.Join(names, " and ")
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
	if len(r.Beside) > 0 {
		ways = []string{fmt.Sprintf("with more memory there, or loaded in %s mode", r.Mode)}
	}
	if r.MaxContext > 0 {
		ways = append(ways, fmt.Sprintf("with a context of %d", r.MaxContext))
	}
	if r.MaxSeqs > 0 {
		ways = append(ways, "with "+sequences(r.MaxSeqs))
	}
	advice := "it fits " + strings.Join(ways, " or ")
	if r.MaxContext == 0 && len(r.Beside) == 0 {
		advice += "; no context is short enough"
	}
	return advice
}

// Table shows what each node has, needs and lacks, one node a line, and who has what is not free.
func (r *Refusal) Table() string {
	t := table("node\tlayers\thas\tneeds\tweights\tKV\trest\tlacks", len(r.Rows), func(i int) string {
		s := &r.Rows[i]
		lacks := "-"
		if s.Lacks > 0 {
			lacks = FormatBytes(s.Lacks)
		}
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", s.Node, s.layers(), s.has(), FormatBytes(s.Needs()),
			FormatBytes(s.Weights), FormatBytes(s.KV), FormatBytes(s.Rest), lacks)
	})
	for _, row := range r.Rows {
		if row.Taken != "" {
			t += fmt.Sprintf("node %s: %s\n", row.Node, row.Taken)
		}
	}
	return t
}
