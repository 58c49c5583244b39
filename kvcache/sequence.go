package kvcache

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/residence"
)

// Sequence is the blocks that this node has of one sequence. Its methods may be called from any
// goroutine; they change which blocks there are, never the data of a sealed one.
type Sequence struct {
	ID       uint64
	node     int // this node's index
	geometry Geometry
	budget   *Budget
	tables   atomic.Pointer[map[uint64]*Table] // by epoch; replaced, never changed

	mu       sync.Mutex
	blocks   []*Block            // sealed ones and the tail, by first token
	pending  map[uint64][]*Block // copies that no epoch uses yet, by batch
	taken    map[uint64]uint64   // the epoch that a batch was taken up with, until that is retired
	settled  uint64              // batches up to this one were taken up or given up: no more copies of them
	released bool
}

// NewSequence is a sequence without blocks, in its first epoch.
func NewSequence(id uint64, node int, g Geometry, budget *Budget, first *residence.Epoch) (*Sequence, error) {
	s := &Sequence{ID: id, node: node, geometry: g, budget: budget, pending: map[uint64][]*Block{}, taken: map[uint64]uint64{}}
	s.tables.Store(&map[uint64]*Table{})
	_, _, err := s.TakeUp(first, 0)
	return s, err
}

// Geometry is what the blocks have in common.
func (s *Sequence) Geometry() Geometry { return s.geometry }

// Use is what this node holds in an epoch, or nil if the epoch is not known here. The caller releases the
// table when it reads nothing of it any more.
func (s *Sequence) Use(epoch uint64) *Table {
	if t := (*s.tables.Load())[epoch]; t != nil && t.use() {
		return t
	}
	return nil
}

// TakeUp makes an epoch known: the copies of its batch become part of the sequence, open blocks that it
// closes are closed, and its table is published. It returns the blocks that arrived with the batch and
// those that were closed. An error leaves the epochs known before as they were, and the copies to be
// discarded. The epoch must be valid.
func (s *Sequence) TakeUp(e *residence.Epoch, batch uint64) (arrived, closed []*Block, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.blocks {
		if b.Tokens.First < e.Covered && e.Covered < b.Tokens.End {
			if err := b.close(e.Covered, s.geometry); err != nil {
				return nil, closed, err
			}
			closed = append(closed, b)
		}
	}
	arrived = s.pending[batch]
	blocks := slices.Concat(s.blocks, arrived)
	slices.SortStableFunc(blocks, func(a, b *Block) int { return a.Tokens.First - b.Tokens.First })
	t, err := newTable(e, s.node, s.geometry.Layers, blocks)
	if err != nil {
		return nil, closed, err
	}
	s.blocks = blocks
	delete(s.pending, batch)
	if batch > 0 {
		s.taken[batch], s.settled = e.Number, max(s.settled, batch)
		for _, b := range arrived {
			b.batch = batch
		}
	}
	tables := maps.Clone(*s.tables.Load())
	if old := tables[e.Number]; old != nil {
		defer old.Release()
	}
	tables[e.Number] = t
	s.tables.Store(&tables)
	return arrived, closed, nil
}

// Receive stores one layer of a copied block of a batch: n tokens from first on, packed as Pack makes
// them. layers is the block's extent in layers; its other layers come with calls of their own.
func (s *Sequence) Receive(batch uint64, layers residence.Span, layer, first, n int, k, v []byte) error {
	if n <= 0 || n > s.geometry.BlockTokens || first < 0 || layers.First < 0 || layers.End > s.geometry.Layers ||
		!layers.Contains(layer) || len(k) != s.geometry.half(n) || len(v) != len(k) {
		return fmt.Errorf("a copy of layer %d of layers %v, %d tokens from %d, %d+%d bytes does not fit the model", layer, layers, n, first, len(k), len(v))
	}
	kv, memory, err := s.incoming(batch, residence.Rect{Layers: layers, Tokens: residence.Span{First: first, End: first + n}}, layer)
	if err != nil {
		return err
	}
	defer memory.release()
	if err := errors.Join(s.geometry.Memory.Write(kv.K, k), s.geometry.Memory.Write(kv.V, v)); err != nil {
		return err
	}
	s.mu.Lock()
	kv.Len = n
	s.mu.Unlock()
	return nil
}

// incoming is the view of a layer of a block on its way in, which is made when its first layer comes. The
// caller is a user of its memory from now on.
func (s *Sequence) incoming(batch uint64, r residence.Rect, layer int) (*attention.KV, *extent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released {
		return nil, nil, fmt.Errorf("sequence %d is closed", s.ID)
	}
	if batch <= s.settled {
		return nil, nil, fmt.Errorf("batch %d of sequence %d is over", batch, s.ID)
	}
	var b *Block
	for _, p := range s.pending[batch] {
		if p.Rect == r {
			b = p
		}
	}
	if b == nil {
		var err error
		if b, err = newBlock(s.geometry, r, s.budget); err != nil {
			return nil, nil, err
		}
		s.pending[batch] = append(s.pending[batch], b)
	}
	x := b.extent(layer)
	x.acquire()
	return b.Layer(layer), x, nil
}

// Part is the share that one block has in a copy.
type Part struct {
	Block  *Block
	Layers residence.Span
	kv     []attention.KV // by layer, from Layers.First
	memory []*extent      // likewise
}

// Use keeps the part's data where it is until Release. It reports false if the block has been dropped
// meanwhile, as it can be when the copy was given up.
func (p Part) Use() bool {
	for i, x := range p.memory {
		if !x.acquire() {
			for _, x := range p.memory[:i] {
				x.release()
			}
			return false
		}
	}
	return true
}

// Release takes back a Use.
func (p Part) Release() {
	for _, x := range p.memory {
		x.release()
	}
}

// Layer is the view of one layer of the part.
func (p Part) Layer(layer int) *attention.KV { return &p.kv[layer-p.Layers.First] }

// Parts lists the sealed blocks that make up r, which this node holds. Blocks are whole in tokens.
func (s *Sequence) Parts(r residence.Rect) ([]Part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []Part
	area := 0
	taken := map[[2]int]bool{}
	for _, b := range s.blocks {
		if b.Tokens.First < r.Tokens.First || b.Tokens.End > r.Tokens.End {
			continue
		}
		common := b.Layers.Intersect(r.Layers)
		for l := common.First; l < common.End; l++ {
			// Layers that were moved away leave gaps: a part is a run of those that are here.
			p := Part{Block: b, Layers: residence.Span{First: l, End: l}}
			for ; l < common.End && b.has(l) && !taken[[2]int{l, b.Tokens.First}]; l++ {
				if b.Layer(l).End() != b.Tokens.End {
					return nil, fmt.Errorf("block of %v is still open", b.Rect)
				}
				taken[[2]int{l, b.Tokens.First}] = true
				p.kv, p.memory = append(p.kv, *b.Layer(l)), append(p.memory, b.extent(l))
			}
			if p.Layers.End = l; p.Layers.Len() > 0 {
				parts = append(parts, p)
				area += p.Layers.Len() * b.Tokens.Len()
			}
		}
	}
	if area != r.Area() {
		return nil, fmt.Errorf("%d of %d (layer, token) pairs of %v are here", area, r.Area(), r)
	}
	return parts, nil
}

// Retire forgets the epochs before epoch, and gives back what neither a later one nor the growing
// tail uses. It returns the blocks of which nothing is left.
func (s *Sequence) Retire(epoch uint64) (dropped []*Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tables := map[uint64]*Table{}
	var retired []*Table
	for n, t := range *s.tables.Load() {
		if n >= epoch {
			tables[n] = t
		} else {
			retired = append(retired, t)
		}
	}
	if len(tables) == 0 {
		return nil
	}
	s.tables.Store(&tables)
	releaseTables(retired)
	for batch, e := range s.taken {
		if e <= epoch {
			delete(s.taken, batch) // an epoch of which others are retired is in force
		}
	}
	kept := make([]*Block, 0, len(s.blocks))
	for _, b := range s.blocks {
		for l := b.Layers.First; l < b.Layers.End; l++ {
			used := false
			for _, t := range tables {
				used = used || t.uses(l, b)
			}
			if !used {
				b.release(l)
			}
		}
		if b.empty() {
			dropped = append(dropped, b)
		} else {
			kept = append(kept, b)
		}
	}
	s.blocks = kept
	return dropped
}

// Discard gives back the copies of a batch that no epoch will use. If this node has taken them up
// already, with an epoch that another node refused, it forgets that epoch. It returns the blocks that are
// no longer part of the sequence.
func (s *Sequence) Discard(batch uint64) (dropped []*Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = max(s.settled, batch)
	dropAll(s.pending[batch])
	delete(s.pending, batch)
	epoch, taken := s.taken[batch]
	if !taken {
		return nil
	}
	delete(s.taken, batch)
	tables := maps.Clone(*s.tables.Load())
	if t := tables[epoch]; t != nil {
		defer t.Release()
	}
	delete(tables, epoch)
	s.tables.Store(&tables)
	kept := make([]*Block, 0, len(s.blocks))
	for _, b := range s.blocks {
		if b.batch == batch {
			dropped = append(dropped, b)
		} else {
			kept = append(kept, b)
		}
	}
	dropAll(dropped)
	s.blocks = kept
	return dropped
}

// Release gives back everything. The sequence must not be used for a step afterwards; what a step that is
// running uses goes when it ends.
func (s *Sequence) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = true
	tables := slices.Collect(maps.Values(*s.tables.Load()))
	s.tables.Store(&map[uint64]*Table{})
	releaseTables(tables)
	dropAll(s.blocks)
	s.blocks = nil
	for batch, blocks := range s.pending {
		dropAll(blocks)
		delete(s.pending, batch)
	}
}

func dropAll(blocks []*Block) {
	for _, b := range blocks {
		b.drop()
	}
}

func releaseTables(tables []*Table) {
	for _, t := range tables {
		t.Release()
	}
}
