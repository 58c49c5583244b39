package kvcache

import (
	"fmt"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/residence"
)

// Step is the growing end of a sequence during one step: room for the step's tokens, and the tail of
// the layers' owner. One goroutine uses it; it is reused from step to step. What it uses stays until
// Release.
type Step struct {
	seq    *Sequence
	layers residence.Span
	runs   []run
	tail   []*Block
	memory extents  // of the runs and the tail
	Opened []*Block // blocks that this step opened
	Sealed []*Block // blocks that this step filled
}

// run is the rows of the step that go to one block.
type run struct {
	block *Block
	at    int // first token within the block
	row   int // first row of the step
	n     int
}

// Begin makes room for tokens [first, first+n) of some layers, in open blocks. covered is the first token
// of the owner's tail in the step's epoch. Release must follow, whatever Begin returns.
func (st *Step) Begin(s *Sequence, layers residence.Span, covered, first, n int) error {
	return st.begin(s, layers, covered, func() error { return st.add(first, n) })
}

// BeginPieces makes room for the pieces of a round that are this node's, row after row.
func (st *Step) BeginPieces(s *Sequence, layers residence.Span, covered int, pieces []residence.Piece) error {
	return st.begin(s, layers, covered, func() error {
		for _, p := range pieces {
			if err := st.add(p.Tokens.First, p.Tokens.Len()); err != nil {
				return err
			}
		}
		return nil
	})
}

func (st *Step) begin(s *Sequence, layers residence.Span, covered int, add func() error) error {
	st.seq, st.layers = s, layers
	st.runs, st.tail = st.runs[:0], st.tail[:0]
	st.Opened, st.Sealed = st.Opened[:0], st.Sealed[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		return fmt.Errorf("sequence %d is closed", s.ID)
	}
	if err := add(); err != nil {
		return err
	}
	for _, b := range s.blocks {
		if b.Tokens.First >= covered && b.Layers.Intersect(layers).Len() > 0 {
			st.tail = append(st.tail, b)
			st.use(b)
		}
	}
	for _, r := range st.runs {
		if r.block.Tokens.First < covered {
			st.use(r.block)
		}
	}
	return nil
}

// use keeps what the step needs of a block where it is.
func (st *Step) use(b *Block) {
	for common, l := b.Layers.Intersect(st.layers), 0; l < common.Len(); l++ {
		if x := b.extent(common.First + l); x != nil {
			st.memory.add(x)
		}
	}
}

// Release says that the step reads and writes nothing any more.
func (st *Step) Release() { st.memory.release() }

// add makes room for tokens [first, first+n). The sequence is locked.
func (st *Step) add(first, n int) error {
	row := 0
	for _, r := range st.runs {
		row = r.row + r.n
	}
	for end := first + n; first < end; {
		b, err := st.open(first)
		if err != nil {
			return err
		}
		take := min(end, b.Tokens.End) - first
		st.runs = append(st.runs, run{block: b, at: first - b.Tokens.First, row: row, n: take})
		first += take
		row += take
	}
	return nil
}

// open finds the block whose next token is first, or opens one up to the next multiple of the block size.
func (st *Step) open(first int) (*Block, error) {
	s := st.seq
	for i := len(s.blocks) - 1; i >= 0; i-- {
		b := s.blocks[i]
		if b.Layers == st.layers && b.Tokens.Contains(first) {
			if at := b.Layer(st.layers.First); at.K == nil || at.End() != first {
				return nil, fmt.Errorf("sequence %d: token %d does not continue %v, which ends at %d", s.ID, first, b.Rect, at.End())
			}
			return b, nil
		}
	}
	size := s.geometry.BlockTokens
	b, err := newBlock(s.geometry, residence.Rect{Layers: st.layers, Tokens: residence.Span{First: first, End: (first/size + 1) * size}}, s.budget)
	if err != nil {
		return nil, err
	}
	at := len(s.blocks)
	for at > 0 && s.blocks[at-1].Tokens.First > first {
		at--
	}
	blocks := make([]*Block, 0, len(s.blocks)+1)
	blocks = append(append(append(blocks, s.blocks[:at]...), b), s.blocks[at:]...)
	s.blocks = blocks
	st.Opened = append(st.Opened, b)
	return b, nil
}

// Runs is the number of blocks that take rows of the step.
func (st *Step) Runs() int { return len(st.runs) }

// Slot is where rows [row, row+n) of run i go at a layer: tokens [at, at+n) of the block kv.
func (st *Step) Slot(i, layer int) (kv *attention.KV, at, row, n int) {
	r := &st.runs[i]
	return r.block.Layer(layer), r.at, r.row, r.n
}

// Stored says that the rows of run i are in place at a layer: they are in view of AppendTail from now on.
func (st *Step) Stored(i, layer int) {
	r := &st.runs[i]
	r.block.Layer(layer).Len = r.at + r.n
}

// AppendTail appends the owner's part of a layer to views: everything from covered on.
func (st *Step) AppendTail(views []attention.KV, layer int) []attention.KV {
	for _, b := range st.tail {
		if b.has(layer) && b.Layer(layer).Len > 0 {
			views = append(views, *b.Layer(layer))
		}
	}
	return views
}

// End notes in Sealed the blocks that the step has filled. The step after it may have stored its rows already, which are its own to note.
func (st *Step) End() {
	st.seq.mu.Lock()
	defer st.seq.mu.Unlock()
	for _, r := range st.runs {
		if r.at+r.n == r.block.Tokens.Len() {
			st.Sealed = append(st.Sealed, r.block)
		}
	}
}
