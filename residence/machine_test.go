package residence

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/placement"
)

// TestMachineKeepsEveryTokenWhateverHappens plays random layouts and random interleavings of everything
// that can happen to a sequence, failures included, against nodes that really append, copy and drop, each in
// its own time. In every epoch each (layer, token) must have one holder which has it, no node may ever store
// more than is kept for the sequence, and nothing may come to a halt.
func TestMachineKeepsEveryTokenWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 120).Draw(t, "events") {
			if w.m.Stuck() {
				return // the conductor closes such a sequence
			}
			events := w.possible()
			e := rapid.SampledFrom(events).Draw(t, "event")
			w.Log(e.name)
			e.do()
			w.settle()
			w.checkRoom()
		}
		if !w.m.Stuck() {
			w.comeToRest()
		}
	})
}

// world is a machine with the nodes that it directs.
type world struct {
	*rapid.T
	m      *Machine
	p      *Policy
	layout Layout
	nodes  int

	has     [][][]bool                // by node, layer, token
	known   []map[uint64]*Epoch       // by node
	pending map[uint64]map[int][]Rect // copies that arrived, by batch and node
	arrived map[uint64][]arrival      // by batch, from when a node took it up until no node can refuse its epoch
	steps   []flight                  // in flight, oldest first
	begun   int                       // the length to which they lead

	copies  []copyUnderWay
	takes   []takeUp
	loading []int
	loaded  []bool
	retires []order // that nodes have not carried out
	drops   []order // of batches

	limit int   // tokens that room is kept for
	kept  []int // pairs of each node, as promised
	room  []int // and with what was lent for a switch

	numbers    uint64           // the last epoch announced
	bytes      int64            // copied for it
	sizes      map[uint64]int64 // of batches
	asked      placement.Mode
	resting    bool // there are no more choices
	refuseHard bool // whether epochs that everything depends on may be refused
	fill       int  // made-up tokens that were asked for and are not there yet
}

type flight struct {
	epoch  *Epoch
	end    int
	pieces []Piece // of a round
}

// order is an epoch before which, or a batch which, a node is to drop.
type order struct {
	number uint64
	node   int
}

// copyUnderWay is a copy, or a part that is made up.
type copyUnderWay struct {
	batch uint64
	Copy
}

// madeUp is where what is made up comes from.
const madeUp = -1

type takeUp struct {
	epoch *Epoch
	batch uint64
	node  int
}

// arrival is what a node has only since it took an epoch up.
type arrival struct {
	epoch uint64
	node  int
	cells [][2]int // layer, token
}

type event struct {
	name string
	do   func()
}

const mostTokens = 100

// The folder in which rapid would leave what fails is that of the transcripts. A check takes a millisecond.
func init() {
	if err := errors.Join(flag.Set("rapid.nofailfile", "true"), flag.Set("rapid.checks", "300")); err != nil {
		panic(err)
	}
}

func drawLayout(t *rapid.T) Layout {
	nodes := rapid.IntRange(1, 5).Draw(t, "nodes")
	l := Layout{Layers: rapid.IntRange(1, 8).Draw(t, "layers"), BlockTokens: rapid.SampledFrom([]int{1, 2, 3, 4, 7}).Draw(t, "block"),
		Chunk: rapid.IntRange(1, 20).Draw(t, "chunk"), RingOwner: rapid.IntRange(0, nodes-1).Draw(t, "ring owner")}
	sum := 0.0
	for range nodes {
		w := float64(rapid.IntRange(0, 9).Draw(t, "weight"))
		l.Weights = append(l.Weights, w)
		sum += w
	}
	for i := range l.Weights {
		if sum == 0 {
			l.Weights[i] = 1 / float64(nodes)
		} else {
			l.Weights[i] /= sum
		}
	}
	if rapid.Bool().Draw(t, "exact") { // as a plan for the full context gives them
		total := (mostTokens + 8*l.BlockTokens) / l.BlockTokens
		l.Blocks = make([]int, nodes)
		for range total {
			most := 0
			for n := range l.Blocks {
				if l.Weights[n]*float64(total)-float64(l.Blocks[n]) > l.Weights[most]*float64(total)-float64(l.Blocks[most]) {
					most = n
				}
			}
			l.Blocks[most]++
		}
		for n := range l.Weights {
			l.Weights[n] = float64(l.Blocks[n]) / float64(total)
		}
	}
	l.Staged = rapid.IntRange(0, 12).Draw(t, "staged")
	for first := 0; first < l.Layers; { // more nodes than layers, or a node without any, are as likely
		end := rapid.IntRange(first+1, l.Layers).Draw(t, "layer")
		l.Pipeline = append(l.Pipeline, Owner{Span{first, end}, len(l.Pipeline) % nodes})
		first = end
	}
	return l
}

func newWorld(t *rapid.T) *world {
	l := drawLayout(t)
	p, err := NewPolicy(l)
	if err != nil {
		t.Fatal(err)
	}
	n := len(l.Weights)
	w := &world{T: t, p: p, layout: l, nodes: n, pending: map[uint64]map[int][]Rect{}, arrived: map[uint64][]arrival{}, sizes: map[uint64]int64{},
		loaded: make([]bool, n), refuseHard: rapid.IntRange(0, 9).Draw(t, "hard refusals") == 0}
	mode := drawMode(t)
	for i := range w.loaded {
		w.loaded[i] = mode == placement.Ring || rapid.Bool().Draw(t, "loaded")
	}
	w.m = NewMachine(p, n, mode, slices.Clone(w.loaded))
	w.numbers = w.m.Epoch().Number
	w.limit = rapid.IntRange(1, mostTokens).Draw(t, "limit") + 4*l.BlockTokens
	w.kept = p.Most([]placement.Mode{placement.Pipeline, placement.Pooled, placement.Ring}, w.limit)
	w.room = w.kept
	w.m.Keep(w.room)
	for range n {
		layers := make([][]bool, l.Layers)
		for i := range layers {
			layers[i] = make([]bool, w.limit+l.BlockTokens)
		}
		w.has = append(w.has, layers)
		w.known = append(w.known, map[uint64]*Epoch{1: w.m.Epoch()})
	}
	return w
}

func drawMode(t *rapid.T) placement.Mode {
	return rapid.SampledFrom([]placement.Mode{placement.Pipeline, placement.Pooled, placement.Ring}).Draw(t, "mode")
}

// possible is everything that could happen next.
func (w *world) possible() []event {
	es := w.answers()
	fail := func(name string, do func()) { es = append(es, event{name, do}) }
	if len(w.copies) > 0 {
		fail("a copy fails", func() {
			c := w.takeCopy()
			w.m.CopyFailed(c.batch, "full")
		})
	}
	if len(w.takes) > 0 {
		t := w.takes[rapid.IntRange(0, len(w.takes)-1).Draw(w.T, "who")]
		if t.batch > 0 || w.refuseHard {
			fail("an epoch is refused", func() {
				w.takes = slices.DeleteFunc(w.takes, func(o takeUp) bool { return o == t })
				w.m.Refused(t.epoch.Number, t.node, "no")
			})
		}
	}
	if len(w.loading) > 0 {
		fail("weights fail", func() {
			n := w.loading[0]
			w.loading = w.loading[1:]
			w.m.WeightsFailed(n, "no room")
		})
	}
	if w.m.next == nil || w.m.next.batch > 0 || w.refuseHard {
		fail("a deadline passes", func() { w.m.Abandon("late") })
	}
	fail("a switch", w.askSwitch)
	if w.begun < w.limit-4*w.layout.BlockTokens && w.fill == 0 {
		es = append(es, w.starts()...)
		n := rapid.IntRange(1, 3*w.layout.BlockTokens).Draw(w.T, "made-up tokens")
		es = append(es, event{fmt.Sprintf("a fill of %d", n), func() { w.makeUp(n) }})
	}
	return es
}

// answers is what is outstanding and goes well.
func (w *world) answers() (es []event) {
	if len(w.steps) > 0 {
		es = append(es, event{"a step is done", w.stepDone})
	}
	if len(w.copies) > 0 {
		es = append(es, event{"a copy arrives", func() { w.copied(w.takeCopy()) }})
	}
	if len(w.takes) > 0 {
		es = append(es, event{"an epoch is taken up", w.taken})
	}
	if len(w.retires) > 0 {
		es = append(es, event{"a node retires epochs", func() { w.retire(w.takeOrder(&w.retires)) }})
	}
	if len(w.drops) > 0 {
		es = append(es, event{"a node drops copies", func() { w.drop(w.takeOrder(&w.drops)) }})
	}
	if len(w.loading) > 0 {
		es = append(es, event{"weights are ready", func() {
			i := w.pick(len(w.loading), "which node")
			n := w.loading[i]
			w.loading = slices.Delete(w.loading, i, i+1)
			w.loaded[n] = true
			w.m.WeightsReady(n)
		}})
	}
	return es
}

func (w *world) starts() (es []event) {
	if w.m.CanStep() && len(w.steps) < 4 {
		n := min(rapid.IntRange(1, w.layout.Chunk).Draw(w.T, "tokens"), w.limit-w.begun)
		if w.m.Fits(w.begun + n) {
			es = append(es, event{fmt.Sprintf("a step of %d", n), func() { w.step(n) }})
		}
	}
	if w.m.Epoch().Mode == placement.Ring && w.nodes > 1 && len(w.steps) == 0 {
		n := min(rapid.IntRange(1, w.p.Round()-w.begun%w.p.Round()).Draw(w.T, "tokens of a round"), w.limit-w.begun)
		if n -= (w.begun + n) % w.layout.BlockTokens; n > 0 {
			es = append(es, event{fmt.Sprintf("a round of %d", n), func() { w.round(n) }})
		}
	}
	return es
}

func (w *world) step(n int) {
	if !w.m.CanStep() {
		w.Fatal("CanStep changed its mind")
	}
	number := w.m.Step(w.begun + n)
	e := w.m.Epoch()
	if e.Number != number {
		w.Fatalf("step in epoch %d, in force is %d", number, e.Number)
	}
	for n := range w.nodes {
		if w.known[n][number] == nil {
			w.Fatalf("a step in epoch %d, which node %d has not taken up", number, n)
		}
	}
	for l := range w.layout.Layers {
		for t := w.begun; t < w.begun+n; t++ {
			w.has[e.OwnerOf(l)][l][t] = true
		}
	}
	w.begun += n
	w.steps = append(w.steps, flight{epoch: e, end: w.begun})
}

func (w *world) round(n int) {
	if !w.m.CanRound() || !w.m.FitsRound(n) {
		return
	}
	if w.m.Epoch().Covered != w.begun {
		w.Fatalf("a round begins at %d with open blocks from %d on", w.begun, w.m.Epoch().Covered)
	}
	number, pieces := w.m.Round(n)
	if w.m.CanStep() || w.m.CanRound() {
		w.Fatal("a step may begin during a round")
	}
	next := w.begun
	for _, p := range pieces {
		if p.Tokens.First != next || p.Tokens.Len() <= 0 || p.Tokens.Len() > w.layout.BlockTokens {
			w.Fatalf("piece %v does not continue at %d", p, next)
		}
		next = p.Tokens.End
		for l := range w.layout.Layers {
			for t := p.Tokens.First; t < p.Tokens.End; t++ {
				w.has[p.Node][l][t] = true
			}
		}
	}
	if next != w.begun+n {
		w.Fatalf("the pieces of %d tokens from %d end at %d", n, w.begun, next)
	}
	w.begun = next
	w.steps = append(w.steps, flight{epoch: w.m.Epoch(), end: next, pieces: pieces})
	if w.m.Epoch().Number != number {
		w.Fatalf("round in epoch %d, in force is %d", number, w.m.Epoch().Number)
	}
}

func (w *world) makeUp(n int) {
	if !w.m.CanFill() || !w.m.FitsFill(n) {
		return
	}
	w.m.Fill(n)
	if w.fill = n; w.m.CanStep() || w.m.CanRound() || w.m.CanFill() {
		w.Fatal("a step may begin during a fill")
	}
}

func (w *world) stepDone() {
	s := w.steps[0]
	w.steps = w.steps[1:]
	at := func(l, t int) int {
		for _, p := range s.pieces {
			if p.Tokens.Contains(t) {
				return p.Node
			}
		}
		return holder(w.T, s.epoch, l, t)
	}
	for l := range w.layout.Layers {
		for t := range s.end {
			if n := at(l, t); !w.has[n][l][t] {
				w.Fatalf("a step in epoch %d needs layer %d token %d of node %d, which dropped it", s.epoch.Number, l, t, n)
			}
		}
	}
	if s.pieces != nil {
		w.m.RoundDone(s.epoch.Number, s.pieces)
	} else {
		w.m.Done(s.epoch.Number, s.end)
	}
	if w.m.Length() != s.end {
		w.Fatalf("length %d after %d tokens", w.m.Length(), s.end)
	}
}

// holder is the one node that answers for a (layer, token) in an epoch.
func holder(t *rapid.T, e *Epoch, layer, token int) int {
	if token >= e.Covered {
		return e.OwnerOf(layer)
	}
	node := -1
	for _, h := range e.Held {
		if h.Layers.Contains(layer) && h.Tokens.Contains(token) {
			if node >= 0 {
				t.Fatalf("epoch %d: layer %d token %d has two holders", e.Number, layer, token)
			}
			node = h.Node
		}
	}
	if node < 0 {
		t.Fatalf("epoch %d: layer %d token %d has no holder", e.Number, layer, token)
	}
	return node
}

// pick is one of n answers, any of them until the machine is to come to rest.
func (w *world) pick(n int, label string) int {
	if w.resting {
		return 0
	}
	return rapid.IntRange(0, n-1).Draw(w.T, label)
}

func (w *world) takeCopy() copyUnderWay {
	i := w.pick(len(w.copies), "which copy")
	c := w.copies[i]
	w.copies = slices.Delete(w.copies, i, i+1)
	return c
}

// live reports whether the machine still waits for a copy.
func (w *world) live(c copyUnderWay) bool { return w.m.batch != nil && w.m.batch.number == c.batch }

// copied sends a copy and lets it arrive. One that nobody waits for any more may find nothing to send.
func (w *world) copied(c copyUnderWay) {
	live := w.live(c)
	for l := c.Rect.Layers.First; l < c.Rect.Layers.End; l++ {
		for t := c.Rect.Tokens.First; t < c.Rect.Tokens.End; t++ {
			if live && c.From != madeUp && !w.has[c.From][l][t] {
				w.Fatalf("copy %v of batch %d: layer %d token %d was dropped before it was sent", c.Copy, c.batch, l, t)
			}
		}
	}
	if live || slices.Contains(w.drops, order{c.batch, c.To}) {
		if w.pending[c.batch] == nil {
			w.pending[c.batch] = map[int][]Rect{}
		}
		w.pending[c.batch][c.To] = append(w.pending[c.batch][c.To], c.Rect)
	}
	for range 1 + w.pick(2, "repeated") {
		w.m.Copied(c.batch, c.ID, int64(c.Rect.Area()))
	}
}

// taken lets a node take an epoch up. Messages to one node arrive in order.
func (w *world) taken() {
	i := w.pick(len(w.takes), "which node")
	t := w.takes[i]
	w.takes = slices.Delete(w.takes, i, i+1)
	a := arrival{epoch: t.epoch.Number, node: t.node}
	for _, r := range w.pending[t.batch][t.node] {
		for l := r.Layers.First; l < r.Layers.End; l++ {
			for tok := r.Tokens.First; tok < r.Tokens.End; tok++ {
				if !w.has[t.node][l][tok] {
					w.has[t.node][l][tok] = true
					a.cells = append(a.cells, [2]int{l, tok})
				}
			}
		}
	}
	w.arrived[t.batch] = append(w.arrived[t.batch], a)
	delete(w.pending[t.batch], t.node)
	for _, r := range t.epoch.HeldBy(t.node) {
		for l := r.Layers.First; l < r.Layers.End; l++ {
			for tok := r.Tokens.First; tok < r.Tokens.End; tok++ {
				if !w.has[t.node][l][tok] {
					w.Fatalf("epoch %d: layer %d token %d is not on node %d", t.epoch.Number, l, tok, t.node)
				}
			}
		}
	}
	w.known[t.node][t.epoch.Number] = t.epoch
	w.m.Taken(t.epoch.Number, t.node)
}

func (w *world) askSwitch() {
	mode, busy := drawMode(w.T), w.m.Switching()
	lacks := w.m.Lacks(mode, 0)
	if !busy && lacks != nil && rapid.Bool().Draw(w.T, "memory is lent") {
		w.room = slices.Clone(w.room)
		for n := range w.room {
			w.room[n] += lacks[n]
		}
		w.m.Keep(w.room)
		lacks = nil
	}
	err := w.m.Switch(mode)
	var full *RoomError
	if !busy && errors.As(err, &full) {
		if !slices.Equal(lacks, full.Lacks) || full.Mode != mode {
			w.Fatalf("refused with %+v, lacking is %v", full, lacks)
		}
		return
	}
	if (err != nil) != busy || !busy && lacks != nil {
		w.Fatalf("switch while switching is %v: %v", busy, err)
	} else if err == nil {
		w.asked = mode
		if mode == w.m.Epoch().Mode {
			w.bytes = 0
		}
	}
}

// settle carries out what the machine asks for.
func (w *world) settle() {
	before := w.m.Epoch()
	for _, a := range w.m.Ready() {
		switch a := a.(type) {
		case LoadLayers:
			if w.loaded[a.Node] || a.Layers != (Span{0, w.layout.Layers}) {
				w.Fatalf("%+v", a)
			}
			if !slices.Contains(w.loading, a.Node) {
				w.loading = append(w.loading, a.Node)
			}
		case CopyBlocks:
			for _, c := range a.Copies {
				w.sizes[a.Batch] += int64(c.Rect.Area())
				if c.From == c.To || c.Rect.Area() == 0 || c.Rect.Tokens.End > w.m.Length() {
					w.Fatalf("copy %v at length %d", c, w.m.Length())
				}
				w.copies = append(w.copies, copyUnderWay{a.Batch, c})
			}
		case FillBlocks:
			cells := 0
			for i, h := range a.Parts {
				cells += h.Area()
				if h.Area() == 0 || h.Tokens.First < w.begun || h.Tokens.End > w.begun+w.fill {
					w.Fatalf("%v is made up at length %d, asked for were %d tokens", h, w.begun, w.fill)
				}
				w.copies = append(w.copies, copyUnderWay{a.Batch, Copy{ID: i, Rect: h.Rect, From: madeUp, To: h.Node}})
			}
			if cells != w.fill*w.layout.Layers {
				w.Fatalf("%d (layer, token) pairs are made up for %d tokens", cells, w.fill)
			}
		case Filled:
			w.begun += w.fill
			if w.fill = 0; a.Tokens != w.begun || w.m.Length() != w.begun {
				w.Fatalf("%+v at length %d, should be %d", a, w.m.Length(), w.begun)
			}
		case Announce:
			w.announced(a)
		case Retire:
			for n := range w.nodes {
				w.retires = append(w.retires, order{a.Epoch, n})
			}
			for _, s := range w.steps {
				if s.epoch.Number < a.Epoch {
					w.Fatalf("epochs before %d are retired while a step runs in %d", a.Epoch, s.epoch.Number)
				}
			}
		case Discard:
			w.takes = slices.DeleteFunc(w.takes, func(t takeUp) bool { return t.batch == a.Batch })
			for n := range w.nodes {
				w.drops = append(w.drops, order{a.Batch, n})
			}
		case Switched:
			if a.Mode != w.asked || a.Mode != w.m.Epoch().Mode || a.Tokens != w.m.Length() || a.Bytes != w.bytes {
				w.Fatalf("%+v at length %d, asked was %v, in force is %v", a, w.m.Length(), w.asked, w.m.Epoch().Mode)
			}
			w.asked = 0
		case Failed:
			if a.Mode != w.m.Epoch().Mode || a.Reason == "" || a.Switch != (w.asked != 0 && !w.m.Switching()) {
				w.Fatalf("%+v: in force is %v, asked was %v", a, w.m.Epoch().Mode, w.asked)
			}
			if a.Fill {
				if w.fill == 0 || w.m.Length() != w.begun {
					w.Fatalf("%+v at length %d, should be %d; a fill of %d was asked for", a, w.m.Length(), w.begun, w.fill)
				}
				w.fill = 0
			}
			if a.Switch {
				if w.asked = 0; before != w.m.Epoch() || !slices.Equal(before.Owners, w.m.Epoch().Owners) {
					w.Fatalf("a failed switch changed epoch %d into %d", before.Number, w.m.Epoch().Number)
				}
			}
		}
	}
	waits := len(w.loading)+len(w.takes)+len(w.drops)+len(w.m.releases) > 0 || slices.ContainsFunc(w.copies, w.live)
	if w.m.Switching() && !waits && w.m.CanStep() {
		w.Fatal("a switch that has all that it needs does not come to pass while steps go on")
	}
	if w.m.Switching() != (w.asked != 0) {
		w.Fatalf("switching is %v, without an answer is %v", w.m.Switching(), w.asked)
	}
}

func (w *world) announced(a Announce) {
	e, now := a.Epoch, w.m.Epoch()
	if err := e.Validate(w.layout.Layers, w.nodes); err != nil {
		w.Fatal(err)
	}
	if e.Number <= w.numbers || e.Covered < now.Covered || e.Covered > w.m.Length()+w.fill {
		w.Fatalf("epoch %d after %d, covering %d after %d, at length %d", e.Number, w.numbers, e.Covered, now.Covered, w.m.Length())
	}
	if len(w.takes) > 0 {
		w.Fatalf("epoch %d is announced before %d is in force", e.Number, w.takes[0].epoch.Number)
	}
	w.numbers, w.bytes = e.Number, w.sizes[a.Batch]
	if !slices.Equal(e.Owners, now.Owners) && (len(w.steps) > 0 || w.m.CanStep() || e.Covered != w.m.Length()+w.fill) {
		w.Fatalf("epoch %d gives layers to other owners while they may grow", e.Number)
	}
	for n := range w.nodes {
		w.takes = append(w.takes, takeUp{e, a.Batch, n})
	}
}

// takeOrder takes one of the orders that nodes have not carried out.
func (w *world) takeOrder(orders *[]order) order {
	i := w.pick(len(*orders), "which order")
	o := (*orders)[i]
	*orders = slices.Delete(*orders, i, i+1)
	return o
}

// drop has a node drop the copies of a batch, and forget the epoch that was to use them.
func (w *world) drop(o order) {
	delete(w.pending[o.number], o.node)
	for _, a := range w.arrived[o.number] {
		if a.node == o.node {
			delete(w.known[a.node], a.epoch)
			for _, c := range a.cells {
				w.has[a.node][c[0]][c[1]] = false
			}
		}
	}
	w.m.Discarded(o.node, o.number)
}

// retire has a node drop what no epoch from number on needs.
func (w *world) retire(o order) {
	n := o.node
	for e := range w.known[n] {
		if e < o.number {
			delete(w.known[n], e)
		}
	}
	for l := range w.layout.Layers {
		for t := range w.has[n][l] {
			if w.has[n][l][t] {
				w.has[n][l][t] = w.needed(n, l, t)
			}
		}
	}
	w.m.Released(n, o.number)
}

// checkRoom holds what every node stores against what is kept for the sequence there: tokens, copies that
// no epoch uses yet, and the room of open blocks.
func (w *world) checkRoom() {
	e, block := w.m.Epoch(), w.layout.BlockTokens
	open := e.Covered < w.begun || w.m.next != nil && w.m.next.epoch.Covered < w.begun || w.m.round
	for n := range w.nodes {
		pairs := 0
		for l := range w.layout.Layers {
			for _, has := range w.has[n][l] {
				if has {
					pairs++
				}
			}
			if open && e.OwnerOf(l) == n {
				pairs += (w.begun+block-1)/block*block - w.begun
			}
		}
		for _, nodes := range w.pending {
			for _, r := range nodes[n] {
				pairs += r.Area()
			}
		}
		if pairs > w.room[n] {
			w.Fatalf("node %d stores %d pairs, %d are kept", n, pairs, w.room[n])
		}
	}
}

func (w *world) needed(node, layer, token int) bool {
	for _, e := range w.known[node] {
		if token >= e.Covered || holder(w.T, e, layer, token) == node {
			return true
		}
	}
	return false
}

// comeToRest gives every outstanding answer, and further steps, and checks where everything has come to.
func (w *world) comeToRest() {
	w.resting = true
	quiet := func() {
		for range 10_000 {
			es := w.answers()
			if len(es) == 0 {
				return
			}
			es[0].do()
			w.settle()
			w.checkRoom()
		}
		w.Fatal("there is no end to what the machine asks for")
	}
	quiet()
	w.m.Retry()
	w.settle()
	quiet()
	if !w.m.Within(w.kept) {
		w.Fatal("what was lent for a switch is needed although everything is answered")
	}
	w.room = w.kept
	w.m.Keep(w.room)
	if !w.m.CanFill() {
		w.settle() // the tail is closed
		quiet()
	}
	if n := w.limit - w.begun; n > 0 && (!w.m.CanFill() || !w.m.FitsFill(n)) {
		w.Fatalf("no fill of %d tokens may begin although everything is answered: %+v", n, w.m)
	}
	for w.m.Length() < w.limit {
		if w.m.Stalled(min(w.begun+w.layout.Chunk, w.limit)) {
			w.m.Retry()
			w.settle()
			quiet()
		}
		if w.m.Epoch().Mode == placement.Ring && w.limit-w.begun >= w.nodes*w.layout.BlockTokens && w.nodes > 1 {
			n := min(w.p.Round()-w.begun%w.p.Round(), w.limit-w.begun)
			n -= (w.begun + n) % w.layout.BlockTokens
			if !w.m.CanRound() {
				w.settle() // the tail is closed
				quiet()
			}
			begun := w.begun
			if w.round(n); w.begun == begun {
				w.Fatalf("no round of %d tokens may begin although everything is answered: %+v", n, w.m)
			}
			quiet()
			continue
		}
		n := min(w.layout.Chunk, w.limit-w.begun)
		if !w.m.CanStep() || !w.m.Fits(w.begun+n) {
			w.Fatalf("no step of %d tokens may begin although everything is answered: %+v", n, w.m)
		}
		w.step(n)
		quiet()
	}
	w.m.Retry() // what failed when the last tokens were in already
	w.settle()
	quiet()
	if w.m.Waiting() || len(w.m.releases) > 0 || w.asked != 0 {
		w.Fatalf("the machine still waits: %+v", w.m)
	}
	for batch, nodes := range w.pending {
		if len(nodes) > 0 {
			w.Fatalf("batch %d was neither used nor discarded", batch)
		}
	}
	e := w.m.Epoch()
	sealed := w.m.Length() / w.layout.BlockTokens * w.layout.BlockTokens
	for _, h := range w.p.target(e.Mode, sealed) {
		for l := h.Layers.First; l < h.Layers.End; l++ {
			for t := h.Tokens.First; t < h.Tokens.End; t++ {
				if n := holder(w.T, e, l, t); n != h.Node {
					w.Fatalf("%v: layer %d token %d of %d is on node %d, should be on %d", e.Mode, l, t, w.m.Length(), n, h.Node)
				}
			}
		}
	}
	for n := range w.nodes {
		for l := range w.layout.Layers {
			for t := range w.m.Length() {
				if w.has[n][l][t] && holder(w.T, e, l, t) != n {
					w.Fatalf("node %d keeps layer %d token %d, which nobody needs there", n, l, t)
				}
			}
		}
	}
}
