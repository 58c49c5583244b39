package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
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

// meet makes an endpoint for the other end at addr, and lanes in both directions: over connections or, where that is asked for, through shared memory, and
// then those of devices too.
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

// Sizes of the messages, in bytes.
var (
	smallSizes = []int{64, 4 << 10, 32 << 10}
	bulkSizes  = []int{1 << 20, 64 << 20}
)

const (
	markSize   = 4 << 10 // of the small messages that have marks
	backToBack = 500     // exchanges of a round
	pacedRound = 50
	computing  = 400 * time.Microsecond // before each exchange that is paced
	bulkRound  = 128 << 20              // bytes
	loadRound  = 100 * time.Millisecond
	loadSize   = 1 << 20 // bytes of a bulk message behind which small ones are measured
)

type exchangeKey struct {
	size  int
	paced bool
	way   way
}

type bulkKey struct {
	size int
	way  way
}

// transportTimes is what was measured: times of exchanges, and bytes/s.
type transportTimes struct {
	exchanges   map[exchangeKey][]time.Duration
	rates       map[bulkKey][]float64
	loaded      map[way][]time.Duration
	loadedRates map[way][]float64
}

// bulkEvery is in which rounds bulk is measured, where exchanges are too: it takes as long as many of them.
const bulkEvery = 4

// measure does what is asked for, in turns, so that what else the machine does meets all alike.
func (t *transportBench) measure(ctx context.Context, rounds int, only []string) (*transportTimes, error) {
	asked := func(what string) bool { return slices.Contains(only, what) }
	m := &transportTimes{exchanges: make(map[exchangeKey][]time.Duration), rates: make(map[bulkKey][]float64),
		loaded: make(map[way][]time.Duration), loadedRates: make(map[way][]float64)}
	for i := range rounds {
		for _, size := range smallSizes {
			for _, paced := range []bool{false, true} {
				if !asked(exchangeName(paced)) && (paced || size != markSize || !asked("load")) { // load is compared with these
					continue
				}
				for _, w := range exchangeWays {
					if w == wayDevice && t.shared == nil {
						continue
					}
					if err := ctx.Err(); err != nil {
						return nil, err
					}
					k := exchangeKey{size, paced, w}
					if err := t.take(w); err != nil {
						return nil, err
					}
					var err error
					if m.exchanges[k], err = t.exchanges(m.exchanges[k], k); err != nil {
						return nil, err
					}
				}
			}
		}
		if i%bulkEvery > 0 && (asked("exchange") || asked("paced")) {
			continue
		}
		for _, w := range ways {
			if err := t.take(w); err != nil {
				return nil, err
			}
			for _, size := range bulkSizes {
				if !asked("bulk") {
					break
				}
				rate, err := t.transfer(w, size)
				if err != nil {
					return nil, err
				}
				m.rates[bulkKey{size, w}] = append(m.rates[bulkKey{size, w}], rate)
			}
			if w == wayBare || !asked("load") {
				continue
			}
			latencies, rate, err := t.underLoad()
			if err != nil {
				return nil, err
			}
			m.loaded[w], m.loadedRates[w] = append(m.loaded[w], latencies...), append(m.loadedRates[w], rate)
		}
	}
	return m, nil
}

// exchanges appends the times of some exchanges to ds.
func (t *transportBench) exchanges(ds []time.Duration, k exchangeKey) ([]time.Duration, error) {
	exchange := t.exchangeLane
	switch k.way {
	case wayDevice:
		exchange = t.shared.exchange
	case wayBare:
		if t.bare[k.size] == nil {
			nc, err := t.connect(benchRequest{Kind: "ping", Size: k.size})
			if err != nil {
				return ds, err
			}
			t.bare[k.size] = nc
		}
		nc := t.bare[k.size]
		if err := nc.SetDeadline(time.Now().Add(benchWait)); err != nil {
			return ds, err
		}
		exchange = func(b []byte) error { return exchangeBare(nc, b) }
	}
	n := backToBack
	if k.paced {
		n = pacedRound
	}
	b := slices.Clone(t.body[:k.size])
	for range n {
		if k.paced {
			compute(computing)
		}
		begun := time.Now()
		if err := exchange(b); err != nil {
			return ds, err
		}
		ds = append(ds, time.Since(begun))
	}
	return ds, nil
}

// exchangeName is what --only calls exchanges.
func exchangeName(paced bool) string {
	if paced {
		return "paced"
	}
	return "exchange"
}

// compute keeps this core busy.
func compute(d time.Duration) {
	for begun := time.Now(); time.Since(begun) < d; {
	}
}

func exchangeBare(nc net.Conn, b []byte) error {
	if _, err := nc.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(nc, b)
	return err
}

func (t *transportBench) exchangeLane(b []byte) error {
	deadline := time.Now().Add(benchWait)
	if err := t.ping.Send(deadline, b); err != nil {
		return err
	}
	m, err := t.pong.Receive(deadline)
	if err != nil {
		return err
	}
	m.Release()
	return nil
}

// transfer sends messages of a size, and gives the bytes/s.
func (t *transportBench) transfer(w way, size int) (float64, error) {
	send := t.sendBulk
	if w == wayBare {
		send = t.sendStream
	}
	count := max(1, bulkRound/size)
	begun := time.Now()
	for left := count - 1; left >= 0; left-- {
		if err := send(size, left); err != nil {
			return 0, err
		}
	}
	var err error
	if w == wayBare {
		_, err = io.ReadFull(t.stream, make([]byte, 1))
	} else {
		err = t.awaitDone()
	}
	return float64(count*size) / time.Since(begun).Seconds(), err
}

func (t *transportBench) sendStream(size, left int) (err error) {
	if t.stream == nil {
		if t.stream, err = t.connect(benchRequest{Kind: "sink"}); err != nil {
			return err
		}
	}
	if err := t.stream.SetDeadline(time.Now().Add(benchWait)); err != nil {
		return err
	}
	var head [8 + bulkHeader]byte
	binary.LittleEndian.PutUint64(head[:], uint64(size))
	binary.LittleEndian.PutUint64(head[8:], uint64(left))
	if _, err := t.stream.Write(head[:]); err != nil {
		return err
	}
	_, err = t.stream.Write(t.body[:size])
	return err
}

func (t *transportBench) sendBulk(size, left int) error {
	var head [bulkHeader]byte
	binary.LittleEndian.PutUint64(head[:], uint64(left))
	return t.bulk.Send(time.Now().Add(benchWait), head[:], t.body[:size])
}

func (t *transportBench) awaitDone() error {
	m, err := t.done.Receive(time.Now().Add(benchWait))
	if err == nil {
		m.Release()
	}
	return err
}

// underLoad is the times of exchanges while the bulk lane is full, and what that carries in bytes/s.
func (t *transportBench) underLoad() ([]time.Duration, float64, error) {
	var stop atomic.Bool
	sent, failed := 0, make(chan error, 1)
	begun := time.Now()
	go func() {
		for !stop.Load() {
			if err := t.sendBulk(loadSize, 1); err != nil {
				failed <- err
				return
			}
			sent += loadSize
		}
		failed <- t.sendBulk(0, 0)
	}()
	var ds []time.Duration
	var err error
	b := slices.Clone(t.body[:markSize])
	for err == nil && time.Since(begun) < loadRound {
		at := time.Now()
		err = t.exchangeLane(b)
		ds = append(ds, time.Since(at))
	}
	stop.Store(true)
	err = errors.Join(err, <-failed)
	if err == nil {
		err = t.awaitDone()
	}
	return ds, float64(sent) / time.Since(begun).Seconds(), err
}
