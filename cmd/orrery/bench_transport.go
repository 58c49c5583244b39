package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

type benchTransportCmd struct {
	Peer   string    `help:"Address of another machine's orrery bench transport --listen (default: a process of its own on this machine)." placeholder:"HOST:PORT"`
	Listen string    `help:"Be the other end: answer at this address until interrupted." placeholder:"HOST:PORT" xor:"end"`
	Frame  sizeFlag  `help:"Most bytes in a frame of the lanes." default:"64KiB"`
	Rounds countFlag `help:"Times that everything is measured, in turns; more give better percentiles." default:"40"`
	Format string    `help:"What is printed: table, json or csv." enum:"table,json,csv" default:"table"`

	Child bool `hidden:"" help:"Print the address as JSON when ready, and leave when standard input ends."`
}

// Help is shown below the flags' summary.
func (benchTransportCmd) Help() string {
	return `Examples:
  orrery bench transport
  orrery bench transport --frame 16KiB --format csv
  orrery bench transport --listen 192.168.1.10:7950   # there
  orrery bench transport --peer 192.168.1.10:7950     # here

Two processes exchange small messages over lanes, back to back and with 0.4 ms of
computing before each, as decode does; send large ones; and do both at once; with
synch safe and fast. In the same run, in turns, two plain connections do the same: a
read and write ping-pong, and a stream. docs/transport.md explains the results.`
}

// Run measures, or answers another process that does.
func (c *benchTransportCmd) Run(ctx context.Context, log *slog.Logger) error {
	if c.Child || c.Listen != "" {
		return c.serve(ctx, log)
	}
	addr := c.Peer
	if addr == "" {
		start, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		p, err := startProcess(start, []string{"bench", "transport", "--child"})
		if err != nil {
			return err
		}
		defer p.stop()
		addr = p.Addr
	}
	t, err := meet(ctx, addr, int(c.Frame), log)
	if err != nil {
		return err
	}
	defer t.close()
	r, err := t.measure(ctx, int(c.Rounds))
	if err != nil {
		return err
	}
	return r.write(os.Stdout, c.Format)
}

// serve is the other end.
func (c *benchTransportCmd) serve(ctx context.Context, log *slog.Logger) error {
	listen := c.Listen
	if c.Child {
		listen = "127.0.0.1:0"
	}
	p, err := newBenchPeer(listen, log)
	if err != nil {
		return err
	}
	defer p.close()
	if c.Child {
		if err := json.NewEncoder(os.Stdout).Encode(ready{"peer", p.ln.Addr().String()}); err != nil {
			return err
		}
		awaitParent()
		return nil
	}
	fmt.Printf("answering at %s; ctrl-C ends it\n", p.ln.Addr())
	<-ctx.Done()
	return nil
}

// The lanes of the benchmark, from the end that measures to the other, and back.
var (
	pingLane = transport.LaneKey{Model: 1, Purpose: transport.Query}
	pongLane = transport.LaneKey{Model: 1, Purpose: transport.Partial}
	bulkLane = transport.LaneKey{Model: 1, Purpose: transport.KVMove}
	doneLane = transport.LaneKey{Model: 1, Purpose: transport.Result}
)

const (
	mostSmall = 64 << 10 // bytes of a message of the small lanes
	mostBulk  = 64<<20 + bulkHeader
	// bulkHeader is how many messages follow, u64: after the last one the other end answers.
	bulkHeader = 8
	// benchWait bounds every wait of the benchmark.
	benchWait = 30 * time.Second
)

// benchHost is an address to listen at, for who is reached at the address of nc.
func benchHost(nc net.Conn) (string, error) {
	host, _, err := net.SplitHostPort(nc.LocalAddr().String())
	return net.JoinHostPort(host, "0"), err
}
