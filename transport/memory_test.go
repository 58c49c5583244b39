package transport

import (
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
)

// held is what a connection's reader keeps in buffers.
func (f *frameReader) held() int { return cap(f.buf) + cap(f.ahead.spill) + cap(f.ahead.heads) }

// Two lanes take turns on every connection, both ways, which is what makes readers guess wrong.
func TestConnectionsKeepNoMoreThanIsPredicted(t *testing.T) {
	if testing.Short() {
		t.Skip("it moves 240 MB")
	}
	a, b := pair(t, Config{NoSharedMemory: true})
	const size, messages = 1 << 20, 30
	type way struct {
		s *Sender
		r *Receiver
	}
	var ways []way
	for _, purpose := range []Purpose{Query, Partial, KVMove, KVRing} {
		for _, ends := range [][2]*Endpoint{{a, b}, {b, a}} {
			s, r := lane(t, ends[0], ends[1], LaneKey{1, purpose}, size)
			ways = append(ways, way{s, r})
		}
	}
	body := make([]byte, size)
	move := func() {
		var wg sync.WaitGroup
		for _, w := range ways {
			wg.Go(func() {
				for range messages {
					if err := w.s.Send(soon(), body); err != nil {
						t.Error(err)
						return
					}
				}
			})
			wg.Go(func() {
				for range messages {
					m, err := w.r.Receive(soon())
					if err != nil {
						t.Error(err)
						return
					}
					m.Release()
				}
			})
		}
		wg.Wait()
	}
	wrong := func(e *Endpoint) bool { _, spilled := heldBy(e); return spilled > 0 }
	for tries := 0; !t.Failed() && !(wrong(a) && wrong(b)); tries++ { // lanes must have taken turns on both
		if tries == 20 {
			t.Fatal("no guess was wrong: nothing was tested")
		}
		move()
	}
	for _, e := range []*Endpoint{a, b} {
		sum, _ := heldBy(e)
		if want := PeerBytes - peerStreams*idleStream + 2*TurnsBytes; sum > want {
			t.Errorf("%d bytes on the connections of node %s, %d were predicted", sum, e.c.Node, want)
		}
	}
}

// heldBy is how many bytes an endpoint's connections hold, and how many of them have guessed wrong what comes next.
func heldBy(e *Endpoint) (sum, spilled int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.linksLocked("") {
		l.at.reading.Lock()
		sum += l.frames.held()
		if s, ok := l.sock.(*socket); ok {
			sum += cap(s.stage)
		}
		if l.frames.ahead.spill != nil {
			spilled++
		}
		l.at.reading.Unlock()
	}
	return sum, spilled
}

func TestTLSKeepsNoMoreThanIsPredicted(t *testing.T) {
	root := authority(t, "test")
	here, there := newSecurity(identity(t, root, "a")), newSecurity(identity(t, root, "b"))
	const conns = 32
	body, back := make([]byte, 64<<10), make([]byte, 64<<10)
	var ends [2][conns]*secured
	before := heap()
	for i := range conns {
		x, y := net.Pipe()
		defer x.Close()
		defer y.Close()
		var wg sync.WaitGroup
		join := func(c *secured, err error) *secured {
			if err != nil {
				t.Error(err)
			}
			return c
		}
		wg.Go(func() { ends[0][i] = join(handshake(y, tls.Server(y, there.server))) })
		ends[1][i] = join(handshake(x, tls.Client(x, here.client)))
		wg.Wait()
		if t.Failed() {
			return
		}
		for from := range ends {
			wg.Go(func() {
				if err := ends[from][i].writev(net.Buffers{body}); err != nil {
					t.Error(err)
				}
			})
			if _, err := io.ReadFull(ends[1-from][i], back); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
		}
	}
	if each := (heap() - before) / (2 * conns); each > tlsBytes {
		t.Errorf("%d bytes for each end of a connection, %d were predicted", each, tlsBytes)
	} else {
		t.Logf("%d bytes for each end of a connection", each)
	}
	runtime.KeepAlive(&ends)
}

// heap is what the Go heap holds, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
