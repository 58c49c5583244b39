package transport_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/orrery-ai/orrery/ca"
	"github.com/orrery-ai/orrery/transport"
	"github.com/orrery-ai/orrery/transport/fault"
)

const (
	// faultWait ends waits that a fault leaves without an answer, and silentDial dials. Messages before the fault must not need as long.
	faultWait  = time.Second
	silentDial = 2 * time.Second
	// patience is a deadline that no sound test reaches.
	patience = 30 * time.Second
	messages = 24
)

// text is what message seq of a lane must say: long enough for several frames.
func text(key transport.LaneKey, seq uint64) []byte {
	b := make([]byte, 70_000+1000*int(seq))
	rand.NewChaCha8([32]byte{byte(key.Model), byte(key.Purpose), byte(seq)}).Read(b)
	return b
}

// damaged is two endpoints, a and b. What a dials goes through an injector; if shared, in shared memory.
func damaged(t *testing.T, script string, c transport.Config, secure, shared bool) (a, b *transport.Endpoint) {
	t.Helper()
	s, err := fault.Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	in := fault.New(s, slog.New(slog.DiscardHandler))
	t.Cleanup(in.Close)
	c.Cluster, c.Logger = "test", slog.New(slog.DiscardHandler)
	var root *ca.Authority
	if secure {
		if root, err = ca.New("test", ca.Days(time.Now(), 2)); err != nil {
			t.Fatal(err)
		}
	}
	listen := func(node string) *transport.Endpoint {
		c := c
		c.Node = node
		if node == "a" {
			c.Dial = in.Dial
			if shared {
				c.Share = in.Share
			}
		}
		if secure {
			if c.Identity, err = root.Issue(node, ca.Days(time.Now(), 1)); err != nil {
				t.Fatal(err)
			}
		}
		e, err := transport.Listen("127.0.0.1:0", c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	a, b = listen("a"), listen("b")
	a.SetPeer("b", b.Addr())
	b.SetPeer("a", a.Addr())
	return a, b
}

// talk sends the messages of a lane from a to b, and checks that what comes is right, in order, and that an error
// names the other end, the lane and the message that was due.
func talk(t *testing.T, a, b *transport.Endpoint, key transport.LaneKey, wait time.Duration) (sent, received error) {
	t.Helper()
	r, err := b.Receiver("a", key, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s, err := a.Sender("b", key, 1<<20)
	if err != nil {
		checkError(t, err, "b", key, 0)
		return err, err
	}
	defer s.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		for seq := range uint64(messages) {
			b := text(key, seq)
			if sent = s.Send(time.Now().Add(wait), b[:100], b[100:]); sent != nil {
				checkError(t, sent, "b", key, seq)
				return
			}
		}
	})
	for seq := range uint64(messages) {
		m, err := r.Receive(time.Now().Add(wait))
		if err != nil {
			checkError(t, err, "a", key, seq)
			received = err
			_, again := r.Receive(time.Now().Add(wait))
			if again == nil || again.Error() != err.Error() {
				t.Errorf("lane %s failed with %v, then gave %v", key, err, again)
			}
			break
		}
		if m.Seq != seq || !bytes.Equal(m.Bytes, text(key, seq)) {
			t.Errorf("lane %s, message %d: came as %d with other bytes", key, seq, m.Seq)
		}
		m.Release()
	}
	wg.Wait()
	return sent, received
}

// checkError checks that err is of a lane, and says where it failed.
func checkError(t *testing.T, err error, node string, key transport.LaneKey, seq uint64) {
	t.Helper()
	var lost *transport.ErrPeerLost
	var late *transport.ErrTimeout
	var refused *transport.ErrNoReceiver // the other end has noticed, and said so
	switch {
	case errors.As(err, &lost) && lost.Node == node && lost.Lane == key && lost.Seq == seq:
	case errors.As(err, &late) && late.Node == node && late.Lane == key && late.Seq == seq:
	case errors.As(err, &refused) && refused.Node == node && refused.Lane == key:
	default:
		t.Errorf("the error is %v, want the loss of or a timeout with %s on lane %s, message %d", err, node, key, seq)
	}
}

func TestEveryFaultEndsInRightDataOrInAnErrorThatSaysWhere(t *testing.T) {
	for _, c := range []struct {
		script string
		harm   bool // the lanes fail
		cause  error
		silent bool // nobody is told
		deaf   bool // the sender hears nothing any more
	}{
		{script: "after 5 frames of %s: delay 3ms"},
		{script: "after 5 frames of %s: stall 50ms"},
		{script: "after 5 frames of %s back: delay 2ms"},
		{script: "after 5 frames of %s: reorder 3; after 9 frames of %[1]s: reorder 2"},
		{script: "after 5 frames of %s: truncate", harm: true},
		{script: "after 5 frames of %s: flip bit", harm: true, cause: transport.ErrChecksum},
		{script: "after 1 frame of %s: flip 40 bits", harm: true, cause: transport.ErrChecksum},
		{script: "after 5 frames of %s: cut", harm: true},
		{script: "after 5 frames of %s: half-open", harm: true, silent: true},
		{script: "after 10 frames of %s: stall 1h", harm: true, silent: true},
		{script: "after 1 frame back: flip bit", harm: true},
		{script: "after 3 frames back: cut", harm: true},
		{script: "after 3 frames back: half-open", harm: true, silent: true, deaf: true},
	} {
		for _, way := range []struct {
			purpose transport.Purpose
			synch   transport.Synch
			shared  bool
		}{
			{transport.Partial, transport.Safe, false}, {transport.Partial, transport.Fast, false}, {transport.KVMove, transport.Safe, false},
			{transport.Partial, transport.Safe, true}, {transport.Partial, transport.Fast, true}, {transport.KVMove, transport.Safe, true},
		} {
			purpose, synch := way.purpose, way.synch
			script := c.script
			if strings.Contains(script, "%") {
				script = fmt.Sprintf(script, purpose)
			}
			over := "connection"
			if way.shared {
				over = "shared memory"
			}
			t.Run(fmt.Sprintf("%s, %s, %s, %s", script, purpose, synch, over), func(t *testing.T) {
				t.Parallel()
				wait, dial := patience, patience
				if c.silent {
					wait, dial = faultWait, silentDial
				}
				a, b := damaged(t, script, transport.Config{Synch: synch, Checksums: transport.ChecksumsOn, DialTimeout: dial}, false, way.shared)
				// A second lane of the class shares the connection.
				beside := transport.LaneKey{Model: 1, Purpose: transport.Query}
				if purpose == transport.KVMove {
					beside.Purpose = transport.KVRing
				}
				var wg sync.WaitGroup
				wg.Go(func() { talk(t, a, b, beside, wait) })
				sent, received := talk(t, a, b, transport.LaneKey{Model: 1, Purpose: purpose}, wait)
				wg.Wait()
				if failed := sent != nil || received != nil; failed != c.harm {
					t.Errorf("the sender's error is %v, the receiver's %v", sent, received)
				}
				if c.cause != nil && !errors.Is(received, c.cause) {
					t.Errorf("the receiver's error is %v, want %v", received, c.cause)
				}
				if c.deaf { // only the sender can tell that a lane has not come about, and dials again
					talk(t, a, b, transport.LaneKey{Model: 3, Purpose: purpose}, patience)
				}
				// An end may not have heard yet that the connection is gone: a lane that it opens meanwhile fails with it, the next does not.
				sent, received = talk(t, a, b, transport.LaneKey{Model: 2, Purpose: purpose}, patience)
				if sent != nil || received != nil {
					sent, received = talk(t, a, b, transport.LaneKey{Model: 4, Purpose: purpose}, patience)
				}
				if sent != nil || received != nil {
					t.Errorf("after the fault: %v and %v", sent, received)
				}
			})
		}
	}
}

func TestUnderTLSNothingDamagedComesThrough(t *testing.T) {
	for _, script := range []string{"after 300KiB: flip bit", "after 300KiB: truncate", "after 300KiB: cut", "after 300KiB: half-open"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			wait, dial := patience, patience
			if strings.HasSuffix(script, "half-open") {
				wait, dial = faultWait, silentDial
			}
			a, b := damaged(t, script, transport.Config{DialTimeout: dial}, true, false)
			sent, received := talk(t, a, b, transport.LaneKey{Model: 1, Purpose: transport.KVMove}, wait)
			if sent == nil && received == nil {
				t.Error("everything came")
			}
			if sent, received := talk(t, a, b, transport.LaneKey{Model: 2, Purpose: transport.KVMove}, patience); sent != nil || received != nil {
				t.Errorf("after the fault: %v and %v", sent, received)
			}
		})
	}
}

func TestAnActorMessageOverADamagedConnectionIsAnsweredOrFailsAndTheNextIsAnswered(t *testing.T) {
	for _, c := range []struct {
		script string
		harm   bool
	}{
		{"after 3 frames of control: delay 2ms", false},
		{"after 3 frames of control: stall 30ms", false},
		{"after 3 frames of control: flip bit", true},
		{"after 3 frames of control: truncate", true},
		{"after 3 frames of control: cut; after 3 frames of control: cut", true},
	} {
		t.Run(c.script, func(t *testing.T) {
			t.Parallel()
			a, b := damaged(t, c.script, transport.Config{Checksums: transport.ChecksumsOn}, false, false)
			from, to := system(t, a), system(t, b)
			if _, err := to.Root.SpawnNamed(actor.PropsFromFunc(func(c actor.Context) {
				if m, ok := c.Message().(*wrapperspb.Int64Value); ok {
					c.Respond(wrapperspb.Int64(2 * m.Value))
				}
			}), "double"); err != nil {
				t.Fatal(err)
			}
			b.Expose("double")
			failed := 0
			for i := range int64(messages) {
				f := from.Root.RequestFuture(actor.NewPID("b", "double"), wrapperspb.Int64(i), patience)
				switch reply, err := transport.Reply[*wrapperspb.Int64Value](f); {
				case err == nil && reply.Value != 2*i:
					t.Errorf("the double of %d is %d", i, reply.Value)
				case err != nil:
					var lost *transport.ErrPeerLost
					if failed++; !errors.As(err, &lost) || lost.Node != "b" {
						t.Errorf("request %d: %v, want the loss of b", i, err)
					}
				}
			}
			if !c.harm && failed > 0 || c.harm && (failed == 0 || failed > 2) {
				t.Errorf("%d requests of %d failed", failed, messages)
			}
		})
	}
}

// system is an endpoint's actor system.
func system(t *testing.T, e *transport.Endpoint) *actor.ActorSystem {
	t.Helper()
	s := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
		actor.WithDeadLetterThrottleInterval(time.Millisecond)) // its goroutine sleeps as long
	if err := e.AttachActors(s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}
