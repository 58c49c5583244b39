package fault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
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
	r := &relay{near: near, far: nc.(*net.TCPConn), began: time.Now(), ways: [2]*way{out, back}, ended: make(chan struct{}),
		log: in.log.With("peer", node, "class", class)}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil, errors.Join(net.ErrClosed, mine.Close(), near.Close(), nc.Close())
	}
	in.relays[r] = true
	r.start()
	in.wg.Go(func() {
		r.wg.Wait()
		in.mu.Lock()
		defer in.mu.Unlock()
		delete(in.relays, r)
	})
	return mine, nil
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
