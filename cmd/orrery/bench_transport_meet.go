package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/orrery-ai/orrery/ca"
	"github.com/orrery-ai/orrery/transport"
)

// transportBench is the end of the benchmark that measures.
type transportBench struct {
	addr       string
	frame      int
	id         *ca.Identity // nil without TLS
	orders     net.Conn     // that meets
	e          *transport.Endpoint
	ping, bulk *transport.Sender
	pong, done *transport.Receiver
	shared     *sharedPair      // nil if it is not asked for
	bare       map[int]net.Conn // for pings of a size
	stream     net.Conn
	body       []byte
}

// meet makes an endpoint for the other end at addr, and lanes in both directions: over connections or, where that is
// asked for, through shared memory, and then those of devices too.
func meet(ctx context.Context, addr string, frame int, id *ca.Identity, shared bool, log *slog.Logger) (_ *transportBench, err error) {
	t := &transportBench{addr: addr, frame: frame, id: id, bare: make(map[int]net.Conn), body: make([]byte, mostBulk-bulkHeader)}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	for i := range t.body {
		t.body[i] = byte(i)
	}
	dial, cancel := context.WithTimeout(ctx, benchWait)
	defer cancel()
	if t.orders, err = new(net.Dialer).DialContext(dial, "tcp", addr); err != nil {
		return nil, err
	}
	listen, err := benchHost(t.orders)
	if err != nil {
		return nil, err
	}
	cluster, node := benchName(id, "bench")
	if t.e, err = transport.Listen(listen, transport.Config{Cluster: cluster, Node: node, Identity: id, FrameBytes: frame, NoSharedMemory: !shared, Logger: log}); err != nil {
		return nil, err
	}
	there, err := t.order(benchRequest{Kind: "meet", TLS: id != nil, Node: node, Addr: t.e.Addr(), Frame: frame, Shared: shared})
	if err != nil {
		return nil, err
	}
	if t.pong, err = t.e.Receiver(there.Node, pongLane, mostSmall); err != nil {
		return nil, err
	}
	if t.done, err = t.e.Receiver(there.Node, doneLane, 1); err != nil {
		return nil, err
	}
	t.e.SetPeer(there.Node, there.Addr)
	if t.ping, err = t.e.Sender(there.Node, pingLane, mostSmall); err != nil {
		return nil, err
	}
	if t.bulk, err = t.e.Sender(there.Node, bulkLane, mostBulk); err != nil {
		return nil, err
	}
	if shared {
		if t.shared, err = listenShared(t.e, there.Node, sharedPong); err == nil {
			err = t.shared.open(t.e, there.Node, sharedPing)
		}
		if err != nil {
			return nil, err
		}
	}
	_, err = t.order(benchOrder{Open: true})
	return t, err
}

func (t *transportBench) close() {
	for _, nc := range t.bare {
		nc.Close()
	}
	if t.stream != nil {
		t.stream.Close()
	}
	if t.shared != nil {
		t.shared.close()
	}
	if t.e != nil {
		t.e.Close()
	}
	if t.orders != nil {
		t.orders.Close()
	}
}

// order sends a line to the other end, and reads its answer.
func (t *transportBench) order(v any) (a benchAnswer, err error) {
	if err = t.orders.SetDeadline(time.Now().Add(benchWait)); err != nil {
		return a, err
	}
	if err = json.NewEncoder(t.orders).Encode(v); err == nil {
		err = readLine(t.orders, &a)
	}
	if err == nil && a.Err != "" {
		err = errors.New(a.Err)
	}
	if err != nil {
		err = fmt.Errorf("the other end at %s: %w", t.addr, err)
	}
	return a, err
}

// connect makes a bare connection to the other end.
func (t *transportBench) connect(q benchRequest) (net.Conn, error) {
	nc, err := net.DialTimeout("tcp", t.addr, benchWait)
	if err != nil {
		return nil, err
	}
	q.TLS = t.id != nil
	if err := json.NewEncoder(nc).Encode(q); err != nil {
		nc.Close()
		return nil, err
	}
	if t.id != nil {
		nc = tls.Client(nc, benchTLS(t.id))
	}
	return nc, nil
}

// A way is how messages go.
type way string

const (
	wayBare way = "bare" // a connection without lanes
	waySafe way = "safe" // lanes
	wayFast way = "fast"
	// wayDevice is exchanges through shared memory as devices make them, without frames.
	wayDevice way = "device"
)

var (
	ways         = []way{wayBare, waySafe, wayFast}
	exchangeWays = append(slices.Clone(ways), wayDevice)
)

// take changes both ends to a way.
func (t *transportBench) take(w way) error {
	if w == wayBare {
		return nil
	}
	if w != wayDevice {
		s, err := transport.ParseSynch(string(w))
		if err != nil {
			return err
		}
		t.e.SetSynch(s)
	}
	_, err := t.order(benchOrder{Synch: string(w)})
	return err
}
