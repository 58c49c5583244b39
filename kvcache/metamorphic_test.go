package kvcache

import (
	"errors"
	"flag"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
)

// TestEveryTokenIsHeldOnceWhateverMoves lets a residence machine direct real sequences on several nodes
// through random steps, rounds and switches, with copies that fail, epochs that are refused and memory that
// runs out. In every step's epoch the tables of all nodes together, with the owners' tails, must give each
// (layer, token) exactly once, as it was written; and memory is taken by that and nothing else. Nodes that
// have exactly what is kept for the sequence never run out of it.
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
		for i := 0; c.m.Waiting() || i < 3*c.g.BlockTokens; i++ { // with a limit, up to that
			if i > 100 {
				t.Fatal("the machine does not come to rest")
			}
			c.step(1)
		}
		c.m.Retry()
		c.settle()
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
	limit   int          // tokens that memory is kept for, and no more; 0: memory is what a test makes of it
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
		i := c.maker.row(layer, token, part)
		made := make([]byte, c.g.Format.PlaneBytes(c.g.Shape.HeadDim, 1))
		(&attention.KV{Format: c.g.Format, Cap: 1}).Copy(made, 0, 0, &c.maker.rows, c.maker.rows.K, 0, i, c.g.Shape.HeadDim)
		ok = ok && slices.Equal(stored, made[:len(stored)])
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
		Shape:       attention.Shape{Heads: 2, KVHeads: rapid.IntRange(1, 2).Draw(t, "heads"), HeadDim: 32},
		Layers:      rapid.IntRange(1, 5).Draw(t, "layers"),
		Format:      rapid.SampledFrom([]attention.Format{attention.F16, attention.F32, attention.Q8, attention.Q4}).Draw(t, "format"),
		BlockTokens: rapid.SampledFrom([]int{1, 3, 4}).Draw(t, "block"), Memory: rapid.SampledFrom([]device.Memory{device.Host{}, undivided{}}).Draw(t, "memory")}}
	l := residence.Layout{Layers: c.g.Layers, BlockTokens: c.g.BlockTokens, Chunk: 8, Staged: rapid.IntRange(0, 6).Draw(t, "staged"), RingOwner: rapid.IntRange(0, n-1).Draw(t, "ring owner")}
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
	room := make([]int, n)
	if rapid.Bool().Draw(t, "kept") {
		c.limit = rapid.IntRange(1, 100).Draw(t, "limit") + 3*c.g.BlockTokens
		room = p.Most([]placement.Mode{placement.Pipeline, placement.Pooled, placement.Ring}, c.limit)
		c.m.Keep(room)
	}
	c.made, c.maker = map[int]bool{}, NewFiller(c.g, 5)
	for i := range n {
		if c.limit > 0 {
			c.budgets = append(c.budgets, NewBudget(c.g.LayerBytes(1)*int64(room[i])))
		} else {
			c.budgets = append(c.budgets, NewBudget(1<<30))
		}
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
		n := rapid.IntRange(1, 10).Draw(c.T, "made-up tokens")
		if c.limit > 0 {
			n = min(n, c.limit-before)
		}
		if n > 0 && c.m.CanFill() && c.m.FitsFill(n) {
			c.m.Fill(n)
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
		err := c.m.Switch(rapid.SampledFrom([]placement.Mode{placement.Pipeline, placement.Pooled, placement.Ring}).Draw(c.T, "mode"))
		var room *residence.RoomError
		if err != nil && !(c.limit > 0 && errors.As(err, &room)) {
			c.Fatal(err)
		}
		c.settle()
	case 7:
		c.refuses = rapid.Bool().Draw(c.T, "refuses")
		if c.limit > 0 {
			return
		}
		node := rapid.IntRange(0, len(c.seqs)-1).Draw(c.T, "whose budget")
		b := c.budgets[node]
		b.limit = b.Used() + int64(rapid.IntRange(0, 4).Draw(c.T, "blocks"))*c.g.LayerBytes(c.g.BlockTokens)*int64(c.g.Layers)
	}
}

func (c *nodes) budgetEnough() {
	c.refuses = false
	if c.limit > 0 {
		return
	}
	for _, b := range c.budgets {
		b.limit = 1 << 30
	}
}

// lift gives a node what a step needs, where that may be more than it has: a step is not to fail here for
// want of memory, which would end the sequence.
func (c *nodes) lift(b *Budget) (restore func()) {
	if c.limit > 0 {
		return func() {}
	}
	limit := b.limit
	b.limit = 1 << 30
	return func() { b.limit = max(limit, b.Used()) }
}

// step runs the owners one after the other, as a pipeline does.
func (c *nodes) step(n int) {
	if c.limit > 0 {
		if n = min(n, c.limit-c.m.Length()); n == 0 {
			return
		}
		if c.m.Stalled(c.m.Length() + n) {
			refuses := c.refuses
			c.refuses = false
			c.m.Retry()
			c.settle()
			c.refuses = refuses
		}
		if !c.m.Fits(c.m.Length() + n) {
			c.Fatalf("%d tokens more do not fit although everything is settled", n)
		}
	}
	if !c.m.CanStep() {
		c.Fatal("no step may begin although everything is settled")
	}
	first := c.m.Length()
	number := c.m.Step(first + n)
	e := c.m.Epoch()
	for _, o := range e.Owners {
		restore := c.lift(c.budgets[o.Node])
		var st Step
		if err := st.Begin(c.seqs[o.Node], o.Layers, e.Covered, first, n); err != nil {
			c.Fatal(err)
		}
		st.store(c.g)
		restore()
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
		views := st.AppendTail(nil, l)
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
	if c.limit > 0 {
		n = min(n, c.limit-first)
		if n -= (first + n) % c.g.BlockTokens; n <= 0 || !c.m.FitsRound(n) {
			return
		}
	}
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
		restore := c.lift(c.budgets[node])
		var st Step
		if err := st.BeginPieces(s, all, c.m.Epoch().Covered, mine); err != nil {
			c.Fatal(err)
		}
		st.store(c.g)
		restore()
		for l := range c.g.Layers {
			for _, kv := range st.AppendTail(slices.Clone(s.Table(number).Held(l)), l) {
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
			case errors.As(err, &full) && c.limit == 0:
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
			if errors.As(err, &full) && c.limit == 0 {
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
		for n := range c.seqs {
			c.m.Released(n, a.Epoch)
		}
	case residence.Discard:
		for _, s := range c.seqs {
			s.Discard(a.Batch)
		}
		for n := range c.seqs {
			c.m.Discarded(n, a.Batch)
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
				end := length // where the last block was closed, perhaps for an epoch that was refused
				if slices.ContainsFunc(c.seqs[n].blocks, func(b *Block) bool { return b.Tokens.End > length }) {
					end = (length + c.g.BlockTokens - 1) / c.g.BlockTokens * c.g.BlockTokens
				}
				want += c.g.LayerBytes(end-e.Covered) * int64(o.Layers.Len())
			}
		}
		if b.Used() != want {
			c.Fatalf("node %d has taken %d bytes, its blocks are %d", n, b.Used(), want)
		}
	}
}
