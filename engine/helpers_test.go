package engine

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what should come at once, on a busy machine too; steps have ten times as long, so that
// what only a deadline would end fails the test.
const patience = 2 * time.Minute

// bench is a model on engines of one process, with real sockets between them.
type bench struct {
	testing.TB
	model   *model.Model
	engines []*Engine
	seq     uint64              // the sequence that is in use: seqID unless use says otherwise
	seqs    []*kvcache.Sequence // of it, by node
	opened  map[uint64][]*kvcache.Sequence
	budgets []*kvcache.Budget
	driver  *Driver
	results chan Result
	copied  chan error
	steps   uint64
	blocks  int
	kv      attention.Format
	devices []device.Device
}

// setup says how a bench differs from the usual.
type setup struct {
	nodes     int
	model     modeltest.Options
	transport transport.Config
	dials     string // the node that makes its connections with dial
	dial      func(ctx context.Context, node, class, addr string) (net.Conn, error)
	mute      map[int]bool // nodes that are there and never answer
	timeout   time.Duration
	block     int
	asking    int                  // tokens of a step that may ask other nodes; 64 unless set
	device    func() device.Device // a CPU unless set
	kv        attention.Format     // F32 if device is not set
}

const seqID = 5

func newBench(t testing.TB, s setup) *bench {
	t.Helper()
	if s.timeout == 0 {
		s.timeout = 10 * patience
	}
	if s.block == 0 {
		s.block = 4
	}
	if s.asking == 0 {
		s.asking = 64
	}
	if s.device == nil {
		s.device, s.kv = func() device.Device { return cpu.New(1) }, attention.F32
	}
	b := &bench{TB: t, seq: seqID, opened: map[uint64][]*kvcache.Sequence{}, model: modeltest.Open(t, s.model), results: make(chan Result, 1000), copied: make(chan error, 1000), blocks: s.block, kv: s.kv}
	log := slog.New(slog.DiscardHandler)
	var names []string
	var endpoints []*transport.Endpoint
	for i := range s.nodes {
		names = append(names, fmt.Sprintf("n%d", i))
		c := s.transport
		c.Cluster, c.Node, c.Logger = "test", names[i], log
		if names[i] == s.dials {
			c.Dial = s.dial
		}
		e, err := transport.Listen("127.0.0.1:0", c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		endpoints = append(endpoints, e)
	}
	for i, e := range endpoints {
		for j, name := range names {
			if i != j {
				e.SetPeer(name, endpoints[j].Addr())
			}
		}
	}
	d, err := NewDriver(DriverConfig{Model: b.model, Endpoint: endpoints[0], ModelID: 9, Nodes: names, Rows: 64, RoundTokens: 64, BlockTokens: s.block,
		KV: s.kv, StepTimeout: s.timeout, Logger: log, OnResult: func(r Result) {
			r.Logits = slices.Clone(r.Logits)
			b.results <- r
		}})
	if err != nil {
		t.Fatal(err)
	}
	b.driver = d
	t.Cleanup(d.Close)
	all := make([]int, len(names))
	for i := range all {
		all[i] = i
	}
	for i := range names {
		dev := s.device()
		t.Cleanup(func() { dev.Close() })
		b.devices = append(b.devices, dev)
		e, err := New(Config{Model: b.model, Device: dev, Endpoint: endpoints[i], ModelID: 9, Nodes: names, Node: i, Client: "n0", Rows: 64, Room: placement.Room{Rows: 64, Asking: s.asking}, Askers: all,
			RoundTokens: 64, BlockTokens: s.block, KV: s.kv, StepTimeout: s.timeout, Logger: log,
			OnBlocks: func(uint64, []*kvcache.Block, []*kvcache.Block) {},
			OnCopied: func(_, _ uint64, _ uint32, _ int64, err error) { b.copied <- err }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		b.engines = append(b.engines, e)
	}
	for i, e := range b.engines {
		if !s.mute[i] {
			if err := e.Connect(); err != nil {
				t.Fatal(err)
			}
		}
		b.decoder(i, 0, b.model.Config.Layers)
	}
	if err := d.Connect(); err != nil {
		t.Fatal(err)
	}
	return b
}

// decoder gives a node the weights of layers.
func (b *bench) decoder(node, first, end int) {
	b.Helper()
	d, err := b.model.Layers(model.Range{First: first, End: end})
	if err == nil {
		err = d.Load(context.Background(), b.devices[node], nil)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		b.engines[node].Close() // which ends what still reads them
		d.Unload()
	})
	b.engines[node].SetDecoder(d)
}

// open makes the sequence on every node, in an epoch.
func (b *bench) open(e *residence.Epoch) {
	b.Helper()
	g := kvcache.Geometry{Shape: b.model.Config.Shape(), Layers: b.model.Config.Layers, Format: b.kv, BlockTokens: b.blocks}
	b.seqs, b.budgets = nil, nil
	for i, eng := range b.engines {
		budget := kvcache.NewBudget(1 << 26)
		g.Memory = b.devices[i]
		s, err := kvcache.NewSequence(b.seq, i, g, budget, e)
		if err != nil {
			b.Fatal(err)
		}
		eng.AddSequence(s)
		b.seqs, b.budgets = append(b.seqs, s), append(b.budgets, budget)
	}
	b.opened[b.seq] = b.seqs
}

// use has what follows be about a sequence.
func (b *bench) use(seq uint64) { b.seq, b.seqs = seq, b.opened[seq] }

func (b *bench) takeUp(e *residence.Epoch, batch uint64, nodes ...int) {
	b.Helper()
	if err := e.Validate(b.model.Config.Layers, len(b.engines)); err != nil {
		b.Fatal(err)
	}
	for _, n := range nodes {
		if _, _, err := b.seqs[n].TakeUp(e, batch); err != nil {
			b.Fatal(err)
		}
	}
}

// copyTo sends a rectangle from one node to another, and waits until it is there.
func (b *bench) copyTo(batch uint64, from, to int, r residence.Rect) {
	b.Helper()
	parts, err := b.seqs[from].Parts(r)
	if err != nil {
		b.Fatal(err)
	}
	messages := 0
	for _, p := range parts {
		messages += p.Layers.Len()
	}
	for _, p := range parts {
		if err := b.engines[from].SendPart(b.seq, batch, 0, to, messages, p); err != nil {
			b.Fatal(err)
		}
	}
	if err := b.wait(b.copied); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) wait(c <-chan error) error {
	b.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(patience):
		b.Fatal("it never came")
	}
	return nil
}

// result waits for what a node says next.
func (b *bench) result() Result {
	b.Helper()
	select {
	case r := <-b.results:
		return r
	case <-time.After(patience):
		b.Fatal("no result came")
	}
	return Result{}
}

// chunk runs one step, and gives its logits, [tokens][vocabulary].
func (b *bench) chunk(epoch uint64, first int, ids []int32) ([]float32, *RemoteError) {
	b.Helper()
	b.steps++
	table := b.seqs[0].Use(epoch)
	owner := table.Epoch.OwnerOf(0)
	table.Release()
	if err := b.driver.Chunk(owner, b.seq, b.steps, epoch, first, ids, Want{Logits: true}); err != nil {
		b.Fatal(err)
	}
	return b.collect(1, first, len(ids))
}

// collect puts the logits of tokens [first, first+n) together until so many nodes are done.
func (b *bench) collect(nodes, first, n int) (logits []float32, failed *RemoteError) {
	b.Helper()
	vocab := b.model.Config.Vocab
	logits = make([]float32, n*vocab)
	for nodes > 0 {
		r := b.result()
		switch {
		case r.Step != b.steps || r.Seq != b.seq:
			b.Fatalf("a result of step %d of sequence %d, expected %d", r.Step, r.Seq, b.steps)
		case r.Err != nil:
			nodes, failed = nodes-1, r.Err
		case r.Logits != nil:
			copy(logits[(r.First-first)*vocab:], r.Logits)
		default:
			nodes--
		}
	}
	return logits, failed
}

func (b *bench) ids(n int) []int32 {
	r := rand.New(rand.NewPCG(3, 4))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(r.IntN(b.model.Config.Vocab))
	}
	return ids
}

// near checks that logits agree to float32 rounding.
func near(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d logits, want %d", what, len(got), len(want))
	}
	for i := range got {
		if d := got[i] - want[i]; !(d < 1e-3 && d > -1e-3) {
			t.Fatalf("%s: logit %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

func span(first, end int) residence.Span { return residence.Span{First: first, End: end} }

func rect(l0, l1, t0, t1 int) residence.Rect {
	return residence.Rect{Layers: span(l0, l1), Tokens: span(t0, t1)}
}

// piped is an epoch in which the layers are split evenly over the nodes, and everything is with its owner.
func piped(number uint64, layers, nodes int) *residence.Epoch {
	e := &residence.Epoch{Number: number, Mode: placement.Pipeline}
	for n := range nodes {
		if s := span(n*layers/nodes, (n+1)*layers/nodes); s.Len() > 0 {
			e.Owners = append(e.Owners, residence.Owner{Layers: s, Node: n})
		}
	}
	return e
}

// owned is an epoch in which node 0 owns every layer, and the blocks of 4 tokens before covered are dealt out.
func owned(number uint64, mode placement.Mode, layers, nodes, covered int) *residence.Epoch {
	e := &residence.Epoch{Number: number, Mode: mode, Owners: []residence.Owner{{Layers: span(0, layers)}}, Covered: covered}
	for first := 0; first < covered; first += 4 {
		e.Held = append(e.Held, residence.Holding{Rect: rect(0, layers, first, min(first+4, covered)), Node: first / 4 % nodes})
	}
	return e
}
