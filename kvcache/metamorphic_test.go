package kvcache

import (
	"errors"
	"flag"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
)

// TestEveryTokenIsHeldOnceWhateverMoves lets a residence machine direct real sequences on several nodes
// through random steps, rounds and switches, with copies that fail, epochs that are refused and memory that
// runs out. In every step's epoch the tables of all nodes together, with the owners' tails, must give each
// (layer, token) exactly once, as it was written; and memory is taken by that and nothing else.
func TestEveryTokenIsHeldOnceWhateverMoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(t)
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			c.event()
			if c.m.Stuck() {
				t.Fatal("no node refused what everything depends on")
			}
		}
		c.budgetEnough()
		for i := 0; c.m.Waiting() || i < 3*c.g.BlockTokens; i++ {
			if i > 100 {
				t.Fatal("the machine does not come to rest")
			}
			c.step(1)
		}
		c.checkMemory()
		for n, s := range c.seqs {
			s.Release()
			if used := c.budgets[n].Used(); used != 0 {
				t.Fatalf("node %d: %d bytes used after Release", n, used)
			}
		}
	})
}

// nodes is a cluster of sequences, directed by a machine. Messages are delivered at once, in order.
type nodes struct {
	*rapid.T
	g       Geometry
	m       *residence.Machine
	p       *residence.Policy
	seqs    []*Sequence
	budgets []*Budget
	refuses bool
	made    map[int]bool // tokens that were made up
	maker   *Filler
}

// intact reports whether token of kv is what was written, or made up.
func (c *nodes) intact(kv *attention.KV, layer, token int) bool {
	if !c.made[token] {
		return intact(c.g, kv, layer, token)
	}
	ok := true
	each(c.g, kv, token, func(stored []byte, head int, value bool) {
		part := 2 * head
		if value {
			part++
		}
		ok = ok && slices.Equal(stored, c.maker.row(layer, token, part))
	})
	return ok
}

// The folder in which rapid would leave what fails is not wanted.
func init() {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
}

func newCluster(t *rapid.T) *nodes {
	n := rapid.IntRange(1, 4).Draw(t, "nodes")
	c := &nodes{T: t, g: Geometry{
		Shape:       attention.Shape{Heads: 2, KVHeads: rapid.IntRange(1, 2).Draw(t, "heads"), HeadDim: 4},
		Layers:      rapid.IntRange(1, 5).Draw(t, "layers"),
		Format:      rapid.SampledFrom([]attention.Format{attention.F16, attention.F32}).Draw(t, "format"),
		BlockTokens: rapid.SampledFrom([]int{1, 3, 4}).Draw(t, "block")}}
	l := residence.Layout{Layers: c.g.Layers, BlockTokens: c.g.BlockTokens, Chunk: 8, RingOwner: rapid.IntRange(0, n-1).Draw(t, "ring owner")}
	loaded := make([]bool, n)
	for i := range n {
		if layers := span(i*c.g.Layers/n, (i+1)*c.g.Layers/n); layers.Len() > 0 {
			l.Pipeline = append(l.Pipeline, residence.Owner{Layers: layers, Node: i})
		}
		l.Weights = append(l.Weights, 1/float64(n))
		loaded[i] = true
	}
	p, err := residence.NewPolicy(l)
	if err != nil {
		t.Fatal(err)
	}
	mode := rapid.SampledFrom([]placement.Mode{placement.Pipeline, placement.Pooled, placement.Ring}).Draw(t, "mode")
	c.p, c.m = p, residence.NewMachine(p, n, mode, loaded)
	c.made, c.maker = map[int]bool{}, NewFiller(c.g, 5)
	for i := range n {
		c.budgets = append(c.budgets, NewBudget(1<<30))
		s, err := NewSequence(1, i, c.g, c.budgets[i], c.m.Epoch())
		if err != nil {
			t.Fatal(err)
		}
		c.seqs = append(c.seqs, s)
	}
	return c
}

func (c *nodes) event() {
	switch rapid.IntRange(0, 8).Draw(c.T, "event") {
	case 8:
		before := c.m.Length()
		if c.m.CanFill() {
			c.m.Fill(rapid.IntRange(1, 10).Draw(c.T, "made-up tokens"))
		}
		c.settle()
		for t := before; t < c.m.Length(); t++ {
			c.made[t] = true
		}
	case 0, 1, 2:
		c.step(rapid.IntRange(1, 8).Draw(c.T, "tokens"))
	case 3, 4:
		if c.m.Epoch().Mode == placement.Ring && len(c.seqs) > 1 {
			n := rapid.IntRange(1, c.p.Round()-c.m.Length()%c.p.Round()).Draw(c.T, "tokens")
			if n -= (c.m.Length() + n) % c.g.BlockTokens; n > 0 {
				c.round(n)
			}
		}
	case 5, 6:
		if err := c.m.Switch(rapid.SampledFrom([]placement.Mode{placement.Pipeline, placement.Pooled, placement.Ring}).Draw(c.T, "mode")); err != nil {
			c.Fatal(err)
		}
		c.settle()
	case 7:
		c.refuses = rapid.Bool().Draw(c.T, "refuses")
		node := rapid.IntRange(0, len(c.seqs)-1).Draw(c.T, "whose budget")
		b := c.budgets[node]
		b.limit = b.Used() + int64(rapid.IntRange(0, 4).Draw(c.T, "blocks"))*c.g.LayerBytes(c.g.BlockTokens)*int64(c.g.Layers)
	}
}

func (c *nodes) budgetEnough() {
	c.refuses = false
	for _, b := range c.budgets {
		b.limit = 1 << 30
	}
}

// step runs the owners one after the other, as a pipeline does. A step is not to fail here for want of
// memory: that ends a sequence.
func (c *nodes) step(n int) {
	if !c.m.CanStep() {
		c.Fatal("no step may begin although everything is settled")
	}
	number, first := c.m.Step(), c.m.Length()
	e := c.m.Epoch()
	for _, o := range e.Owners {
		b := c.budgets[o.Node]
		limit := b.limit
		b.limit = 1 << 30
		var st Step
		if err := st.Begin(c.seqs[o.Node], o.Layers, e.Covered, first, n); err != nil {
			c.Fatal(err)
		}
		st.store(c.g)
		b.limit = max(limit, b.Used())
		c.checkStep(number, o.Layers, &st, first+n)
		st.Release()
	}
	c.m.Done(number, first+n)
	c.settle()
}

// checkStep holds the tables of a step's epoch, and its owner's tail, against what was written.
func (c *nodes) checkStep(number uint64, layers residence.Span, st *Step, end int) {
	for l := layers.First; l < layers.End; l++ {
		seen := make([]int, end)
		views := slices.Clone(st.Tail(l))
		var holders []int
		for n, s := range c.seqs {
			held := s.Table(number).Held(l)
			views = append(views, held...)
			if len(held) > 0 {
				holders = append(holders, n)
			}
		}
		for i := range views {
			for t := views[i].First; t < views[i].End(); t++ {
				seen[t]++
				if !c.intact(&views[i], l, t) {
					c.Fatalf("epoch %d: layer %d token %d is not what was written", number, l, t)
				}
			}
		}
		if i := slices.IndexFunc(seen, func(n int) bool { return n != 1 }); i >= 0 {
			c.Fatalf("epoch %d: layer %d token %d of %d is there %d times", number, l, i, end, seen[i])
		}
		for n, s := range c.seqs {
			others := slices.DeleteFunc(slices.Clone(holders), func(h int) bool { return h == n })
			if !slices.Equal(others, s.Table(number).Peers(l)) {
				c.Fatalf("epoch %d: node %d has peers %v at layer %d, blocks are on %v", number, n, s.Table(number).Peers(l), l, holders)
			}
		}
	}
}

func (c *nodes) round(n int) {
	if !c.m.CanRound() {
		if c.settle(); !c.m.CanRound() {
			c.Fatal("no round may begin although the tail is closed")
		}
	}
	first := c.m.Length()
	number, pieces := c.m.Round(n)
	all := span(0, c.g.Layers)
	seen := make([][]int, c.g.Layers)
	for l := range seen {
		seen[l] = make([]int, first+n)
	}
	for node, s := range c.seqs {
		var mine []residence.Piece
		for _, p := range pieces {
			if p.Node == node {
				mine = append(mine, p)
			}
		}
		b := c.budgets[node]
		limit := b.limit
		b.limit = 1 << 30
		var st Step
		if err := st.BeginPieces(s, all, c.m.Epoch().Covered, mine); err != nil {
			c.Fatal(err)
		}
		st.store(c.g)
		b.limit = max(limit, b.Used())
		for l := range c.g.Layers {
			for _, kv := range slices.Concat(s.Table(number).Held(l), st.Tail(l)) {
				for t := kv.First; t < kv.End(); t++ {
					if seen[l][t]++; !c.intact(&kv, l, t) {
						c.Fatalf("round: layer %d token %d is not what was written", l, t)
					}
				}
			}
		}
		st.Release()
	}
	for l := range seen {
		if i := slices.IndexFunc(seen[l], func(n int) bool { return n != 1 }); i >= 0 {
			c.Fatalf("round: layer %d token %d of %d goes round %d times", l, i, first+n, seen[l][i])
		}
	}
	c.m.RoundDone(number, pieces)
	c.settle()
}

// settle carries out what the machine asks for, until it asks for nothing more.
func (c *nodes) settle() {
	for actions := c.m.Ready(); len(actions) > 0; actions = c.m.Ready() {
		for _, a := range actions {
			c.do(a)
		}
	}
}

func (c *nodes) do(a residence.Action) {
	switch a := a.(type) {
	case residence.CopyBlocks:
		for _, cp := range a.Copies {
			err := carry(c.seqs[cp.From], c.seqs[cp.To], a.Batch, cp.Rect)
			var full *FullError
			switch {
			case errors.As(err, &full):
				c.m.CopyFailed(a.Batch, err.Error())
			case err != nil:
				c.Fatal(err)
			default:
				c.m.Copied(a.Batch, cp.ID, 1)
			}
			if full != nil {
				return
			}
		}
	case residence.FillBlocks:
		for i, h := range a.Parts {
			_, err := c.seqs[h.Node].Fill(a.Batch, h.Rect, c.maker, func() bool { return false })
			var full *FullError
			if errors.As(err, &full) {
				c.m.CopyFailed(a.Batch, err.Error())
				return
			}
			if err != nil {
				c.Fatal(err)
			}
			c.m.Copied(a.Batch, i, 1)
		}
	case residence.Announce:
		for n, s := range c.seqs {
			if c.refuses && a.Batch > 0 && n == len(c.seqs)-1 {
				c.m.Refused(a.Epoch.Number, n, "no")
				continue
			}
			if _, _, err := s.TakeUp(a.Epoch, a.Batch); err != nil {
				c.Fatal(err)
			}
			c.m.Taken(a.Epoch.Number, n)
		}
	case residence.Retire:
		for _, s := range c.seqs {
			s.Retire(a.Epoch)
		}
	case residence.Discard:
		for _, s := range c.seqs {
			s.Discard(a.Batch)
		}
	case residence.LoadLayers:
		c.Fatalf("%+v: every node has every layer", a)
	}
}

// checkMemory holds what every node has taken against what the epoch in force puts there: sealed parts at
// their size, and the room of the owners' open blocks.
func (c *nodes) checkMemory() {
	e, length := c.m.Epoch(), c.m.Length()
	for n, b := range c.budgets {
		want := int64(0)
		for _, r := range e.HeldBy(n) {
			want += c.g.LayerBytes(r.Tokens.Len()) * int64(r.Layers.Len())
		}
		for _, o := range e.Owners {
			if o.Node == n {
				room := (length+c.g.BlockTokens-1)/c.g.BlockTokens*c.g.BlockTokens - e.Covered
				want += c.g.LayerBytes(room) * int64(o.Layers.Len())
			}
		}
		if spare := c.shortBlocks(n); b.Used() != want+spare {
			c.Fatalf("node %d has taken %d bytes, its blocks are %d and %d of room that was closed", n, b.Used(), want, spare)
		}
	}
}

// shortBlocks is the memory behind the last token of blocks that were closed before they were full.
func (c *nodes) shortBlocks(node int) (bytes int64) {
	for _, b := range c.seqs[node].blocks {
		for l := b.Layers.First; l < b.Layers.End; l++ {
			if b.has(l) {
				bytes += c.g.LayerBytes(b.Layer(l).Cap) - c.g.LayerBytes(b.Tokens.Len())
			}
		}
	}
	return bytes
}
