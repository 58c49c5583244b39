package main

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orrery-ai/orrery/ca"
	"github.com/orrery-ai/orrery/transport"
)

// benchRequest is a line of JSON: the first thing on a connection to a benchmark's other end.
type benchRequest struct {
	Kind  string `json:"kind"`            // meet, ping or sink
	TLS   bool   `json:"tls,omitempty"`   // over TLS: on this connection, or between the endpoints that meet
	Size  int    `json:"size,omitempty"`  // ping: bytes of a message
	Node  string `json:"node,omitempty"`  // meet: name of the end that measures
	Addr  string `json:"addr,omitempty"`  // meet: address of its endpoint
	Frame int    `json:"frame,omitempty"` // meet: most bytes in a frame

	Shared bool `json:"shared,omitempty"` // meet: through shared memory
}

// benchOrder is a line on a connection that meets; each is answered with a line. The first one is answered
// with the address and the name of the other end's endpoint.
type benchOrder struct {
	Open  bool   `json:"open,omitempty"`  // the lanes there are open: open those back
	Synch string `json:"synch,omitempty"` // change to this way, or answer as a device
}

type benchAnswer struct {
	Addr string `json:"addr,omitempty"`
	Node string `json:"node,omitempty"`
	Err  string `json:"err,omitempty"`
}

// benchPeer is the end of the benchmark that answers.
type benchPeer struct {
	ln  net.Listener
	id  *ca.Identity // nil if it cannot do TLS
	log *slog.Logger
	wg  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

func newBenchPeer(addr string, id *ca.Identity, log *slog.Logger) (*benchPeer, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &benchPeer{ln: ln, id: id, log: log, conns: make(map[net.Conn]bool)}
	p.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return // closed
			}
			p.wg.Go(func() { p.answer(nc) })
		}
	})
	return p, nil
}

func (p *benchPeer) close() {
	p.ln.Close()
	p.mu.Lock()
	p.closed = true
	for nc := range p.conns {
		nc.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// hold makes close close nc; false if it has been called already.
func (p *benchPeer) hold(nc net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[nc] = true
	return !p.closed
}

func (p *benchPeer) answer(nc net.Conn) {
	defer func() {
		nc.Close()
		p.mu.Lock()
		delete(p.conns, nc)
		p.mu.Unlock()
	}()
	if !p.hold(nc) {
		return
	}
	var q benchRequest
	err := readLine(nc, &q)
	if err == nil {
		err = p.serve(nc, q)
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		p.log.Warn("benchmark connection ended", "addr", nc.RemoteAddr().String(), "err", err)
	}
}

func (p *benchPeer) serve(nc net.Conn, q benchRequest) error {
	if q.TLS && p.id == nil {
		err := errors.New("no certificate: --tls gives one")
		return errors.Join(err, json.NewEncoder(nc).Encode(benchAnswer{Err: err.Error()}))
	}
	if q.Kind == "meet" {
		return p.meet(nc, q)
	}
	if q.TLS {
		nc = tls.Server(nc, benchTLS(p.id))
	}
	switch q.Kind {
	case "ping":
		return echoBare(nc, q.Size)
	case "sink":
		return sinkBare(nc)
	}
	return fmt.Errorf("a request of kind %.20q", q.Kind)
}

func echoBare(nc net.Conn, size int) error {
	if size < 1 || size > mostSmall {
		return fmt.Errorf("a ping of %d bytes, want 1 to %d", size, mostSmall)
	}
	b := make([]byte, size)
	for {
		if _, err := io.ReadFull(nc, b); err != nil {
			return err
		}
		if _, err := nc.Write(b); err != nil {
			return err
		}
	}
}

// sinkBare takes messages of a header (bulkHeader) and as many bytes as the first 8 say.
func sinkBare(nc net.Conn) error {
	var head [8 + bulkHeader]byte
	var b []byte
	for {
		if _, err := io.ReadFull(nc, head[:]); err != nil {
			return err
		}
		n := binary.LittleEndian.Uint64(head[:])
		if n > mostBulk {
			return fmt.Errorf("a message of %d bytes, want up to %d", n, mostBulk)
		}
		if uint64(len(b)) < n {
			b = make([]byte, n)
		}
		if _, err := io.ReadFull(nc, b[:n]); err != nil {
			return err
		}
		if binary.LittleEndian.Uint64(head[8:]) == 0 {
			if _, err := nc.Write(head[:1]); err != nil {
				return err
			}
		}
	}
}

// meet has an endpoint for the end that measures, as long as its connection lasts.
func (p *benchPeer) meet(nc net.Conn, q benchRequest) error {
	answer := json.NewEncoder(nc)
	fail := func(err error) error { return errors.Join(err, answer.Encode(benchAnswer{Err: err.Error()})) }
	addr, err := benchHost(nc)
	if err != nil {
		return fail(err)
	}
	id := p.id
	if !q.TLS {
		id = nil
	}
	cluster, node := benchName(id, "peer")
	e, err := transport.Listen(addr, transport.Config{Cluster: cluster, Node: node, Identity: id, FrameBytes: q.Frame, NoSharedMemory: !q.Shared, Logger: p.log})
	if err != nil {
		return fail(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer e.Close()
	e.SetPeer(q.Node, q.Addr)
	var shared *sharedPair
	stopSharing := func() {}
	defer func() { stopSharing() }()
	if q.Shared {
		if shared, err = listenShared(e, q.Node, sharedPing); err != nil {
			return fail(err)
		}
		defer shared.close()
	}
	ping, err := e.Receiver(q.Node, pingLane, mostSmall)
	if err != nil {
		return fail(err)
	}
	bulk, err := e.Receiver(q.Node, bulkLane, mostBulk)
	if err != nil {
		return fail(err)
	}
	if err := answer.Encode(benchAnswer{Addr: e.Addr(), Node: node}); err != nil {
		return err
	}
	for {
		var o benchOrder
		if err := readLine(nc, &o); err != nil {
			return err
		}
		if o.Open {
			pong, err := e.Sender(q.Node, pongLane, mostSmall)
			if err != nil {
				return fail(err)
			}
			done, err := e.Sender(q.Node, doneLane, 1)
			if err != nil {
				return fail(err)
			}
			if shared != nil {
				if err := shared.open(e, q.Node, sharedPong); err != nil {
					return fail(err)
				}
			}
			wg.Go(func() { echo(ping, pong) })
			wg.Go(func() { sink(bulk, done) })
		}
		stopSharing()
		stopSharing = func() {}
		switch {
		case o.Synch == string(wayDevice) && shared != nil:
			stopSharing = whileSharing(shared)
		case o.Synch != "":
			s, err := transport.ParseSynch(o.Synch)
			if err != nil {
				return fail(err)
			}
			e.SetSynch(s)
		}
		if err := answer.Encode(benchAnswer{}); err != nil {
			return err
		}
	}
}

// whileSharing has a goroutine answer through shared memory until what it returns is called.
func whileSharing(p *sharedPair) (stop func()) {
	var stopped atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() { p.echo(stopped.Load) })
	return func() {
		stopped.Store(true)
		wg.Wait()
	}
}

// echo sends back what comes, until a lane ends.
func echo(ping *transport.Receiver, pong *transport.Sender) {
	for {
		m, err := ping.Next()
		if err != nil {
			return
		}
		err = pong.Send(time.Now().Add(benchWait), m.Bytes)
		m.Release()
		if err != nil {
			return
		}
	}
}

// sink takes messages, and answers the last one of each series, until a lane ends.
func sink(bulk *transport.Receiver, done *transport.Sender) {
	for {
		m, err := bulk.Next()
		if err != nil {
			return
		}
		last := len(m.Bytes) < bulkHeader || binary.LittleEndian.Uint64(m.Bytes) == 0
		m.Release()
		if last && done.Send(time.Now().Add(benchWait), []byte{1}) != nil {
			return
		}
	}
}

// readLine reads a line of JSON, and nothing beyond it.
func readLine(r io.Reader, v any) error {
	const most = 4096
	var line []byte
	var b [1]byte
	for b[0] != '\n' {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
		if line = append(line, b[0]); len(line) > most {
			return fmt.Errorf("a line of more than %d bytes", most)
		}
	}
	return json.Unmarshal(line, v)
}
