package rdma

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/orrery-ai/orrery/internal/standin"
)

func TestConnDoesWhatANetConnDoes(t *testing.T) {
	for name, set := range kinds {
		t.Run(name, func(t *testing.T) {
			f := standin.Start(t)
			p := provider(t, f)
			set(f, p)
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				x, y := tcpPair(t)
				a, b, errA, errB := upgrade(p, p, x, y)
				if err := errors.Join(errA, errB); err != nil {
					return nil, nil, nil, err
				}
				return a, b, func() { a.Close(); b.Close() }, nil
			})
		})
	}
}

func TestBytesArriveInOrderInBothDirectionsAtOnce(t *testing.T) {
	overKinds(t, func(t *testing.T, f *standin.Fabric, a, b *Conn) {
		const total = 3 << 20
		var wg sync.WaitGroup
		for i, way := range [][2]*Conn{{a, b}, {b, a}} {
			stream := make([]byte, total)
			rand.NewChaCha8([32]byte{byte(i)}).Read(stream)
			r := rand.New(rand.NewPCG(1, uint64(i)))
			way[0].SetWriteDeadline(soon())
			way[1].SetReadDeadline(soon())
			wg.Go(func() {
				for left := stream; len(left) > 0; {
					n := min(len(left), 1+r.IntN(1<<(4+r.IntN(15))))
					var err error
					if r.IntN(2) == 0 {
						_, err = way[0].Write(left[:n])
					} else {
						k, m := r.IntN(n+1), r.IntN(n+1)
						k, m = min(k, m), max(k, m)
						bufs := net.Buffers{left[:k], nil, left[k:m], left[m:n]}
						_, err = way[0].WriteBuffers(&bufs)
						if len(bufs) > 0 {
							t.Errorf("%d buffers were not consumed", len(bufs))
						}
					}
					if err != nil {
						t.Error(err)
						return
					}
					left = left[n:]
				}
			})
			wg.Go(func() {
				got := make([]byte, 0, total)
				rr := rand.New(rand.NewPCG(2, uint64(i)))
				for len(got) < total {
					n, err := way[1].Read(got[len(got):min(total, len(got)+1+rr.IntN(100_000))])
					if err != nil {
						t.Errorf("after %d bytes: %v", len(got), err)
						return
					}
					got = got[:len(got)+n]
				}
				if !bytes.Equal(got, stream) {
					t.Error("the stream was changed")
				}
			})
		}
		wg.Wait()
	})
}

func TestSmallWriteIsOneMessage(t *testing.T) {
	f := standin.Start(t)
	p := provider(t, f)
	a, b := connect(t, p, p)
	head, body := make([]byte, 24), make([]byte, 64<<10)
	before := f.Get("sends")
	bufs := net.Buffers{head, body[:100], body[100:]}
	if n, err := a.WriteBuffers(&bufs); err != nil || n != int64(len(head)+len(body)) {
		t.Fatal(n, err)
	}
	if n := f.Get("sends") - before; n != 1 {
		t.Errorf("a frame took %d messages", n)
	}
	want(t, b, make([]byte, len(head)+len(body)))
}

func TestStalledReaderStopsItsWriterAndNotTheOtherDirection(t *testing.T) {
	overKinds(t, func(t *testing.T, f *standin.Fabric, a, b *Conn) {
		var written atomic.Int64
		var wg sync.WaitGroup
		wg.Go(func() {
			buf := make([]byte, 100_000)
			a.SetWriteDeadline(soon())
			for {
				n, err := a.Write(buf)
				written.Add(int64(n))
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
		stuck := func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.flow.credits == 0
		}
		eventually(t, "the writer has no credits left", stuck)
		big := make([]byte, 300_000)
		for range 5 {
			wg.Go(func() { send(t, b, big) })
			want(t, a, big)
		}
		if n, most := written.Load(), int64(a.profile.slots*a.profile.slotBytes); n > most {
			t.Errorf("%d bytes were written with nobody reading, want at most %d", n, most)
		}
		a.Close()
		wg.Wait()
		b.SetReadDeadline(soon())
		n, err := io.Copy(io.Discard, b)
		if err != nil {
			t.Error(err)
		}
		if n == 0 {
			t.Error("nothing of what was written before Close can be read")
		}
	})
}

func TestWriterWithoutSlotsIsWokenThoughAReaderSleeps(t *testing.T) {
	f := standin.Start(t)
	p, q := provider(t, f), provider(t, f)
	p.profile.slots = 1 // fewer than the peer gives credits
	a, b := connect(t, p, q)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read gives %v", err)
		}
	})
	eventually(t, "the reader sleeps", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.leader == &a.reader
	})
	f.Set("delay_us", 1000)
	for i := range byte(6) {
		send(t, a, []byte{i})
	}
	f.Set("delay_us", 0)
	want(t, b, []byte{0, 1, 2, 3, 4, 5})
	a.Close()
	wg.Wait()
}

func TestPeerReadsAllThatWasWrittenBeforeClose(t *testing.T) {
	overKinds(t, func(t *testing.T, f *standin.Fabric, a, b *Conn) {
		last := bytes.Repeat([]byte("last words"), 1000)
		send(t, a, last)
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		want(t, b, last)
		for range 2 {
			if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("Read after the end gives %d, %v", n, err)
			}
			if _, err := b.Write([]byte("?")); !errors.Is(err, syscall.EPIPE) {
				t.Errorf("Write after the end gives %v", err)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		for _, c := range []*Conn{a, b} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read after Close gives %v", err)
			}
			if _, err := c.Write([]byte("?")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write after Close gives %v", err)
			}
			if err := c.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("SetDeadline after Close gives %v", err)
			}
			if err := c.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Close after Close gives %v", err)
			}
		}
	})
}

func TestCloseEndsCallsThatWait(t *testing.T) {
	overKinds(t, func(t *testing.T, f *standin.Fabric, a, b *Conn) {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Read: %v", err)
				}
			})
			wg.Go(func() {
				for {
					if _, err := a.Write(make([]byte, 1<<20)); err != nil {
						if !errors.Is(err, net.ErrClosed) {
							t.Errorf("Write: %v", err)
						}
						return
					}
				}
			})
		}
		eventually(t, "the writer has no credits left", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.flow.credits == 0
		})
		a.Close()
		wg.Wait()
	})
}

func TestOneRegistrationForEachConnection(t *testing.T) {
	f := standin.Start(t)
	p, q := provider(t, f), provider(t, f)
	for range maxConnections {
		connect(t, p, q)
	}
	if n := f.Get("mrs"); n != 2*maxConnections {
		t.Errorf("%d connections have %d registrations at their two ends", maxConnections, n)
	}
	if n := f.Get("pds"); n != 2 {
		t.Errorf("two adapters have %d protection domains", n)
	}
	x, y := tcpPair(t)
	_, _, errA, errB := upgrade(p, q, x, y)
	wantDeclined(t, errA, "as many as it may")
	wantDeclined(t, errB, "as many as it may")
	if n := f.Get("mrs_peak"); n != 2*maxConnections {
		t.Errorf("there have been %d registrations", n)
	}
}

func TestThunderboltRunsOutOfQueuePairsInWords(t *testing.T) {
	f := standin.Start(t)
	p := provider(t, f)
	f.Set("thunderbolt", 1)
	p.profile = thunderbolt
	for range 5 {
		a, b := connect(t, p, p)
		send(t, a, []byte("well"))
		want(t, b, []byte("well"))
	}
	x, y := tcpPair(t)
	_, _, errA, errB := upgrade(p, p, x, y)
	wantDeclined(t, errA, "ibv_create_qp: device or resource busy")
	wantDeclined(t, errB, "ibv_create_qp: device or resource busy")
}
