package rdma

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/internal/standin"
	"github.com/orrery-ai/orrery/transport/verbs"
)

// statuses are what a completion may say when it is not a success.
var statuses = []verbs.Status{
	verbs.LocalLength, verbs.LocalOperation, verbs.LocalProtection, verbs.Flushed, verbs.BadResponse, verbs.LocalAccess,
	verbs.RemoteInvalid, verbs.RemoteAccess, verbs.RemoteOperation, verbs.RetriesExhausted, verbs.NotReadyRetriesExhausted,
	verbs.RemoteAborted, verbs.Fatal, verbs.ResponseTimeout, verbs.General,
}

// wantCompletionError checks that err names the peer and the status.
func wantCompletionError(t *testing.T, err error, op string, status verbs.Status) {
	t.Helper()
	var c *CompletionError
	if !errors.As(err, &c) || c.Op != op || c.Status != status || c.Peer != "b" && c.Peer != "a" {
		t.Fatalf("error is %v, want a failed %s: %v", err, op, status)
	}
	for _, part := range []string{"peer " + c.Peer, status.String()} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestFailedSendBreaksTheConnectionAtBothEnds(t *testing.T) {
	for _, status := range statuses {
		t.Run(status.String(), func(t *testing.T) {
			f := standin.Start(t)
			p := provider(t, f)
			a, b := connect(t, p, p)
			send(t, a, []byte("well"))
			want(t, b, []byte("well"))
			f.Set("fail_status", int(status))
			f.Set("fail_send_in", 1)
			a.SetDeadline(soon())
			var err error
			for range a.profile.slots { // the second fails; it is noticed when there are no more slots
				if _, err = a.Write([]byte("?")); err != nil {
					break
				}
			}
			wantCompletionError(t, err, "send", status)
			_, again := a.Read(make([]byte, 1))
			wantCompletionError(t, again, "send", status)
			a.Close()
			b.SetDeadline(soon())
			if _, err := io.Copy(io.Discard, b); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the peer reads to %v", err)
			}
		})
	}
}

func TestFailedReceiveBreaksTheConnectionAndDeliversNothingMore(t *testing.T) {
	for _, status := range statuses {
		t.Run(status.String(), func(t *testing.T) {
			f := standin.Start(t)
			p := provider(t, f)
			a, b := connect(t, p, p)
			f.Set("fail_status", int(status))
			f.Set("fail_receive_in", 2)
			for range 4 {
				send(t, a, []byte("?"))
			}
			b.SetDeadline(soon())
			_, err := io.ReadFull(b, make([]byte, 4))
			wantCompletionError(t, err, "receive", status)
			if n, err := b.Read(make([]byte, 1)); n != 0 {
				t.Error("a byte was read after the failure")
			} else {
				wantCompletionError(t, err, "receive", status)
			}
			_, err = b.Write([]byte("?"))
			wantCompletionError(t, err, "receive", status)
		})
	}
}

func TestAWaitingCallLearnsOfAFailure(t *testing.T) {
	f := standin.Start(t)
	p := provider(t, f)
	a, _ := connect(t, p, p)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := a.Read(make([]byte, 1))
		wantCompletionError(t, err, "send", verbs.RetriesExhausted)
	})
	eventually(t, "the reader sleeps", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.leader != nil
	})
	f.Set("fail_status", int(verbs.RetriesExhausted))
	f.Set("fail_send_in", 0)
	send(t, a, []byte("?"))
	wg.Wait()
}

func TestLostMessageOfAnUnreliableConnectionIsNoticed(t *testing.T) {
	f := standin.Start(t)
	p := provider(t, f)
	f.Set("thunderbolt", 1)
	p.profile = thunderbolt
	a, b := connect(t, p, p)
	send(t, a, []byte("one"))
	f.Set("lose_in", 0)
	send(t, a, []byte("two"))
	send(t, a, []byte("three"))
	b.SetDeadline(soon())
	got, err := io.ReadAll(b)
	if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "message 3 where 2 was due") {
		t.Errorf("error is %v, want that message 2 is missing", err)
	}
	if len(got) > 0 && string(got) != "one" {
		t.Errorf("%q was read", got)
	}
}

func TestFullQueueIsWaitedFor(t *testing.T) {
	f := standin.Start(t)
	p := provider(t, f)
	a, b := connect(t, p, p)
	f.Set("delay_us", 5_000)
	send(t, a, []byte("on its way"))
	f.Set("full", 1)
	send(t, a, []byte(", then this"))
	if n := f.Get("full"); n != 0 {
		t.Error("the queue was never full")
	}
	want(t, b, []byte("on its way, then this"))
	f.Set("delay_us", 0)
	f.Set("full", 1) // with nothing on its way, that no completion would change
	eventually(t, "everything is sent", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.poll()
		return a.busy == 0
	})
	if _, err := a.Write([]byte("?")); !errors.Is(err, syscall.ENOMEM) || !strings.Contains(err.Error(), "peer b: ibv_post_send") {
		t.Errorf("error is %v, want a full queue", err)
	}
}

// Credits that found the queue full are paid when a send is complete, which then has to wake whoever sleeps.
func TestCreditsThatFoundTheQueueFullArePaid(t *testing.T) {
	for _, who := range []string{"reader", "writer"} {
		t.Run("while the "+who+" sleeps", func(t *testing.T) {
			f := standin.Start(t)
			p := provider(t, f)
			a, b := connect(t, p, p)
			for range a.profile.slots { // all that b gives credits for
				send(t, a, []byte("??"))
			}
			want(t, b, []byte("?")) // all have arrived, and none is read to its end
			var wg sync.WaitGroup
			ahead := 1
			if who == "writer" {
				ahead = b.profile.slots
			}
			for i := range ahead {
				if i == ahead-1 {
					f.Set("delay_us", 100_000)
				}
				send(t, b, []byte("!"))
			}
			f.Set("delay_us", 0)
			if who == "writer" {
				wg.Go(func() { send(t, b, []byte("!")) })
				eventually(t, "the writer sleeps", func() bool {
					b.mu.Lock()
					defer b.mu.Unlock()
					return b.leader == &b.writer
				})
				ahead++
			}
			f.Set("full", 1+a.profile.slots/2)
			want(t, b, bytes.Repeat([]byte("?"), 2*a.profile.slots-1)) // the credits are due from the half on
			if who == "reader" {
				wg.Go(func() { want(t, b, []byte("more")) })
			}
			send(t, a, []byte("more"))
			if n := f.Get("full"); n != 0 {
				t.Errorf("the queue was not found full %d times", n)
			}
			want(t, a, bytes.Repeat([]byte("!"), ahead))
			wg.Wait()
		})
	}
}

func TestAPollThatFailsEndsTheCallThatWasAboutToSleep(t *testing.T) {
	f := standin.Start(t)
	p := provider(t, f)
	a, _ := connect(t, p, p)
	f.Set("fail_poll_in", 1) // the second is the one after the request for an event
	ended := make(chan error, 1)
	go func() {
		_, err := a.Read(make([]byte, 1))
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "peer b: ibv_poll_cq") {
			t.Errorf("Read gives %v", err)
		}
	case <-time.After(time.Until(soon())):
		t.Error("Read sleeps on a broken connection")
	}
}

func TestMuteAdapterEndsAtTheDeadlineAndAtClose(t *testing.T) {
	f := standin.Start(t)
	p := provider(t, f)
	a, _ := connect(t, p, p)
	f.Set("mute", 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		n, err := a.Write(make([]byte, 10<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 {
			t.Errorf("Write gives %d, %v", n, err)
		}
	})
	eventually(t, "the writer sleeps", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.leader == &a.writer
	})
	a.SetDeadline(soonest())
	wg.Wait()
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read gives %v", err)
	}
}

func TestEndOfTheTCPConnectionEndsIt(t *testing.T) {
	overKinds(t, func(t *testing.T, f *standin.Fabric, a, b *Conn) {
		send(t, a, []byte("last"))
		a.nc.Close() // as a process that dies
		b.SetDeadline(soon())
		got, err := io.ReadAll(b)
		if string(got) != "last" || !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "peer a is gone") {
			t.Errorf("read %q to %v", got, err)
		}
		if _, err := b.Write([]byte("?")); err == nil || !strings.Contains(err.Error(), "peer a is gone") {
			t.Errorf("Write gives %v", err)
		}
	})
}

func TestWordsOnTheTCPConnectionEndIt(t *testing.T) {
	f := standin.Start(t)
	p := provider(t, f)
	a, b := connect(t, p, p)
	if _, err := a.nc.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	b.SetDeadline(soon())
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, ErrProtocol) {
		t.Errorf("error is %v", err)
	}
}

func wantDeclined(t *testing.T, err error, why string) {
	t.Helper()
	var d *Declined
	if !errors.As(err, &d) || !strings.Contains(err.Error(), why) {
		t.Errorf("error is %v, want that RDMA is declined: %s", err, why)
	}
}

func TestBothEndsStayWithTCPIfOneCannot(t *testing.T) {
	for why, set := range map[string]func(f *standin.Fabric, p, q *Provider){
		"has the address 127.0.0.1":             func(f *standin.Fabric, p, q *Provider) { f.Set("no_address", 1) },
		"no active RDMA port":                   func(f *standin.Fabric, p, q *Provider) { f.Set("port_down", 1) },
		"ibv_alloc_pd: cannot allocate memory":  func(f *standin.Fabric, p, q *Provider) { f.Set("fail_pd", 12) },
		"ulimit -l":                             func(f *standin.Fabric, p, q *Provider) { f.Set("fail_mr", 12) },
		"ibv_create_cq: invalid argument":       func(f *standin.Fabric, p, q *Provider) { f.Set("fail_cq", 22) },
		"ibv_create_qp: cannot allocate memory": func(f *standin.Fabric, p, q *Provider) { f.Set("fail_qp", 12) },
		"queue pair to INIT: ibv_modify_qp":     func(f *standin.Fabric, p, q *Provider) { f.Set("fail_modify", 22) },
		"does not answer":                       func(f *standin.Fabric, p, q *Provider) { f.Set("unreachable", 1) },
		"does the network carry RDMA":           func(f *standin.Fabric, p, q *Provider) { f.Set("mute", 1) },
		"one end has only a reliable":           func(f *standin.Fabric, p, q *Provider) { q.profile.service = verbs.Unreliable },
		"to RTR: ibv_modify_qp: operation not suppo": func(f *standin.Fabric, p, q *Provider) { // macOS, with what it does not have
			f.Set("thunderbolt", 1)
			p.profile.access, q.profile.access = thunderbolt.access, thunderbolt.access
		},
	} {
		t.Run(why, func(t *testing.T) {
			f := standin.Start(t)
			p, q := provider(t, f), provider(t, f)
			set(f, p, q)
			x, y := tcpPair(t)
			_, _, errA, errB := upgrade(p, q, x, y)
			wantDeclined(t, errA, why)
			wantDeclined(t, errB, why)
			x.SetDeadline(soon())
			y.SetDeadline(soon())
			if _, err := x.Write([]byte("well")); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 4)
			if _, err := io.ReadFull(y, b); err != nil || string(b) != "well" {
				t.Errorf("over TCP came %q, %v", b, err)
			}
		})
	}
}

func TestUpgradeEndsWithAStrangerOrADeadPeer(t *testing.T) {
	f := standin.Start(t)
	p := provider(t, f)
	for what, peer := range map[string]func(net.Conn){
		"garbage": func(nc net.Conn) { nc.Write(make([]byte, 100)) },
		"gone":    func(nc net.Conn) { nc.Close() },
		"cut":     func(nc net.Conn) { nc.Write(offer{step: stepOffer}.append(nil)[:20]); nc.Close() },
		"silent":  func(nc net.Conn) {},
	} {
		x, y := tcpPair(t)
		peer(y)
		_, err := p.Upgrade(x, "b", time.Now().Add(100*time.Millisecond))
		var d *Declined
		if err == nil || errors.As(err, &d) {
			t.Errorf("%s: error is %v, want one of the TCP connection", what, err)
		}
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	var missing *verbs.MissingError
	if _, err := Open(Options{Library: "/nonexistent.so"}); !errors.As(err, &missing) || !strings.Contains(err.Error(), "/nonexistent.so") {
		t.Errorf("without a library: %v", err)
	}
	f := standin.Start(t)
	var none *NoDeviceError
	if _, err := Open(Options{Library: f.Library, Device: "mlx5_0"}); !errors.As(err, &none) || !strings.Contains(err.Error(), `"mlx5_0"; there is standin0, standin1`) {
		t.Errorf("another device: %v", err)
	}
	if _, err := Open(Options{Library: f.Library, Device: "standin1"}); !errors.As(err, &none) || !strings.Contains(err.Error(), "active") {
		t.Errorf("a port that is down: %v", err)
	}
	f.Set("fail_open", 13)
	if _, err := Open(Options{Library: f.Library}); !errors.Is(err, syscall.EACCES) {
		t.Errorf("a device that may not be opened: %v", err)
	}
	f.Set("fail_open", 0)
	f.Set("devices", 0)
	if _, err := Open(Options{Library: f.Library}); !errors.As(err, &none) || !strings.Contains(err.Error(), "no RDMA adapter") {
		t.Errorf("no device: %v", err)
	}
}
