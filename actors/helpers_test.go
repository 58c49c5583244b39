package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what should come at once, on a busy machine too; steps have ten times as long, so that
// what only a deadline would end fails the test.
const patience = 2 * time.Minute

// rig is nodes of one process, with real sockets between them. Models are loaded from node n0.
type rig struct {
	testing.TB
	names     []string
	systems   []*actor.ActorSystem
	endpoints []*transport.Endpoint
	nodes     []*actor.PID
	model     *model.Model
	dir       string
	kv        attention.Format
	log       *slog.Logger
	faults    logBook // what was logged as an error

	mu       sync.Mutex
	machines map[string]*otherPrograms // by node
	refs     map[string]string         // directories that a node has in place of dir, by node; "" for none
}

func newRig(t testing.TB, nodes int) *rig {
	return newRigWith(t, nodes, func(int, *transport.Config) {})
}

// newRigWith is newRig with what change makes of the configuration of each node's endpoint.
func newRigWith(t testing.TB, nodes int, change func(node int, c *transport.Config)) *rig {
	t.Helper()
	return newRigOf(t, nodes, computers{func() device.Device { return cpu.New(1) }, modeltest.Options{}, attention.F32}, change)
}

// computers are what the nodes of a rig compute with, which model, and how they store keys and values.
type computers struct {
	open  func() device.Device
	model modeltest.Options
	kv    attention.Format
}

func newRigOf(t testing.TB, nodes int, of computers, change func(node int, c *transport.Config)) *rig {
	t.Helper()
	r := &rig{TB: t, dir: t.TempDir(), kv: of.kv, refs: map[string]string{}, machines: map[string]*otherPrograms{}}
	if err := modeltest.Write(r.dir, of.model); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.model, err = model.Open(r.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.model.Close() })
	log := slog.New(slog.NewTextHandler(&r.faults, &slog.HandlerOptions{Level: slog.LevelError}))
	r.log = log
	t.Cleanup(func() {
		if faults := r.faults.String(); faults != "" { // an actor that panicked, or did not stop
			t.Error(faults)
		}
	})
	for i := range nodes {
		name := fmt.Sprintf("n%d", i)
		c := transport.Config{Cluster: "test", Node: name, Logger: log}
		change(i, &c)
		e, err := transport.Listen("127.0.0.1:0", c)
		if err != nil {
			t.Fatal(err)
		}
		system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return log }),
			actor.WithDeadLetterThrottleInterval(time.Millisecond)) // its goroutine sleeps as long
		if err := e.AttachActors(system); err != nil {
			t.Fatal(err)
		}
		dev := of.open()
		others := &otherPrograms{available: 1 << 40}
		r.machines[name] = others
		node, err := SpawnNode(system, Machine{Name: name, Device: dev, Memory: 1 << 30, Endpoint: e, Logger: log,
			MeasureMemory: others.measure, MeasureEvery: time.Millisecond, OnMemory: others.told,
			Open: func(ref string) (*model.Model, error) { return r.open(name, ref) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := system.Root.StopFuture(node).Wait(); err != nil {
				t.Errorf("stopping %s: %v", name, err)
			}
			e.Close()
			dev.Close()
			system.Shutdown()
		})
		r.names, r.systems, r.endpoints, r.nodes = append(r.names, name), append(r.systems, system), append(r.endpoints, e), append(r.nodes, node)
	}
	return r
}

// otherPrograms are what else runs on a node's machine, and what its node has said of its memory.
type otherPrograms struct {
	mu                        sync.Mutex
	available, promised, lack int64
}

func (o *otherPrograms) measure() (available, held int64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.available, 0, nil
}

func (o *otherPrograms) leave(available int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.available = available
}

func (o *otherPrograms) told(promised, lack int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.promised, o.lack = promised, lack
}

func (o *otherPrograms) said() (promised, lack int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.promised, o.lack
}

func (r *rig) open(node, ref string) (*model.Model, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if dir, other := r.refs[node]; other {
		if ref = dir; dir == "" {
			return nil, errors.New("no such model here")
		}
	}
	return model.Open(ref)
}

// spec spreads the layers and the tokens evenly, and keeps memory for two sequences.
func (r *rig) spec(mode placement.Mode) Spec {
	n := len(r.names)
	s := Spec{Model: r.model, Ref: r.dir, Mode: mode, Nodes: r.names, Address: r.endpoints[0].Addr(), Refused: map[placement.Mode]string{},
		Chunk: 8, BlockTokens: 4, KV: r.kv, Context: 256, WaitTimeout: patience, StepTimeout: 10 * patience, LoadTimeout: patience,
		Logger: r.log}
	for i := range r.names {
		s.Addresses = append(s.Addresses, r.endpoints[i].Addr())
		s.Layers = append(s.Layers, residence.Span{First: i * 4 / n, End: (i + 1) * 4 / n})
		s.Weights = append(s.Weights, 1/float64(n))
	}
	r.keep(&s, 2)
	return s
}

// keep has memory kept for so many sequences at the full context.
func (r *rig) keep(s *Spec, sequences int) {
	r.Helper()
	p, err := s.policy()
	if err != nil {
		r.Fatal(err)
	}
	s.Memory = nil
	for _, pairs := range p.Most(modes, s.Context) {
		s.Memory = append(s.Memory, placement.Promise{Fixed: 1 << 20, KV: int64(sequences*pairs) * r.model.Config.KVBytesPerToken(s.KV)})
	}
}

func (r *rig) load(s Spec) *Conductor {
	r.Helper()
	c, err := Load(r.context(), r.systems[0], r.endpoints[0], s)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(c.Close)
	return c
}

func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	r.Cleanup(cancel)
	return ctx
}

func (r *rig) sequence(c *Conductor, mode placement.Mode) uint64 {
	r.Helper()
	id, err := c.Open(r.context(), mode, 256)
	if err != nil {
		r.Fatal(err)
	}
	return id
}

func (r *rig) start(c *Conductor, seq uint64, j Job) *Running {
	r.Helper()
	if j.OneByOne == 0 {
		j.OneByOne = -1
	}
	run, err := c.Start(r.context(), seq, j)
	if err != nil {
		r.Fatal(err)
	}
	return run
}

// next waits for a job's next event.
func (r *rig) next(run *Running) Event {
	r.Helper()
	select {
	case e, ok := <-run.Events:
		if !ok {
			r.Fatal("the events end without Ended")
		}
		return e
	case <-time.After(patience):
		r.Fatal("no event came")
	}
	return Event{}
}

// drain follows a job to its end: the tokens that it gave, how its switches went, and its error.
func (r *rig) drain(run *Running) (tokens []int32, switches []*SwitchReport, err error) {
	r.Helper()
	for {
		switch e := r.next(run); e.Kind {
		case Generated:
			tokens = append(tokens, e.Token)
		case Switched:
			switches = append(switches, e.Switch)
		case Ended:
			if _, more := <-run.Events; more {
				r.Fatal("there are events after Ended")
			}
			return tokens, switches, e.Err
		}
	}
}

// generate runs a job that must succeed.
func (r *rig) generate(c *Conductor, seq uint64, j Job) []int32 {
	r.Helper()
	tokens, switches, err := r.drain(r.start(c, seq, j))
	if err != nil {
		r.Fatal(err)
	}
	for _, s := range switches {
		if s.Err != nil {
			r.Fatal(s.Err)
		}
	}
	return tokens
}

// alone is what one node generates, without a switch.
func alone(t testing.TB, prompt []int32, n int) []int32 {
	t.Helper()
	r := newRig(t, 1)
	c := r.load(r.spec(placement.Pipeline))
	return r.generate(c, r.sequence(c, placement.Pipeline), Job{IDs: prompt, MaxTokens: n})
}

func (r *rig) stats(node int) *proto.Stats {
	r.Helper()
	s, err := Ask[*proto.Stats](r.context(), r.systems[0], NodePID(r.names[node]), &proto.StatsRequest{Address: r.endpoints[0].Addr()})
	if err != nil {
		r.Fatal(err)
	}
	return s
}

// eventually waits until what messages on their way bring about is so.
func (r *rig) eventually(what string, is func() bool) {
	r.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("never: %s", what)
		}
	}
}

func (r *rig) nothingLoaded() bool {
	for n := range r.names {
		if s := r.stats(n); s.WeightBytes != 0 || s.KvBytes != 0 {
			return false
		}
	}
	return true
}

func (r *rig) kvBytes() (sum int64) {
	for n := range r.names {
		sum += r.stats(n).KvBytes
	}
	return sum
}

func prompt(n int) []int32 {
	rng := rand.New(rand.NewPCG(5, 6))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(rng.IntN(256))
	}
	return ids
}

func same(t testing.TB, what string, got, want []int32) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: tokens %v, want %v", what, got, want)
	}
}
