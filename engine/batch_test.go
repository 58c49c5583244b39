package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/sampling"
)

// sequenceOf is a sequence of a test: what it has been fed, and how its tokens are chosen.
type sequenceOf struct {
	id       uint64
	epoch    uint64
	fed      []int32
	sampling sampling.Params
}

// laid is where a sequence is: its layers are split over the nodes, or node 0 owns all of them and the blocks of 4
// tokens before covered are dealt out.
type laid struct {
	prompt, covered int
	split           bool
}

// begin opens sequences, feeds their prompts, and deals their blocks out.
func (b *bench) begin(places []laid) (all []*sequenceOf) {
	b.Helper()
	nodes := len(b.engines)
	for i, p := range places {
		s := &sequenceOf{id: uint64(seqID + i), epoch: 1, fed: b.ids(100)[i : i+p.prompt], sampling: sampling.Params{Temperature: 1, Seed: uint64(i)}}
		if i%3 == 0 {
			s.sampling = sampling.Params{}
		}
		b.use(s.id)
		if p.split {
			b.open(piped(1, b.model.Config.Layers, nodes))
		} else {
			b.open(owned(1, placement.Pooled, b.model.Config.Layers, nodes, 0))
		}
		if _, err := b.chunk(1, 0, s.fed); err != nil {
			b.Fatal(err)
		}
		if p.covered > 0 {
			s.epoch = 2
			e := owned(2, placement.Pooled, b.model.Config.Layers, nodes, p.covered)
			everyone := []int{}
			for n := range nodes {
				everyone = append(everyone, n)
			}
			for _, h := range e.Held {
				if h.Node != 0 {
					b.copyTo(3, 0, h.Node, h.Rect)
				}
			}
			b.takeUp(e, 3, everyone...)
			for _, q := range b.seqs {
				q.Retire(2)
			}
		}
		s.fed = append(slices.Clone(s.fed), 7) // the first to go on with
		all = append(all, s)
	}
	return all
}

// row is the next token of a sequence as a row: the last one that it was given, at the end of what has been fed.
func (b *bench) row(s *sequenceOf) BatchRow {
	b.steps++
	return BatchRow{Seq: s.id, Step: b.steps, Epoch: s.epoch, First: len(s.fed) - 1, ID: s.fed[len(s.fed)-1], Sampling: s.sampling}
}

// batched runs a step of some sequences, and gives what became of each row.
func (b *bench) batched(rows []BatchRow) map[uint64]Result {
	b.Helper()
	table := b.opened[rows[0].Seq][0].Use(rows[0].Epoch)
	owner := table.Epoch.OwnerOf(0)
	table.Release()
	if err := b.driver.Batch(owner, rows); err != nil {
		b.Fatal(err)
	}
	return b.resultsOf(len(rows))
}

// resultsOf is the next results, by step.
func (b *bench) resultsOf(n int) map[uint64]Result {
	b.Helper()
	got := map[uint64]Result{}
	for range n {
		r := b.result()
		if _, twice := got[r.Step]; twice {
			b.Fatalf("a second result of step %d: %+v", r.Step, r)
		}
		got[r.Step] = r
	}
	return got
}

// generate gives every sequence so many tokens, in steps of those that which says go together, or each alone, and then
// the logits of a few more tokens, which what has been stored meanwhile has part in.
func (b *bench) generate(all []*sequenceOf, tokens int, together bool) (logits [][]float32) {
	b.Helper()
	for i := range tokens {
		var rows []BatchRow
		var of []*sequenceOf
		for j, s := range all {
			if (i+j)%4 != 3 { // one of them has something else to do
				rows, of = append(rows, b.row(s)), append(of, s)
			}
		}
		got := map[uint64]Result{}
		if together {
			got = b.batched(rows)
		} else {
			for _, r := range rows {
				if err := b.driver.Chunk(0, r.Seq, r.Step, r.Epoch, r.First, []int32{r.ID}, Want{Token: true, Sampling: r.Sampling}); err != nil {
					b.Fatal(err)
				}
				got[r.Step] = b.result()
			}
		}
		for j, s := range of {
			r := got[rows[j].Step]
			if r.Err != nil || r.Seq != s.id || r.Token < 0 {
				b.Fatalf("token %d of sequence %d: %+v", i, s.id, r)
			}
			s.fed = append(s.fed, r.Token)
		}
	}
	for _, s := range all {
		b.use(s.id)
		b.steps++
		if err := b.driver.Chunk(0, s.id, b.steps, s.epoch, len(s.fed)-1, b.ids(3), Want{Logits: true}); err != nil {
			b.Fatal(err)
		}
		l, failed := b.collect(1, len(s.fed)-1, 3)
		if failed != nil {
			b.Fatal(failed)
		}
		logits = append(logits, l)
	}
	return logits
}

// Tokens are the same, and what is stored, to the bit.
func TestSequencesInOneStepComputeWhatEachDoesAlone(t *testing.T) {
	split := []laid{{3, 0, true}, {18, 0, true}, {9, 0, true}, {1, 0, true}, {23, 0, true}}
	dealt := []laid{{9, 8, false}, {23, 20, false}, {14, 12, false}, {5, 4, false}}
	for name, c := range map[string]struct {
		nodes  int
		places []laid
		model  modeltest.Options
	}{
		"one node":                        {1, split, modeltest.Options{}},
		"two nodes in pipeline":           {2, split, modeltest.Options{}},
		"three nodes in pipeline":         {3, split, modeltest.Options{ModelType: "qwen3"}},
		"experts on two nodes":            {2, split, modeltest.Options{ModelType: "qwen3_moe"}},
		"blocks on three nodes":           {3, dealt, modeltest.Options{}},
		"as many as there may be":         {2, append(slices.Clone(dealt), dealt...), modeltest.Options{Layers: 2}},
		"some of which ask one or nobody": {3, []laid{{9, 4, false}, {30, 28, false}, {20, 8, false}, {1, 0, false}, {17, 0, false}}, modeltest.Options{Layers: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			play := func(together bool) ([]*sequenceOf, [][]float32) {
				b := newBench(t, setup{nodes: c.nodes, model: c.model})
				places := slices.Clone(c.places)
				all := b.begin(places)
				return all, b.generate(all, 12, together)
			}
			want, wantLogits := play(false)
			got, gotLogits := play(true)
			for i := range want {
				if !slices.Equal(got[i].fed, want[i].fed) {
					t.Errorf("sequence %d: %v, alone %v", i, got[i].fed, want[i].fed)
				}
				if !slices.Equal(gotLogits[i], wantLogits[i]) {
					t.Errorf("sequence %d: logits behind what was stored differ", i)
				}
			}
		})
	}
}

// A row that fails is told of, and the others have their tokens.
func TestARowThatFailsLeavesTheOthersAlone(t *testing.T) {
	unknown := func(b *bench, r *BatchRow, s *sequenceOf) { r.Seq = 99 }
	for name, c := range map[string]struct {
		split  bool
		damage func(b *bench, r *BatchRow, s *sequenceOf)
		want   string
	}{
		"unknown sequence":              {true, unknown, "sequence 99 is not open on n0"},
		"unknown sequence, asking":      {false, unknown, "sequence 99 is not open on n0"},
		"unknown epoch":                 {true, func(b *bench, r *BatchRow, s *sequenceOf) { r.Epoch = 9 }, "epoch 9 of sequence 6 is not in force on n0"},
		"not a token":                   {true, func(b *bench, r *BatchRow, s *sequenceOf) { r.ID = 256 }, "is 256, outside of the vocabulary"},
		"not the next token":            {true, func(b *bench, r *BatchRow, s *sequenceOf) { r.First++ }, "does not continue"},
		"sampling that is none":         {true, func(b *bench, r *BatchRow, s *sequenceOf) { r.Sampling.TopP = -1 }, "top"},
		"closed on the next owner":      {true, func(b *bench, r *BatchRow, s *sequenceOf) { b.engines[1].RemoveSequence(s.id) }, "sequence 6 is not open on n1"},
		"closed on one that is asked":   {false, func(b *bench, r *BatchRow, s *sequenceOf) { b.engines[1].RemoveSequence(s.id) }, "sequence 6 is not open on n1 in epoch 2"},
		"released on one that is asked": {false, func(b *bench, r *BatchRow, s *sequenceOf) { b.opened[s.id][2].Release() }, "sequence 6 is not open on n2 in epoch 2"},
		"released on the next owner":    {true, func(b *bench, r *BatchRow, s *sequenceOf) { b.opened[s.id][1].Release() }, "sequence 6"},
		"another way": {true, func(b *bench, r *BatchRow, s *sequenceOf) {
			b.use(s.id)
			b.open(owned(1, placement.Ring, 4, 3, 0))
			r.First = 0
		}, "sequence 6 does not go from node to node as sequence 5 does"},
	} {
		t.Run(name, func(t *testing.T) {
			places := []laid{{9, 8, false}, {14, 12, false}, {14, 12, false}}
			for i := range places {
				if places[i].split = c.split; c.split {
					places[i].covered = 0
				}
			}
			b := newBench(t, setup{nodes: 3})
			all := b.begin(places)
			var rows []BatchRow
			for i, s := range all {
				rows = append(rows, b.row(s))
				if i == 1 {
					c.damage(b, &rows[i], s)
				}
			}
			got := b.batched(rows)
			if r := got[rows[1].Step]; r.Err == nil || r.Seq != rows[1].Seq || r.Err.Lost != "" || !strings.Contains(r.Err.Text, c.want) {
				t.Errorf("the row gave %+v", r)
			}
			for _, i := range []int{0, 2} {
				r := got[rows[i].Step]
				if r.Err != nil || r.Seq != all[i].id {
					t.Fatalf("row %d gave %+v", i, r)
				}
				all[i].fed = append(all[i].fed, r.Token)
			}
			rest := b.batched([]BatchRow{b.row(all[0]), b.row(all[2])})
			for _, r := range rest {
				if r.Err != nil || r.Token < 0 {
					t.Errorf("the next step gave %+v", r)
				}
			}
		})
	}
}

// Where there is room for two that ask others, a third is refused, whether it asks itself or one before it does.
func TestRowsForWhichThereIsNoRoomToAskAreRefused(t *testing.T) {
	for name, places := range map[string][]laid{
		"the last asks":  {{9, 0, false}, {10, 0, false}, {14, 12, false}},
		"the first asks": {{14, 12, false}, {9, 0, false}, {10, 0, false}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, setup{nodes: 2, asking: 2})
			var rows []BatchRow
			all := b.begin(places)
			for _, s := range all {
				rows = append(rows, b.row(s))
			}
			got := b.batched(rows)
			for i := range 2 {
				if r := got[rows[i].Step]; r.Err != nil || r.Token < 0 {
					t.Errorf("row %d: %+v", i, r)
				}
			}
			if r := got[rows[2].Step]; r.Err == nil || !strings.Contains(r.Err.Text, "for which n0 has room for 2") {
				t.Errorf("the row beyond: %+v", r)
			}
		})
	}
}

func TestBatchesThatDoNotFitAreRefused(t *testing.T) {
	b := newBench(t, setup{nodes: 2})
	all := b.begin([]laid{{9, 0, true}, {10, 0, true}})
	rows := []BatchRow{b.row(all[0]), b.row(all[1])}
	encoded := make([]byte, 2*rowBytes)
	for i := range rows {
		rows[i].encode(encoded[i*rowBytes:])
	}
	message := func(layer, count int) header {
		return header{Kind: kindBatch, Layer: uint32(layer), Count: uint32(count), Seq: rows[0].Seq, Step: rows[0].Step, Epoch: 1}
	}
	hidden := make([]byte, 2*4*b.model.Config.Hidden)
	for name, c := range map[string]struct {
		h      header
		parts  []byte
		handed bool // by another node
		rows   int  // that are told of
		want   string
	}{
		"cut short":                       {message(0, 2), encoded[:rowBytes], false, 1, "2 sequences came in 56 bytes"},
		"too long":                        {message(0, 1), encoded, false, 1, "1 sequences came in 112 bytes"},
		"nobody":                          {message(0, 0), nil, false, 1, "0 sequences"},
		"absurdly many":                   {message(0, 1<<32-1), encoded, false, 1, "at most 8 sequences"},
		"too many":                        {message(0, BatchRows+1), make([]byte, (BatchRows+1)*rowBytes)[:len(encoded)], false, 1, "9 sequences"},
		"twice":                           {message(0, 2), slices.Concat(encoded[:rowBytes], encoded[:rowBytes]), false, 2, "sequence 5 is twice"},
		"no such layer":                   {message(9, 2), slices.Concat(encoded, hidden), true, 2, "from layer 9"},
		"a hidden state at another's":     {message(2, 2), slices.Concat(encoded, hidden), true, 2, "layer 2 is not of n0"},
		"handed over at the first layer":  {message(0, 2), slices.Concat(encoded, hidden), true, 1, "layer 0 of a step begins with a hidden state"},
		"handed out within the layers":    {message(2, 2), encoded, false, 1, "layer 2 of a step begins with a hidden state: false"},
		"within the layers, but no state": {message(2, 2), encoded, true, 1, "2 sequences came in 112 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			var head [headerBytes]byte
			send := func() error { return b.driver.send(0, c.h, c.parts, nil) }
			if c.handed {
				send = func() error {
					return b.engines[1].lanes.hiddenOut[0].Send(time.Now().Add(patience), c.h.encode(&head), c.parts)
				}
			}
			if err := send(); err != nil {
				t.Fatal(err)
			}
			r := b.result()
			if r.Err == nil || r.Step != rows[0].Step || !strings.Contains(r.Err.Text, c.want) {
				t.Errorf("%+v", r)
			}
			if c.rows > 1 {
				if r := b.result(); r.Err == nil || !strings.Contains(r.Err.Text, c.want) {
					t.Errorf("the other row gave %+v", r)
				}
			}
		})
	}
	query := message(1, 2)
	s := b.engines[1].servers[0]
	width := b.engines[1].shape.Heads * b.engines[1].shape.HeadDim
	for name, payload := range map[string][]byte{"a query cut short": encoded, "a query too long": make([]byte, 2*(rowBytes+4*width)+4), "an empty one": nil} {
		if _, _, err := s.computeRows(query, aligned(payload)); err == nil || !strings.Contains(err.Error(), "2 sequences came in") {
			t.Errorf("%s: %v", name, err)
		}
	}
	query.Layer = 4
	if _, _, err := s.computeRows(query, aligned(make([]byte, 2*(rowBytes+4*width)))); err == nil || !strings.Contains(err.Error(), "layer 4") {
		t.Errorf("a query of no layer: %v", err)
	}
	if _, _, err := b.driver.parse(0, append(make([]byte, headerBytes), make([]byte, 7)...)); err == nil {
		t.Error("a result of no kind was taken")
	}
	chosen := header{Kind: kindChosen, Count: 2}
	var head [headerBytes]byte
	if _, _, err := b.driver.parse(0, append(chosen.encode(&head), make([]byte, chosenBytes)...)); err == nil || !strings.Contains(err.Error(), "2 sequences came in 20 bytes") {
		t.Errorf("tokens cut short: %v", err)
	}
	if got := b.batched(rows); got[rows[0].Step].Err != nil || got[rows[1].Step].Err != nil {
		t.Errorf("a good step after them: %+v", got)
	}
}

// A node that says nothing ends the step for all rows, with its name.
func TestALostNodeEndsAllRowsOfAStep(t *testing.T) {
	b := newBench(t, setup{nodes: 3, timeout: patience})
	all := b.begin([]laid{{9, 8, false}, {10, 8, false}})
	b.engines[1].cfg.Endpoint.Close()
	rows := []BatchRow{b.row(all[0]), b.row(all[1])}
	failed := map[uint64]bool{}
	if err := b.driver.Batch(0, rows); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); len(failed) < len(rows) && time.Now().Before(deadline); {
		r := b.result()
		if r.Err == nil || r.Err.Lost != "n1" {
			t.Fatalf("%+v", r)
		}
		if r.Step != EveryStep {
			failed[r.Step] = true
		}
	}
	if !failed[rows[0].Step] || !failed[rows[1].Step] {
		t.Errorf("steps %v failed", failed)
	}
}

func TestSteadyBatchesAllocateNothing(t *testing.T) {
	b := newBench(t, setup{nodes: 1, block: 1 << 10})
	var rows []BatchRow
	for i := range 4 {
		b.use(uint64(seqID + i))
		b.open(owned(1, placement.Pipeline, 4, 1, 0))
		rows = append(rows, BatchRow{Seq: b.seq, Epoch: 1, ID: 7})
	}
	if n := testing.AllocsPerRun(200, func() {
		for i := range rows {
			b.steps++
			rows[i].Step = b.steps
		}
		if err := b.driver.Batch(0, rows); err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			if r := <-b.results; r.Err != nil || r.Token < 0 {
				t.Fatalf("%+v", r)
			}
			rows[i].First++
		}
	}); n > 0 {
		t.Errorf("%v allocations a step", n)
	}
}

// Devices exchange once for each layer and holder of a step, whoever of its sequences has blocks there.
func TestDevicesExchangeForAllSequencesOfAStep(t *testing.T) {
	for name, c := range map[string]struct {
		nodes  int
		places []laid
		asking uint32 // of the sequences ask node 1
		way    string
	}{
		"over connections":                       {2, []laid{{9, 8, false}, {14, 12, false}}, 2, ""},
		"over connections, with gates that spin": {2, []laid{{9, 8, false}, {14, 12, false}}, 2, ""},
		"in shared memory":                       {2, []laid{{9, 8, false}, {14, 12, false}, {3, 0, false}}, 2, ""},
		"some of which ask one or nobody":        {3, []laid{{9, 4, false}, {30, 28, false}, {1, 0, false}}, 1, "in shared memory"},
	} {
		t.Run(name, func(t *testing.T) {
			play := func(together bool) (all []*sequenceOf, logits [][]float32, exchanges uint32) {
				b := newBench(t, emulated(t, setup{nodes: c.nodes, transport: ways[cmp.Or(c.way, name)]}))
				all = b.begin(c.places)
				logits = b.generate(all, 2, together)
				return all, logits, b.exchanges(0, 1)
			}
			want, wantLogits, _ := play(false)
			got, gotLogits, n := play(true)
			for i := range want {
				if !slices.Equal(got[i].fed, want[i].fed) {
					t.Errorf("sequence %d: %v, alone %v", i, got[i].fed, want[i].fed)
				}
				near(t, fmt.Sprintf("logits behind what sequence %d has stored", i), gotLogits[i], wantLogits[i])
			}
			if steps := 2 + c.asking; n != 3*steps { // two of all, and one of each whose logits are wanted
				t.Errorf("%d exchanges, not one for each of %d steps and 3 layers", n, steps)
			}
		})
	}
}

// A row that a holder cannot answer for is told of, the others have their tokens, and devices go on exchanging.
func TestARowThatFailsLeavesTheOthersOfDevicesAlone(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, emulated(t, setup{nodes: 2, transport: way}))
			all := b.begin([]laid{{9, 8, false}, {14, 12, false}, {14, 12, false}})
			before := b.exchanges(0, 1)
			b.engines[1].RemoveSequence(all[1].id)
			rows := []BatchRow{b.row(all[0]), b.row(all[1]), b.row(all[2])}
			got := b.batched(rows)
			if r := got[rows[1].Step]; r.Err == nil || r.Seq != rows[1].Seq || !strings.Contains(r.Err.Text, "sequence 6 is not open on n1") && !strings.Contains(r.Err.Text, "finite") {
				t.Errorf("the row gave %+v", r)
			}
			for _, i := range []int{0, 2} {
				r := got[rows[i].Step]
				if r.Err != nil || r.Token < 0 {
					t.Fatalf("row %d gave %+v", i, r)
				}
				all[i].fed = append(all[i].fed, r.Token)
			}
			for _, r := range b.batched([]BatchRow{b.row(all[0]), b.row(all[2])}) {
				if r.Err != nil || r.Token < 0 {
					t.Errorf("the next step gave %+v", r)
				}
			}
			if n := b.exchanges(0, 1) - before; n != 2*3 {
				t.Errorf("%d exchanges, not one for each of 2 steps and 3 layers", n)
			}
		})
	}
}

// GPUs multiply the rows together, too, where nobody is asked.
func TestGPUsComputeSequencesInOneStep(t *testing.T) {
	play := func(together bool) (fed [][]int32) {
		b := newBench(t, emulated(t, setup{nodes: 2, transport: ways["over connections"]}))
		all := b.begin([]laid{{3, 0, true}, {12, 0, true}, {9, 0, true}})
		b.generate(all, 2, together)
		for _, s := range all {
			fed = append(fed, s.fed)
		}
		return fed
	}
	want, got := play(false), play(true)
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("sequence %d: %v, alone %v", i, got[i], want[i])
		}
	}
}
