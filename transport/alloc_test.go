//go:build !race

package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
)

func TestSteadyStateAllocatesNothing(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		for _, c := range []Config{{Checksums: ChecksumsOff}, {Checksums: ChecksumsOn}, {NoSharedMemory: true}, {NoSharedMemory: true, Checksums: ChecksumsOn}} {
			c.Synch = synch
			for _, hold := range []int32{0, 1} { // none where timers are coarse
				a, b := pair(t, c)
				a.mayHold, b.mayHold = hold, hold
				allocatesNothing(t, a, b)
			}
		}
	})
}

// allocatesNothing sends and receives messages of all sizes from one endpoint to another, and to itself.
func allocatesNothing(t *testing.T, a, b *Endpoint) {
	t.Helper()
	for name, to := range map[string]*Endpoint{"another node": b, "own node": a} {
		for _, n := range []int{64, 32 << 10, 400_000} {
			for _, purpose := range []Purpose{Partial, KVMove} {
				s, r := lane(t, a, to, LaneKey{uint64(n), purpose}, n+8)
				head, body := make([]byte, 8), make([]byte, n)
				exchange := func() {
					if err := s.Send(soon(), head, body[:n/2], body[n/2:]); err != nil {
						t.Fatal(err)
					}
					m, err := r.Receive(soon())
					if err != nil {
						t.Fatal(err)
					}
					m.Release()
				}
				for range 20 { // each of the lane's buffers is made once
					exchange()
				}
				if got := testing.AllocsPerRun(100, exchange); got > 0 {
					t.Errorf("%s, %s, %d bytes: %v allocations for Send and Receive", name, purpose, n, got)
				}
			}
		}
	}
}

// sink is a connection whose peer takes everything and says nothing.
type sink struct{ net.Conn }

func (sink) Write(b []byte) (int, error) { return len(b), nil }

// sunk is one end of TLS, made over a pipe, that goes on writing into a sink.
func sunk(t testing.TB) *secured {
	t.Helper()
	x, y := net.Pipe()
	t.Cleanup(func() { x.Close(); y.Close() })
	s := newSecurity(identity(t, authority(t, "test"), "a"))
	done := make(chan error)
	go func() { done <- tls.Server(y, s.server).Handshake() }()
	line := &begun{Conn: x}
	end, err := handshake(line, tls.Client(line, s.client))
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	line.Conn = sink{x}
	return end
}

func TestWritingUnderTLSAllocatesNothing(t *testing.T) {
	s := sunk(t)
	for _, n := range []int{64, 64 << 10} {
		bufs := net.Buffers{make([]byte, headerBytes), make([]byte, n/2), make([]byte, n/2)}
		if got := testing.AllocsPerRun(200, func() {
			if err := s.writev(bufs); err != nil {
				t.Fatal(err)
			}
		}); got > 0 {
			t.Errorf("%d bytes: %v allocations", n, got)
		}
	}
}
