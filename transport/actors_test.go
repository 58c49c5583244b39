package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	orrery "github.com/orrery-ai/orrery/proto"
)

// attach gives an endpoint an actor system.
func attach(t testing.TB, e *Endpoint) *actor.ActorSystem {
	t.Helper()
	system := actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
		actor.WithDeadLetterThrottleInterval(time.Millisecond), // its goroutine sleeps as long
	)
	if err := e.AttachActors(system); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(system.Shutdown)
	return system
}

// spawn starts an exposed actor of the given id.
func spawn(t testing.TB, e *Endpoint, system *actor.ActorSystem, id string, f actor.ReceiveFunc) *actor.PID {
	t.Helper()
	pid, err := system.Root.SpawnNamed(actor.PropsFromFunc(f), id)
	if err != nil {
		t.Fatal(err)
	}
	e.Expose(id)
	return pid
}

func echo(c actor.Context) {
	if m, ok := c.Message().(*wrapperspb.StringValue); ok && c.Sender() != nil {
		c.Respond(wrapperspb.String(m.Value + " from " + c.Self().Address))
	}
}

// ask sends a request and waits for the answer.
func ask(system *actor.ActorSystem, to *actor.PID, text string) (string, error) {
	reply, err := Reply[*wrapperspb.StringValue](system.Root.RequestFuture(to, wrapperspb.String(text), patience))
	return reply.GetValue(), err
}

func actorPair(t testing.TB, c Config) (a, b *Endpoint, sa, sb *actor.ActorSystem) {
	t.Helper()
	a, b = pair(t, c)
	return a, b, attach(t, a), attach(t, b)
}

func TestRequestsCrossNodesBothWays(t *testing.T) {
	a, b, sa, sb := actorPair(t, Config{})
	spawn(t, a, sa, "echo", echo)
	spawn(t, b, sb, "echo", echo)
	atA, atB := actor.NewPID("a", "echo"), actor.NewPID("b", "echo")
	for range 3 {
		if got, err := ask(sa, atB, "hello"); err != nil || got != "hello from b" {
			t.Fatalf("got %q, %v", got, err)
		}
		if got, err := ask(sb, atA, "hello"); err != nil || got != "hello from a" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if got, err := ask(sa, actor.NewPID("a", "echo"), "hello"); err != nil || got != "hello from a" {
		t.Fatalf("on the same node: got %q, %v", got, err)
	}
	eventually(t, "6 messages each way are counted", func() bool {
		n := a.Counters()[Control]
		return n.MessagesOut == 6 && n.MessagesIn == 6 && n.BytesOut > 0 && n.BytesIn > 0
	})
	if err := a.AttachActors(sa); err == nil {
		t.Error("attached twice")
	}
}

func TestActorMessagesArriveInOrder(t *testing.T) {
	_, b, sa, sb := actorPair(t, Config{ControlQueue: 5000})
	const messages = 5000
	done := make(chan error, 1)
	var next int64
	pid := spawn(t, b, sb, "counter", func(c actor.Context) {
		m, ok := c.Message().(*wrapperspb.Int64Value)
		if !ok {
			return
		}
		if m.Value != next {
			done <- fmt.Errorf("message %d where %d was due", m.Value, next)
		}
		if next++; next == messages {
			done <- nil
		}
	})
	for i := range int64(messages) {
		sa.Root.Send(pid, wrapperspb.Int64(i))
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("some never came")
	}
}

func TestPIDsOutliveConnections(t *testing.T) {
	a, b, sa, sb := actorPair(t, Config{})
	pid := spawn(t, b, sb, "echo", echo)
	if _, err := ask(sa, pid, "hello"); err != nil {
		t.Fatal(err)
	}
	b.Close()
	var u *Undeliverable
	if _, err := ask(sa, pid, "gone"); !errors.As(err, &u) || u.Target.Id != "echo" || u.Target.Address != "b" {
		t.Fatalf("request to a closed node: %v", err)
	}
	reborn, _ := endpoint(t, "b", Config{})
	reborn.SetPeer("a", a.Addr())
	spawn(t, reborn, attach(t, reborn), "echo", echo)
	a.SetPeer("b", reborn.Addr())
	if got, err := ask(sa, pid, "again"); err != nil || got != "again from b" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestOnlyExposedActorsAreReached(t *testing.T) {
	_, b, sa, sb := actorPair(t, Config{})
	var mu sync.Mutex
	var seen []string
	secret := spawn(t, b, sb, "secret", func(c actor.Context) {
		if m, ok := c.Message().(*wrapperspb.StringValue); ok {
			mu.Lock()
			seen = append(seen, m.Value)
			mu.Unlock()
			echo(c)
		}
	})
	b.Unexpose("secret")
	if _, err := ask(sa, secret, "first"); !errors.Is(err, actor.ErrDeadLetter) {
		t.Errorf("an actor that is not exposed: %v", err)
	}
	b.Expose("secret")
	if _, err := ask(sa, secret, "second"); err != nil {
		t.Error(err)
	}
	if mu.Lock(); len(seen) != 1 || seen[0] != "second" {
		t.Errorf("the actor saw %q", seen)
	}
	mu.Unlock()
	if _, err := ask(sa, actor.NewPID("b", "future$1"), "a reply nobody awaits"); err == nil {
		t.Error("a future that is not there answered")
	}
	b.Expose("ghost")
	if _, err := ask(sa, actor.NewPID("b", "ghost"), "exposed but absent"); !errors.Is(err, actor.ErrDeadLetter) {
		t.Errorf("an actor that does not exist: %v", err)
	}
}

func TestMessagesToAnActorThatHasGoneAreNoWarning(t *testing.T) {
	a, _ := endpoint(t, "a", Config{})
	b, log := endpoint(t, "b", Config{})
	a.SetPeer("b", b.Addr())
	b.SetPeer("a", a.Addr())
	sa := attach(t, a)
	gone := spawn(t, b, attach(t, b), "gone", echo)
	b.Unexpose("gone")
	for _, pid := range []*actor.PID{gone, actor.NewPID("b", "never")} {
		if _, err := ask(sa, pid, "hello"); !errors.Is(err, actor.ErrDeadLetter) {
			t.Errorf("%s: %v", pid.Id, err)
		}
	}
	if text := log.String(); !strings.Contains(text, `level=DEBUG msg="message to an actor that is not exposed" node=b peer=a target=gone`) ||
		!strings.Contains(text, `level=WARN msg="message to an actor that is not exposed" node=b peer=a target=never`) {
		t.Error(text)
	}
}

func TestForwardedRequestIsAnsweredByTheThirdNode(t *testing.T) {
	a, b, sa, sb := actorPair(t, Config{})
	c, _ := endpoint(t, "c", Config{})
	sc := attach(t, c)
	for _, e := range []*Endpoint{a, b} {
		e.SetPeer("c", c.Addr())
	}
	c.SetPeer("a", a.Addr())
	final := spawn(t, c, sc, "echo", echo)
	relay := spawn(t, b, sb, "relay", func(ctx actor.Context) {
		if _, ok := ctx.Message().(*wrapperspb.StringValue); ok {
			ctx.Forward(final)
		}
	})
	if got, err := ask(sa, relay, "hello"); err != nil || got != "hello from c" {
		t.Errorf("got %q, %v", got, err)
	}
	b.DropPeer("c", errors.New("gone"))
	if _, err := ask(sa, relay, "hello"); !errors.Is(err, actor.ErrDeadLetter) {
		t.Errorf("relay without a way on: %v", err)
	}
}

func TestWhatCannotBeSentFailsAtOnce(t *testing.T) {
	_, b, sa, sb := actorPair(t, Config{})
	letters := make(chan *actor.DeadLetterEvent, 100)
	sa.EventStream.Subscribe(func(e any) {
		if l, ok := e.(*actor.DeadLetterEvent); ok {
			letters <- l
		}
	})
	pid := spawn(t, b, sb, "echo", echo)
	for name, c := range map[string]struct {
		to      *actor.PID
		message any
	}{
		"unknown node":   {actor.NewPID("nowhere", "x"), wrapperspb.String("?")},
		"not protobuf":   {pid, "a string"},
		"nothing":        {pid, nil},
		"too large":      {pid, wrapperspb.Bytes(make([]byte, maxEnvelope))},
		"not UTF-8":      {pid, wrapperspb.String("\xff")},
		"lifecycle":      {pid, &actor.PoisonPill{}},
		"bad name of it": {actor.NewPID("b", "\xff"), wrapperspb.String("?")},
	} {
		_, err := Reply[proto.Message](sa.Root.RequestFuture(c.to, c.message, patience))
		var u *Undeliverable
		var lost *ErrPeerLost
		if !errors.As(err, &u) || u.Target != c.to || !errors.As(err, &lost) || lost.Node != c.to.Address {
			t.Errorf("%s: %v", name, err)
		}
		if l := <-letters; l.PID != c.to {
			t.Errorf("%s: dead letter for %v", name, l.PID)
		}
	}
	if _, err := ask(sa, pid, "hello"); err != nil {
		t.Errorf("a good message after them: %v", err)
	}
	if _, err := Reply[*wrapperspb.Int64Value](sa.Root.RequestFuture(pid, wrapperspb.String("x"), patience)); err == nil {
		t.Error("a reply of another type than asked for passes")
	}
}

func TestRequestOfAnActorIsAnsweredWithUndeliverable(t *testing.T) {
	_, _, sa, _ := actorPair(t, Config{})
	got := make(chan *Undeliverable, 1)
	sa.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Started:
			c.Request(actor.NewPID("nowhere", "x"), wrapperspb.String("?"))
		case *Undeliverable:
			got <- m
		}
	}))
	select {
	case u := <-got:
		if u.Target.Address != "nowhere" {
			t.Errorf("it is about %v", u.Target)
		}
	case <-time.After(patience):
		t.Error("nothing came")
	}
}

func TestFullQueueIsAnError(t *testing.T) {
	a, _ := endpoint(t, "a", Config{ControlQueue: 2, DialTimeout: time.Hour})
	sa := attach(t, a)
	a.SetPeer("b", frozen(t)) // the writer waits for a hello that never comes
	request := func() *actor.Future {
		return sa.Root.RequestFuture(actor.NewPID("b", "x"), wrapperspb.String("?"), patience)
	}
	waiting := []*actor.Future{request()}
	eventually(t, "the writer takes the first", func() bool { return len(a.existingRemote("b").queue) == 0 })
	waiting = append(waiting, request(), request())
	for range 5 {
		if _, err := Reply[proto.Message](request()); !errors.Is(err, errQueueFull) {
			t.Errorf("request to a full queue: %v", err)
		}
	}
	a.Close()
	for i, f := range waiting {
		_, err := Reply[proto.Message](f)
		var u *Undeliverable
		if !errors.As(err, &u) {
			t.Errorf("request %d, queued until Close: %v", i, err)
		}
	}
}

func TestLossOfThePeerFailsRequestsUnderWay(t *testing.T) {
	for name, lose := range map[string]func(a, b *Endpoint){
		"peer closes": func(_, b *Endpoint) { b.Close() },
		"peer dropped": func(a, _ *Endpoint) {
			a.DropPeer("b", errors.New("membership says so"))
		},
		"own close": func(a, _ *Endpoint) { a.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			a, b, sa, sb := actorPair(t, Config{})
			asked := make(chan bool, 100)
			pid := spawn(t, b, sb, "silent", func(c actor.Context) {
				if _, ok := c.Message().(*wrapperspb.StringValue); ok {
					asked <- true
				}
			})
			var futures []*actor.Future
			for range 100 {
				futures = append(futures, sa.Root.RequestFuture(pid, wrapperspb.String("?"), patience))
				<-asked
			}
			lose(a, b)
			for _, f := range futures {
				_, err := Reply[proto.Message](f)
				var lost *ErrPeerLost
				if !errors.As(err, &lost) || lost.Node != "b" {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestFuturesThatAreDoneAreForgotten(t *testing.T) {
	a, b, sa, sb := actorPair(t, Config{})
	pid := spawn(t, b, sb, "echo", echo)
	for range 3 * minSweep {
		// The reply comes from a third party, so that only a sweep finds the future done.
		f := sa.Root.RequestFuture(pid, wrapperspb.Bool(true), patience)
		claimFuture(sa, f.PID().Id).SendUserMessage(f.PID(), wrapperspb.Bool(true))
		if _, err := ask(sa, pid, "hello"); err != nil {
			t.Fatal(err)
		}
	}
	r := a.existingRemote("b")
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.pending); n > minSweep {
		t.Errorf("%d futures are remembered, all done", n)
	}
}

func TestWatchersLearnOfTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end func(a, b *Endpoint, sb *actor.ActorSystem, pid *actor.PID)
		why actor.TerminatedReason
	}{
		"actor stops": {func(_, _ *Endpoint, sb *actor.ActorSystem, pid *actor.PID) {
			sb.Root.Stop(actor.NewPID("b", pid.Id))
		}, actor.TerminatedReason_Stopped},
		"peer closes": {func(_, b *Endpoint, _ *actor.ActorSystem, _ *actor.PID) {
			b.Close()
		}, actor.TerminatedReason_AddressTerminated},
		"peer dropped": {func(a, _ *Endpoint, _ *actor.ActorSystem, _ *actor.PID) {
			a.DropPeer("b", errors.New("membership says so"))
		}, actor.TerminatedReason_AddressTerminated},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, sa, sb := actorPair(t, Config{})
			pid := spawn(t, b, sb, "watched", echo)
			ended := make(chan *actor.Terminated, 10)
			watcher := func(watched ...*actor.PID) {
				begun := make(chan bool)
				sa.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
					switch m := c.Message().(type) {
					case *actor.Started:
						for _, pid := range watched {
							c.Watch(pid)
						}
						c.Unwatch(watched[len(watched)-1])
						close(begun)
					case *actor.Terminated:
						ended <- m
					}
				}))
				<-begun
			}
			want := func(id string, why actor.TerminatedReason) {
				t.Helper()
				select {
				case m := <-ended:
					if m.Who.Address != "b" && m.Who.Address != "nowhere" || m.Who.Id != id || m.Why != why {
						t.Errorf("told of %s, %s; want %s, %s", m.Who, m.Why, id, why)
					}
				case <-time.After(patience):
					t.Error("nobody told the watcher")
				}
			}
			b.Expose("absent")
			spawn(t, b, sb, "spare", echo)
			spare := actor.NewPID("b", "spare") // watched and unwatched
			watcher(actor.NewPID("b", "absent"), spare)
			want("absent", actor.TerminatedReason_NotFound)
			spawn(t, b, sb, "hidden", echo)
			b.Unexpose("hidden")
			watcher(actor.NewPID("b", "hidden"), spare)
			want("hidden", actor.TerminatedReason_NotFound)
			watcher(actor.NewPID("nowhere", "x"), spare)
			want("x", actor.TerminatedReason_AddressTerminated)

			watcher(actor.NewPID("b", pid.Id), spare)
			if _, err := ask(sa, actor.NewPID("b", pid.Id), "after the watch"); err != nil {
				t.Fatal(err)
			}
			c.end(a, b, sb, pid)
			want("watched", c.why)
			if len(ended) > 0 {
				t.Errorf("told twice: %v", <-ended)
			}
		})
	}
}

func TestOtherNodesCannotStopActors(t *testing.T) {
	_, b, sa, sb := actorPair(t, Config{})
	pid := spawn(t, b, sb, "echo", echo)
	sa.Root.Stop(pid)
	sa.Root.Poison(pid)
	if got, err := ask(sa, pid, "alive"); err != nil || got != "alive from b" {
		t.Errorf("got %q, %v", got, err)
	}
}

// envelopeTo says hello to b as node a on a control connection, and sends one frame.
func envelopeTo(t *testing.T, b *Endpoint, payload []byte) net.Conn {
	t.Helper()
	nc := stranger(t, b)
	h := goodHello()
	h.class = classControl
	say(t, nc, h.append(nil))
	if answer, err := readHello(nc); err != nil || answer.kind != helloAccept {
		t.Fatalf("answer is %+v, %v", answer, err)
	}
	say(t, nc, frame(header{kind: frameEnvelope}, payload))
	return nc
}

func TestEnvelopesOfNoHonestNodeCostTheConnection(t *testing.T) {
	b, log := endpoint(t, "b", Config{})
	sb := attach(t, b)
	spawn(t, b, sb, "echo", echo)
	spawn(t, b, sb, "secret", echo)
	b.Unexpose("secret")
	poison, err := proto.Marshal(&actor.PoisonPill{})
	if err != nil {
		t.Fatal(err)
	}
	good, err := proto.Marshal(wrapperspb.String("hello"))
	if err != nil {
		t.Fatal(err)
	}
	const text = "google.protobuf.StringValue"
	for reason, env := range map[string]*orrery.Envelope{
		"unknown type orrery.NoSuchThing":   {Target: "echo", Type: "orrery.NoSuchThing"},
		"may not come from another node":    {Target: "echo", Type: "actor.PoisonPill", Payload: poison},
		"of type \\\"\\\" may not":          {Target: "echo"},
		"bad message of type":               {Target: "echo", Type: text, Payload: []byte{0xff, 0xff}},
		"without a target":                  {Type: text, Payload: good},
		"half a sender":                     {Target: "echo", Type: text, Payload: good, Sender: "x"},
		"bad node name \\\"nonhost\\\"":     {Target: "echo", Type: text, Payload: good, Sender: "x", SenderNode: "nonhost"},
		"in the name of secret":             {Target: "echo", Type: text, Payload: good, Sender: "secret", SenderNode: "b"},
		"an envelope of kind 9":             {Kind: 9, Target: "echo", Sender: "x", SenderNode: "a"},
		"kind WATCH without a sender":       {Kind: orrery.Envelope_WATCH, Target: "echo"},
		"kind WATCH in the name of node c":  {Kind: orrery.Envelope_WATCH, Target: "echo", Sender: "x", SenderNode: "c"},
		"message type orrery.Envelope.Kind": {Target: "echo", Type: "orrery.Envelope.Kind"},
	} {
		payload, err := proto.Marshal(env)
		if err != nil {
			t.Fatal(err)
		}
		wantClosed(t, envelopeTo(t, b, payload))
		eventually(t, "the reason is logged: "+reason, func() bool { return log.contains(reason) })
	}
	wantClosed(t, envelopeTo(t, b, []byte{0xff, 0xff}))
	eventually(t, "the bad envelope is logged", func() bool { return log.contains("bad envelope") })

	a, _ := endpoint(t, "honest", Config{})
	a.SetPeer("b", b.Addr())
	b.SetPeer("honest", a.Addr())
	if got, err := ask(attach(t, a), actor.NewPID("b", "echo"), "hello"); err != nil || got != "hello from b" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTerminatedIsBelievedOnlyIfAskedFor(t *testing.T) {
	b, _ := endpoint(t, "b", Config{})
	sb := attach(t, b)
	told := make(chan any, 10)
	spawn(t, b, sb, "actor", func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Terminated, *wrapperspb.StringValue:
			told <- m
		}
	})
	notice, err := proto.Marshal(&orrery.Envelope{
		Kind: orrery.Envelope_TERMINATED, Target: "actor", Sender: "child", SenderNode: "a",
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := proto.Marshal(wrapperspb.String("after it"))
	if err != nil {
		t.Fatal(err)
	}
	message, err := proto.Marshal(&orrery.Envelope{Target: "actor", Type: "google.protobuf.StringValue", Payload: text})
	if err != nil {
		t.Fatal(err)
	}
	nc := envelopeTo(t, b, notice)
	say(t, nc, frame(header{kind: frameEnvelope}, message))
	select {
	case m := <-told:
		if _, ok := m.(*wrapperspb.StringValue); !ok {
			t.Errorf("the actor was told %v", m)
		}
	case <-time.After(patience):
		t.Error("the message after the notice never came")
	}
}

func TestActorMessagesWithoutSystemAreRefused(t *testing.T) {
	b, log := endpoint(t, "b", Config{})
	wantClosed(t, envelopeTo(t, b, []byte("x")))
	eventually(t, "it is logged", func() bool { return log.contains(errNoActors.Error()) })
	b.Expose("x") // does nothing
}

func FuzzEnvelope(f *testing.F) {
	payload, err := proto.Marshal(wrapperspb.String("hello"))
	if err != nil {
		f.Fatal(err)
	}
	for _, env := range []*orrery.Envelope{
		{Target: "x", Type: "google.protobuf.StringValue", Payload: payload},
		{Target: "x", Type: "actor.Stop", Sender: "y", SenderNode: "b"},
		{Kind: orrery.Envelope_TERMINATED, Target: "x", Sender: "y", SenderNode: "b", NotFound: true},
	} {
		b, err := encodeEnvelope(env)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[headerBytes:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		env, err := decodeEnvelope(b)
		if err != nil {
			return
		}
		m, err := decodeMessage(env)
		if err != nil {
			return
		}
		switch any(m).(type) {
		case actor.SystemMessage, actor.AutoReceiveMessage, actor.MailboxMessage:
			t.Errorf("a %T may come from another node", m)
		}
	})
}
