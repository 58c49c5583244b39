package fault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/transport"
	"github.com/orrery-ai/orrery/transport/shm"
)

// Injector dials connections, and does to them what a script says.
type Injector struct {
	script Script
	log    *slog.Logger

	mu     sync.Mutex
	acted  []bool // rules that have
	relays map[*relay]bool
	closed bool
	wg     sync.WaitGroup
}

// New is an injector that logs what it does, as warnings.
func New(s Script, log *slog.Logger) *Injector {
	return &Injector{script: s, log: log, acted: make([]bool, len(s)), relays: make(map[*relay]bool)}
}

// Dial makes a connection of a class to a node at addr; it is for transport.Config.Dial.
func (in *Injector) Dial(ctx context.Context, node, class, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	out, back := newWay(in.script, node, class, false, in.claim), newWay(in.script, node, class, true, in.claim)
	if len(out.rules)+len(back.rules) == 0 {
		return nc, nil
	}
	mine, near, err := loopback(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fault: %w", err), nc.Close())
	}
	r := in.relay(node, class, [2]*way{out, back}, new(transport.Tap))
	if r.near, r.far = near, nc; !in.start(r) {
		return nil, errors.Join(net.ErrClosed, mine.Close(), near.Close(), nc.Close())
	}
	return mine, nil
}

// Share stands between an endpoint and the shared memory to which a connection moves; it is for transport.Config.Share. Rules count from there on.
func (in *Injector) Share(node, class string, far *shm.Stream, sums bool) (*shm.Stream, error) {
	out, back := newWay(in.script, node, class, false, in.claim), newWay(in.script, node, class, true, in.claim)
	if len(out.rules)+len(back.rules) == 0 {
		return far, nil
	}
	near, mine, err := shm.Pair(far.Room())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fault: %w", err), far.Close())
	}
	r := in.relay(node, class, [2]*way{out, back}, transport.NewTap(sums))
	if r.near, r.far = near, far; !in.start(r) {
		return nil, errors.Join(net.ErrClosed, mine.Close(), near.Close(), far.Close())
	}
	return mine, nil
}

func (in *Injector) relay(node, class string, ways [2]*way, tap *transport.Tap) *relay {
	return &relay{began: time.Now(), ways: ways, tap: tap, ended: make(chan struct{}), log: in.log.With("peer", node, "class", class)}
}

// start starts a relay; false if the injector is closed.
func (in *Injector) start(r *relay) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return false
	}
	in.relays[r] = true
	r.start()
	in.wg.Go(func() {
		r.wg.Wait()
		in.mu.Lock()
		defer in.mu.Unlock()
		delete(in.relays, r)
	})
	return true
}

// Close ends all connections that lead over the injector, and waits for its goroutines.
func (in *Injector) Close() {
	in.mu.Lock()
	in.closed = true
	for r := range in.relays {
		r.end(closed)
	}
	in.mu.Unlock()
	in.wg.Wait()
}

// claim gives a rule the right to act, once.
func (in *Injector) claim(rule int) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	first := !in.acted[rule]
	in.acted[rule] = true
	return first
}

// loopback is both ends of a connection within this process.
func loopback(ctx context.Context) (x, y *net.TCPConn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	for {
		if deadline, ok := ctx.Deadline(); ok {
			ln.(*net.TCPListener).SetDeadline(deadline)
		}
		other, err := ln.Accept()
		if err != nil {
			return nil, nil, errors.Join(err, nc.Close())
		}
		if other.RemoteAddr().String() == nc.LocalAddr().String() {
			return nc.(*net.TCPConn), other.(*net.TCPConn), nil
		}
		other.Close() // a stranger's
	}
}
