package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMessagesArriveWholeAndInOrder(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		sizes := []int{0, 1, 23, 4096, 64<<10 - 1, 64 << 10, 64<<10 + 1, 200_000, 0, 1 << 20}
		var wg sync.WaitGroup
		for p := Step; p < numPurposes; p++ {
			for model := range uint64(3) {
				key := LaneKey{Model: model, Purpose: p}
				there, receiver := lane(t, a, b, key, 10<<20)
				back, answers := lane(t, b, a, key, 10<<20)
				wg.Go(func() { // echo
					for {
						m, err := receiver.Next()
						if err != nil {
							return
						}
						half := len(m.Bytes) / 2
						if err := back.Send(soon(), nil, m.Bytes[:half], m.Bytes[half:]); err != nil {
							t.Error(key, err)
						}
						m.Release()
					}
				})
				wg.Go(func() {
					defer receiver.Close()
					mine := sizes
					if model == 0 && p == KVMove {
						mine = append(mine[:len(mine):len(mine)], 10<<20)
					}
					for i, n := range mine {
						want := randomBytes(uint64(i)+model, n)
						if err := there.Send(soon(), want[:n/3], want[n/3:n/2], nil, want[n/2:]); err != nil {
							t.Error(key, err)
							return
						}
						m, err := answers.Receive(soon())
						if err != nil {
							t.Error(key, err)
							return
						}
						if !bytes.Equal(m.Bytes, want) || m.Seq != uint64(i) {
							t.Errorf("%s: message %d of %d bytes came back as message %d of %d", key, i, n, m.Seq, len(m.Bytes))
						}
						m.Release()
					}
				})
			}
		}
		wg.Wait()
	})
}

func TestLaneToOneselfWorksAlike(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, _ := endpoint(t, "a", Config{Synch: synch})
		s, r := lane(t, a, a, LaneKey{1, Hidden}, 1<<20)
		for i := range 10 {
			want := randomBytes(uint64(i), i*100_000)
			sent := bytes.Clone(want)
			if err := s.Send(soon(), sent[:i], sent[i:]); err != nil {
				t.Fatal(err)
			}
			clear(sent) // Send copied
			got, seq := receive(t, r)
			if !bytes.Equal(got, want) || seq != uint64(i) {
				t.Fatalf("message %d of %d bytes came as message %d of %d", i, len(want), seq, len(got))
			}
		}
		fill(t, s)
		var timeout *ErrTimeout
		if err := s.Send(past(), []byte("one too many")); !errors.As(err, &timeout) {
			t.Fatalf("a third message unread: %v", err)
		}
		receive(t, r)
		receive(t, r)
		var lost *ErrPeerLost
		if _, err := r.Receive(soon()); !errors.As(err, &lost) {
			t.Fatalf("the sender gave up, its receiver got %v", err)
		}
		if _, err := a.Sender("a", LaneKey{1, Hidden}, 1); !isNoReceiver(err) {
			t.Fatalf("opened a lane that has failed: %v", err)
		}
	})
}

func TestSendersOfOneLaneTakeTurns(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch, FrameBytes: MinFrame})
		s, r := lane(t, a, b, LaneKey{1, Partial}, 1<<20)
		const senders, each = 8, 20
		var wg sync.WaitGroup
		for i := range senders {
			wg.Go(func() {
				for range each {
					if err := s.Send(soon(), []byte{byte(i)}, bytes.Repeat([]byte{byte(i)}, 5000*i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		count := make([]int, senders)
		for seq := range uint64(senders * each) {
			m, got := receive(t, r)
			i := m[0]
			if got != seq || len(m) != 1+5000*int(i) || !bytes.Equal(m, bytes.Repeat([]byte{i}, len(m))) {
				t.Fatalf("message %d, from sender %d, of %d bytes, is mixed", got, i, len(m))
			}
			count[i]++
		}
		wg.Wait()
		for i, n := range count {
			if n != each {
				t.Errorf("sender %d: %d messages arrived of %d", i, n, each)
			}
		}
	})
}

func TestSlowConsumerStopsOnlyItsWriter(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		slow, slowly := lane(t, a, b, LaneKey{1, Hidden}, 100)
		quick, quickly := lane(t, a, b, LaneKey{2, Hidden}, 1<<20)
		const messages = 100
		var sent atomic.Int32
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range messages {
				if err := slow.Send(soon(), []byte{byte(i)}); err != nil {
					t.Error(err)
					return
				}
				sent.Add(1)
			}
		})
		big := randomBytes(1, 1<<20)
		for range 50 {
			if err := quick.Send(soon(), big); err != nil {
				t.Fatal(err)
			}
			receive(t, quickly)
		}
		if n, most := int(sent.Load()), messagesPerLane+b.c.Window; n > most {
			t.Errorf("%d messages went out with nobody reading, want at most %d", n, most)
		}
		for i := range messages {
			if m, _ := receive(t, slowly); m[0] != byte(i) {
				t.Fatalf("message %d is %d", i, m[0])
			}
		}
		wg.Wait()
	})
}

func TestWindowOfOneFrameSuffices(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch, Window: 1, FrameBytes: MinFrame})
		s, r := lane(t, a, b, LaneKey{1, KVMove}, 1<<20)
		want := randomBytes(7, 300_001)
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 5 {
				if err := s.Send(soon(), want); err != nil {
					t.Error(err)
				}
			}
		})
		for range 5 {
			if got, _ := receive(t, r); !bytes.Equal(got, want) {
				t.Fatal("message changed on its way")
			}
		}
		wg.Wait()
	})
}

func TestEndsMayDifferInFrameAndWindow(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, _ := endpoint(t, "a", Config{Synch: synch, FrameBytes: 1 << 20, Window: 64})
		b, _ := endpoint(t, "b", Config{Synch: synch, FrameBytes: 4 << 10, Window: 2})
		a.SetPeer("b", b.Addr())
		b.SetPeer("a", a.Addr())
		want := randomBytes(3, 1<<20)
		for _, way := range [][2]*Endpoint{{a, b}, {b, a}} {
			s, r := lane(t, way[0], way[1], LaneKey{1, KVRing}, 1<<20)
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := s.Send(soon(), want); err != nil {
					t.Error(err)
				}
			})
			if got, _ := receive(t, r); !bytes.Equal(got, want) {
				t.Error("message changed on its way")
			}
			wg.Wait()
		}
	})
}

func TestSenderCloseLetsTheReceiverFinish(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		for _, to := range []*Endpoint{a, b} {
			key := LaneKey{1, Result}
			s, r := lane(t, a, to, key, 10)
			for i := range messagesPerLane {
				if err := s.Send(soon(), []byte{byte(i)}); err != nil {
					t.Fatal(err)
				}
			}
			s.Close()
			s.Close()
			if err := s.Send(soon(), nil); !errors.Is(err, ErrClosed) {
				t.Errorf("Send after Close: %v", err)
			}
			for i := range messagesPerLane {
				if m, _ := receive(t, r); m[0] != byte(i) {
					t.Errorf("message %d is %d", i, m[0])
				}
			}
			for range 2 {
				if _, err := r.Next(); err != io.EOF {
					t.Errorf("after the last message: %v, want io.EOF", err)
				}
			}
			r.Close()
			lane(t, a, to, key, 10) // the key is free again
		}
	})
}

func TestReceiverCloseStopsTheSender(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		for _, to := range []*Endpoint{a, b} {
			s, r := lane(t, a, to, LaneKey{1, Step}, 10)
			other, others := lane(t, a, to, LaneKey{2, Step}, 10)
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := r.Next(); !errors.Is(err, ErrClosed) {
					t.Errorf("Next during Close: %v", err)
				}
			})
			r.Close()
			wg.Wait()
			eventually(t, "the sender learns that its receiver is closed", func() bool {
				return isNoReceiver(s.Send(soon(), []byte("?")))
			})
			if err := other.Send(soon(), []byte("!")); err != nil {
				t.Errorf("another lane of the connection: %v", err)
			}
			receive(t, others)
		}
	})
}

func TestLaneWithoutFittingReceiverIsRefused(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		for _, to := range []*Endpoint{a, b} {
			name := to.c.Node
			if _, err := a.Sender(name, LaneKey{9, Query}, 10); !isNoReceiver(err) {
				t.Errorf("to %s, nobody registered: %v", name, err)
			}
			s, r := lane(t, a, to, LaneKey{1, Query}, 10)
			if _, err := a.Sender(name, LaneKey{1, Query}, 10); !isNoReceiver(err) {
				t.Errorf("to %s, opened twice: %v", name, err)
			}
			if _, err := to.Receiver("a", LaneKey{2, Query}, 10); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Sender(name, LaneKey{2, Query}, 11); !isNoReceiver(err) {
				t.Errorf("to %s, larger than what is received: %v", name, err)
			}
			if err := s.Send(soon(), []byte("well")); err != nil {
				t.Errorf("to %s, the lane that was good: %v", name, err)
			}
			receive(t, r)
		}
		if _, err := b.Receiver("a", LaneKey{1, Query}, 10); err == nil {
			t.Error("two receivers for one lane")
		}
	})
}

func TestBadArgumentsAreErrors(t *testing.T) {
	a, b := pair(t, Config{})
	s, r := lane(t, a, b, LaneKey{1, Step}, 4)
	if err := s.Send(soon(), []byte("123"), []byte("45")); err == nil {
		t.Error("sent 5 bytes on a lane for 4")
	}
	if err := s.Send(soon(), []byte("1234")); err != nil {
		t.Errorf("after a message that was too large: %v", err)
	}
	receive(t, r)
	for _, key := range []LaneKey{{1, Control}, {1, numPurposes}, {1, 255}} {
		if _, err := a.Sender("b", key, 1); err == nil {
			t.Errorf("opened lane %s", key)
		}
		if _, err := a.Receiver("b", key, 1); err == nil {
			t.Errorf("registered lane %s", key)
		}
	}
	for _, node := range []string{"", "nonhost", "a b", "a\n", string(make([]byte, 200))} {
		if _, err := a.Sender(node, LaneKey{1, Step}, 1); err == nil {
			t.Errorf("sends to node %q", node)
		}
		if _, err := Listen("127.0.0.1:0", Config{Cluster: "c", Node: node}); err == nil {
			t.Errorf("is node %q", node)
		}
	}
	for i, c := range []Config{{FrameBytes: 5}, {Window: 1000}, {MaxWait: -1}, {FrameBytes: 1 << 30}} {
		c.Cluster, c.Node = "c", "n"
		if _, err := Listen("127.0.0.1:0", c); err == nil {
			t.Errorf("bad config %d accepted", i)
		}
	}
}

func TestCountersCountMessagesAndBytes(t *testing.T) {
	a, b := pair(t, Config{})
	s, r := lane(t, a, b, LaneKey{1, KVMove}, 1<<20)
	for n := range 3 {
		if err := s.Send(soon(), make([]byte, n*100_000)); err != nil {
			t.Fatal(err)
		}
		receive(t, r)
	}
	if got, want := a.Counters()[KVMove], (Traffic{MessagesOut: 3, BytesOut: 300_000}); got != want {
		t.Errorf("sender counts %+v, want %+v", got, want)
	}
	if got, want := b.Counters()[KVMove], (Traffic{MessagesIn: 3, BytesIn: 300_000}); got != want {
		t.Errorf("receiver counts %+v, want %+v", got, want)
	}
	if got := b.Counters()[Step]; got != (Traffic{}) {
		t.Errorf("counts %+v on a purpose without lanes", got)
	}
}

func TestCloseEndsEveryGoroutineAndWait(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		before := goleak.IgnoreCurrent()
		a, b := pair(t, Config{Synch: synch})
		var wg sync.WaitGroup
		for i, to := range []*Endpoint{a, b} {
			s, r := lane(t, a, to, LaneKey{uint64(i), Hidden}, 1<<20)
			unused, err := to.Receiver("a", LaneKey{99, Hidden}, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []*Receiver{r, unused} {
				wg.Go(func() {
					for {
						if _, err := r.Next(); err != nil {
							if to == a && !errors.Is(err, ErrClosed) {
								t.Errorf("receiver at close: %v", err)
							}
							return
						}
					}
				})
			}
			wg.Go(func() {
				for {
					if err := s.Send(soon(), make([]byte, 1<<20)); err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Errorf("sender at close: %v", err)
						}
						return
					}
				}
			})
		}
		eventually(t, "traffic", func() bool { return a.Counters()[Hidden].MessagesOut > 2 })
		a.Close()
		a.Close()
		b.Close()
		wg.Wait()
		goleak.VerifyNone(t, before)
		if _, err := a.Sender("b", LaneKey{5, Step}, 1); !errors.Is(err, ErrClosed) {
			t.Errorf("Sender after Close: %v", err)
		}
		if _, err := a.Receiver("b", LaneKey{5, Step}, 1); !errors.Is(err, ErrClosed) {
			t.Errorf("Receiver after Close: %v", err)
		}
	})
}

func TestNamesOfPurposes(t *testing.T) {
	seen := map[string]bool{}
	for p := range numPurposes {
		if s := p.String(); s == "" || seen[s] {
			t.Errorf("purpose %d has the name %q", p, s)
		} else {
			seen[s] = true
		}
	}
	if got := fmt.Sprint(LaneKey{7, Query}); got != "query/7" {
		t.Errorf("lane is called %s", got)
	}
}

// What does not fit in the one message waits as frames, and then takes its place.
func TestASingleMessageIsEnoughForMany(t *testing.T) {
	a, b := pair(t, Config{})
	const size, messages = 200 << 10, 20
	r, err := b.Receiver(a.c.Node, LaneKey{1, Hidden}, size)
	if err != nil {
		t.Fatal(err)
	}
	r.Single()
	s, err := a.Sender(b.c.Node, LaneKey{1, Hidden}, size)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		for i := range messages {
			if err := s.Send(soon(), bytes.Repeat([]byte{byte(i)}, size-i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	var place *byte
	for i := range messages {
		m, err := r.Receive(soon())
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Bytes) != size-i || bytes.Count(m.Bytes, []byte{byte(i)}) != size-i {
			t.Fatalf("message %d has %d bytes, of them %d right", i, len(m.Bytes), bytes.Count(m.Bytes, []byte{byte(i)}))
		}
		if place == nil {
			place = &m.Bytes[0]
		} else if place != &m.Bytes[0] {
			t.Fatalf("message %d lies elsewhere than the first", i)
		}
		m.Release()
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}
