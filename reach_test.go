package orrery

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/recall"
	"github.com/orrery-ai/orrery/transport"
)

// besieged is a node that has loaded a model and holds the cache of a sequence, and a member of its cluster
// that does as it likes.
type besieged struct {
	node   *Cluster
	system *actor.ActorSystem // the member's
	addr   string             // of the member
}

func besiege(t *testing.T) *besieged {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	n, err := Start(ctx, Config{Name: "besieged", Memory: 1 << 30, Bandwidth: 1e9, Threads: 1, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Close()
		if left := (&besieged{node: n}).ids(); slices.Contains(left, "node") {
			t.Errorf("the node is closed, and these are left: %q", left)
		}
	})
	m, err := n.Load(ctx, recall.Name, LoadOptions{Context: 2048, BlockTokens: 16})
	if err != nil {
		t.Fatal(err)
	}
	session, err := m.NewSession(ctx, SessionOptions{}) // stays open: its sequence has actors of its own
	if err != nil {
		t.Fatal(err)
	}
	g, err := session.Generate(ctx, strings.Repeat("Once upon a time ", 20), GenerateOptions{IgnoreEOS: true, MaxTokens: 4})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range g.Tokens() {
		if err != nil {
			t.Fatal(err)
		}
	}
	e, err := transport.Listen("127.0.0.1:0", transport.Config{Cluster: "orrery", Node: "member", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	b := &besieged{n, actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet })), e.Addr()}
	t.Cleanup(func() { e.Close(); b.system.Shutdown() })
	if err := e.AttachActors(b.system); err != nil {
		t.Fatal(err)
	}
	e.SetPeer("besieged", n.endpoint.Addr())
	n.endpoint.SetPeer("member", b.addr)
	return b
}

// ids are those of all actors and futures of the node.
func (b *besieged) ids() []string {
	var ids []string
	for _, bucket := range b.node.system.ProcessRegistry.LocalPIDs.LocalPIDs {
		ids = append(ids, bucket.Keys()...)
	}
	slices.Sort(ids)
	return ids
}

// reachable is those that the member can watch. A watch of any other is answered as if it were not there.
func (b *besieged) reachable(t *testing.T, ids []string) []string {
	t.Helper()
	const last = "nobody has this name"
	gone := make(chan string, len(ids)+1)
	b.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Started:
			for _, id := range append(ids, last) {
				c.Watch(actor.NewPID("besieged", id))
			}
		case *actor.Terminated:
			gone <- m.Who.Id
		}
	}))
	left := slices.Clone(ids)
	for {
		select {
		case id := <-gone:
			if id == last { // answers come in the order of the questions
				return left
			}
			left = slices.DeleteFunc(left, func(s string) bool { return s == id })
		case <-time.After(20 * time.Second):
			t.Fatal("the node does not answer")
		}
	}
}

// exposedIDs are the actors that other nodes may talk to: see docs/security.md.
var exposedIDs = regexp.MustCompile(`^(node|node/m[0-9a-f]+|node/m[0-9a-f]+/s[0-9]+|conductor-[0-9a-f]+)$`)

func TestOtherNodesReachTheListedActorsAndNoOthers(t *testing.T) {
	b := besiege(t)
	ids := b.ids()
	reached := b.reachable(t, ids)
	if len(reached) < 4 || len(ids) < len(reached)+3 {
		t.Fatalf("of %q, %q are reachable: there is too little to tell", ids, reached)
	}
	for _, id := range ids {
		if got, want := slices.Contains(reached, id), exposedIDs.MatchString(id); got != want {
			t.Errorf("%s: reachable is %t, want %t", id, got, want)
		}
	}
}

// scramble fills a message with values that are of the right type and make no sense.
func scramble(r *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if r.IntN(4) == 0 {
			continue
		}
		if f.IsList() {
			list := m.Mutable(f).List()
			for range r.IntN(4) {
				if f.Message() != nil && depth > 0 {
					scramble(r, list.AppendMutable().Message(), depth-1)
				} else if f.Message() == nil {
					list.Append(nonsense(r, f))
				}
			}
		} else if f.Message() != nil {
			if depth > 0 {
				scramble(r, m.Mutable(f).Message(), depth-1)
			}
		} else if !f.IsMap() {
			m.Set(f, nonsense(r, f))
		}
	}
}

func nonsense(r *rand.Rand, f protoreflect.FieldDescriptor) protoreflect.Value {
	n := []uint64{0, 1, 2, 7, math.MaxInt32, math.MaxUint32, math.MaxInt64, math.MaxUint64, r.Uint64()}[r.IntN(9)]
	text := []string{"", "besieged", "member", "recall", "nobody", "a/b\x00\n", strings.Repeat("x", 3000)}[r.IntN(7)]
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n%2 == 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(int32(n)))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(n)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(math.Float32frombits(uint32(n)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(math.Float64frombits(n))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(text))
	}
	return protoreflect.ValueOfString(strings.ToValidUTF8(text, ""))
}

// kinds are all types of messages that nodes send each other.
func kinds(t *testing.T) []protoreflect.MessageType {
	t.Helper()
	var all []protoreflect.MessageType
	ours := (&proto.Envelope{}).ProtoReflect().Descriptor().ParentFile().Package()
	protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
		if m.Descriptor().ParentFile().Package() == ours {
			all = append(all, m)
		}
		return true
	})
	if len(all) < 15 {
		t.Fatalf("there are only %d", len(all))
	}
	slices.SortFunc(all, func(a, b protoreflect.MessageType) int {
		return strings.Compare(string(a.Descriptor().Name()), string(b.Descriptor().Name()))
	})
	return all
}

// A member may say anything that has a type, to everybody whom it may talk to. The node outlives it.
func TestSenselessMessagesDoNotEndANode(t *testing.T) {
	for seed := range uint64(4) {
		b := besiege(t)
		targets := b.reachable(t, b.ids())
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		r := rand.New(rand.NewPCG(seed, 1))
		all := kinds(t)
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, kind := range all {
			for range 20 {
				m := kind.New()
				scramble(r, m, 3)
				for _, id := range targets {
					b.system.Root.Send(actor.NewPID("besieged", id), m.Interface())
				}
			}
			b.node.endpoint.SetPeer("member", b.addr) // LoadModel may have said something else
			if _, err := actors.Ask[*proto.Stats](ctx, b.system, actors.NodePID("besieged"), &proto.StatsRequest{}); err != nil {
				t.Fatalf("seed %d: after messages of type %s the node answers nobody any more: %v", seed, kind.Descriptor().Name(), err)
			}
		}
	}
}
