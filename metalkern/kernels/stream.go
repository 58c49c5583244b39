package kernels

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// streamForm is how a kernel of stream.cu is built: rows of a simdgroup at once, steps for which there is room, and threads at most. A
// group's room is more than half of what a multiprocessor has, or nearly so, lest one has two groups and another none.
type streamForm struct{ rows, depth, threads int }

// streamForms are the forms of each format: for rows of up to streamNarrow columns, and of up to streamWide.
var streamForms = map[WeightFormat][2]streamForm{
	F16:  {{2, 6, 256}, {1, 6, 512}},
	BF16: {{2, 6, 256}, {1, 6, 512}},
	Q8:   {{2, 5, 512}, {2, 6, 512}},
	Q4:   {{4, 5, 512}, {4, 6, 512}},
}

const (
	streamNarrow = 8192
	streamWide   = 16384
	// streamShare is the columns of a row that a lane has.
	streamShare = 32
	// streamOwn is threadgroup memory, in bytes, that the kernels have besides.
	streamOwn = 32 * 4
	// streamCols is what columns of formats with scales are a multiple of: the scales of so many are 16 bytes.
	streamCols = 256
)

// kindOfStream is the ways in which stream.cu multiplies.
type kindOfStream string

const (
	streamOne      kindOfStream = "ONE"
	streamSeveral  kindOfStream = "SEVERAL"
	streamPaired   kindOfStream = "PAIRED"
	streamTogether kindOfStream = "TOGETHER" // of experts
)

type streamParams struct {
	rows, cols, warps, slots, beginB, beginC, add, part, normed int32
	eps                                                         float32
}

// Normed is the root mean square norm of a row of activations: Out is X over the root, times Weight.
type Normed struct {
	Out, X, Weight gpu.Range
	Eps            float32
}

func (g streamForm) args(f WeightFormat, kind kindOfStream) string {
	return fmt.Sprintf("%s, %s, %d, %d, %d", f.tag(), kind, g.rows, g.depth, g.threads)
}

func (g streamForm) recipe(kind kindOfStream, experts bool, f WeightFormat) recipe {
	return recipe{string(kind), f, [7]int{g.rows, g.depth, g.threads, int(flag(experts))}}
}

func stream(kind kindOfStream, f WeightFormat, g streamForm) instance {
	name := fmt.Sprintf("stream_%s_%v_r%d_d%d_t%d", kind, f, g.rows, g.depth, g.threads)
	return instance{"stream.cu", name, fmt.Sprintf("STREAM(%s, %s)", name, g.args(f, kind))}
}

// streamKernels are all that take weights in a format.
func streamKernels(f WeightFormat) (list []instance) {
	for _, g := range streamForms[f] {
		list = append(list, stream(streamOne, f, g), stream(streamSeveral, f, g), streamExperts(streamTogether, f, g))
		if g.rows%2 == 0 {
			list = append(list, stream(streamPaired, f, g), streamExperts(streamPaired, f, g))
		}
	}
	return list
}

// shape is how rows of so many columns are divided: simdgroups of a row, and rows at a time.
func (g streamForm) shape(cols int) (warps, slots int) {
	const each = streamShare * gpu.SimdWidth
	warps = (cols + each - 1) / each
	return warps, g.threads / gpu.SimdWidth / warps
}

// pool is the threadgroup memory, in bytes, of a group with so many rows: what is on its way, and sums.
func (g streamForm) pool(f WeightFormat, cols, rows int) int {
	warps, slots := g.shape(cols)
	each := g.depth * g.rows * streamShare * f.Bits() / 8 * gpu.SimdWidth
	if f.scaled() {
		each += g.depth * g.rows * streamShare * 2
	}
	steps := (rows + slots*g.rows - 1) / (slots * g.rows)
	return each*warps*slots + steps*slots*g.rows*warps*4
}

// rowsOf is the most rows that one of so many groups has, which divide pairs of rows or rows.
func rowsOf(rows, groups int) int { return (rows+groups-1)/groups + 1 }

// streams is the form for a product of one token with matrices like w, of so many rows together, if this host is for one.
func (s *Set) streams(w Weights, rows, tokens int, kind kindOfStream) (streamForm, bool) {
	forms, ok := streamForms[w.Format]
	info := &s.info
	if !ok || tokens != 1 || info.Kind == "metal" || w.Cols > streamWide || w.Data.Offset%16 != 0 {
		return streamForm{}, false
	}
	if w.Format.scaled() && (w.Cols%streamCols != 0 || w.Scales.Offset%16 != 0) {
		return streamForm{}, false
	}
	g := forms[flag(w.Cols > streamNarrow)]
	return g, (kind != streamPaired || g.rows%2 == 0) && g.pool(w.Format, w.Cols, rowsOf(rows, info.Units))+streamOwn <= info.Pool
}

// streamsAll is streams for products of one launch, and streamsPair for a gate and its sibling.
func (s *Set) streamsAll(list []Into, tokens int) (streamForm, bool) {
	rows := 0
	for _, one := range list {
		rows += one.W.Rows
		if _, ok := s.streams(one.W, one.W.Rows, tokens, streamSeveral); !ok {
			return streamForm{}, false
		}
	}
	return s.streams(list[0].W, rows, tokens, streamSeveral)
}

func (s *Set) streamsPair(gate, up Weights, tokens int) (streamForm, bool) {
	if _, ok := s.streams(up, 2*up.Rows, tokens, streamPaired); !ok {
		return streamForm{}, false
	}
	return s.streams(gate, 2*gate.Rows, tokens, streamPaired)
}

// bare is x without a norm.
func bare(x gpu.Range) Normed { return Normed{Out: x, X: x, Weight: x} }

// stream launches a product of one token with up to three matrices: of n.X or, if p says so, of its norm, which is then left in n.Out.
func (s *Set) stream(queue gpu.Queue, kind kindOfStream, n Normed, list [MostMatvecs]Into, p streamParams, g streamForm) error {
	w := list[0].W
	if err := w.Check(); err != nil {
		return err
	}
	k, err := s.made(g.recipe(kind, false, w.Format), func() instance { return stream(kind, w.Format, g) })
	if err != nil {
		return err
	}
	warps, slots := g.shape(w.Cols)
	p.cols, p.warps, p.slots, p.eps = int32(w.Cols), int32(warps), int32(slots), n.Eps
	blocks := s.info.Units
	gpu.Launch(queue, k, gpu.Grid{X: blocks, Y: 1, Z: 1, Threads: warps * slots * gpu.SimdWidth, Pool: g.pool(w.Format, w.Cols, rowsOf(int(p.rows), blocks))},
		gpu.Buffers(n.X, list[0].W.Data, list[0].W.scales(), list[0].Out, list[1].W.Data, list[1].W.scales(), list[1].Out,
			list[2].W.Data, list[2].W.scales(), list[2].Out, n.Weight, n.Out), p)
	return nil
}

// streamSeveral sets each of some products of n, as [Set.Matvecs] does.
func (s *Set) streamSeveral(queue gpu.Queue, n Normed, normed bool, list []Into, g streamForm) error {
	var all [MostMatvecs]Into
	var begins [MostMatvecs + 1]int
	for i := range all {
		all[i], begins[i+1] = list[min(i, len(list)-1)], begins[i]
		if i < len(list) {
			begins[i+1] += list[i].W.Rows
		}
	}
	p := streamParams{rows: int32(begins[MostMatvecs]), beginB: int32(begins[1]), beginC: int32(begins[2]), normed: flag(normed)}
	return s.stream(queue, streamSeveral, n, all, p, g)
}

// streamPaired sets gate to silu(x·gateᵀ)·(x·upᵀ), and up to x·upᵀ, for x of n.
func (s *Set) streamPaired(queue gpu.Queue, n Normed, normed bool, gate, up Into, g streamForm) error {
	return s.stream(queue, streamPaired, n, [MostMatvecs]Into{gate, up, up}, streamParams{rows: int32(2 * up.W.Rows), normed: flag(normed)}, g)
}
