package model

import (
	"unsafe"

	"github.com/orrery-ai/orrery/device"
)

// Scratch is the activations of one step. It is allocated once, for the largest step; Resize makes
// its tensors views of as many rows as the step has. A row is a token; which sequence and position it
// belongs to is the caller's affair.
type Scratch struct {
	X          device.Tensor // [T][hidden]: residual stream, what goes from node to node
	Q          device.Tensor // [T][heads·headDim], after QKV
	K, V       device.Tensor // [T][kvHeads·headDim], after QKV
	Attn       device.Tensor // [T][heads·headDim]: attention's result, written by the caller
	Cos, Sin   device.Tensor // [T][headDim/2]: written by Angles
	norm       device.Tensor // [T][hidden]: normed input of a projection, or its output
	router     device.Tensor // [T][experts]: the router's logits
	chosen     device.Tensor // [T][active]: the numbers of the experts, as int32
	shares     device.Tensor // [T][active]: their weights
	wide       []float32     // what is between the products of an MLP, see inner
	cos, sin   []float32     // of the host: angleRows rows of Cos and Sin
	rows, size int           // rows of the step, rows allocated
}

// angleRows is how many rows of angles are computed at a time.
const angleRows = 8

// scratchCols is the row width of each tensor, in the order of Scratch.tensors.
func (c *Config) scratchCols() [11]int {
	q, kv, pairs, e := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim, c.HeadDim/2, &c.Experts
	return [...]int{c.Hidden, q, kv, kv, q, pairs, pairs, c.Hidden, roundUp(e.Count), roundUp(e.Active), roundUp(e.Active)}
}

// roundUp is the next multiple of what devices read at once, in elements: what lies behind must begin at one. The rows of the tensors of routes do not
// use what that adds.
func roundUp(n int) int { return (n + 3) &^ 3 }

func (s *Scratch) tensors() [11]*device.Tensor {
	return [...]*device.Tensor{&s.X, &s.Q, &s.K, &s.V, &s.Attn, &s.Cos, &s.Sin, &s.norm, &s.router, &s.chosen, &s.shares}
}

// wideCols is the elements that a row of the widest MLP needs between its products.
func (c *Config) wideCols() int {
	return max(2*c.Intermediate, device.ExpertsRoom(c.Experts.Active, c.Experts.Width, c.Hidden))
}

// NewScratch allocates activations on the host for steps of up to rows tokens, ScratchBytes(rows) in all.
func NewScratch(c *Config, rows int) *Scratch {
	return ScratchIn(func(n int) []float32 { return make([]float32, n) }, c, rows)
}

// ScratchIn is NewScratch in memory that floats hands out: that of the device of the streams it is used with.
func ScratchIn(floats func(n int) []float32, c *Config, rows int) *Scratch {
	angles := min(angleRows, rows) * c.HeadDim / 2
	s := &Scratch{rows: rows, size: rows, cos: make([]float32, angles), sin: make([]float32, angles)}
	cols := c.scratchCols()
	tensors := s.tensors()
	for i, t := range tensors {
		*t = device.Tensor{Rows: rows, Cols: cols[i], Data: floats(rows * cols[i])}
	}
	s.router.Cols, s.chosen.Cols, s.shares.Cols = c.Experts.Count, c.Experts.Active, c.Experts.Active
	s.wide = floats(rows * c.wideCols())
	return s
}

// inner is the gate and the up of a dense MLP, [T][width] each.
func (s *Scratch) inner(width int) (gate, up device.Tensor) {
	n := s.rows * width
	return device.Tensor{Rows: s.rows, Cols: width, Data: s.wide[:n:n]}, device.Tensor{Rows: s.rows, Cols: width, Data: s.wide[n : 2*n]}
}

// routing is where the experts of each row are noted.
func (s *Scratch) routing() device.Routing {
	return device.Routing{Active: s.chosen.Cols, Experts: intsOf(s.chosen.Data), Weights: s.shares.Data}
}

// Choice is where the tokens go that follow rows of logits, of which there are no more than of s, in memory of the device. The next step overwrites it,
// behind [Decoder.EmbedChosen].
func (s *Scratch) Choice(rows int) []int32 { return intsOf(s.Cos.Data[:rows]) }

// intsOf is the same memory as integers.
func intsOf(x []float32) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// Logits is a tensor of so many rows of logits in memory of the step that [Decoder.Logits] does not use, or
// false if it does not fit there. AfterAttention overwrites it.
func (s *Scratch) Logits(rows, vocab int) (device.Tensor, bool) {
	if rows*vocab > len(s.wide) {
		return device.Tensor{}, false
	}
	return device.Tensor{Rows: rows, Cols: vocab, Data: s.wide[:rows*vocab]}, true
}

// Rows is the number of tokens of the step, T.
func (s *Scratch) Rows() int { return s.rows }

// Resize makes the step one of rows tokens, at most as many as were allocated. It moves no data:
// row i stays row i.
func (s *Scratch) Resize(rows int) {
	if rows < 0 || rows > s.size {
		panic("model: a step larger than its scratch")
	}
	for _, t := range s.tensors() {
		t.Rows, t.Data = rows, t.Data[:rows*t.Cols]
	}
	s.rows = rows
}
