package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/orrery-ai/orrery/ca"
	"github.com/orrery-ai/orrery/transport"
)

type benchTransportCmd struct {
	Peer   addressFlag `help:"Address of another machine's orrery bench transport --listen (default: a process of its own on this machine)." placeholder:"HOST:PORT"`
	Listen addressFlag `help:"Be the other end: answer at this address until interrupted." placeholder:"HOST:PORT"`
	TLS    tlsFlag     `name:"tls" help:"Directory with the certificate that orrery ca issue made for this machine, to measure TLS with --peer and --listen." placeholder:"DIR"`
	Frame  sizeFlag    `help:"Most bytes in a frame of the lanes." default:"64KiB"`
	Only   []string    `help:"What is measured, of exchange, paced (exchanges with computing before), bulk and load (exchanges behind bulk); all by default." enum:"exchange,paced,bulk,load" default:"exchange,paced,bulk,load"`
	Over   []string    `help:"What it is measured over, of plain and tls, which are connections, and shm, which is memory that both ends share, on one machine; both connections by default." enum:"plain,tls,shm" default:"plain,tls"`
	Rounds countFlag   `help:"Times that everything is measured, in turns; more give better percentiles." default:"20"`
	Format string      `help:"What is printed: table, json or csv." enum:"table,json,csv" default:"table"`

	Child bool `hidden:"" help:"Print the address as JSON when ready, and leave when standard input ends."`
}

// Help is shown below the flags' summary.
func (benchTransportCmd) Help() string {
	return `Examples:
  orrery bench transport
  orrery bench transport --frame 16KiB --format csv
  orrery bench transport --only bulk --over plain --rounds 9
  orrery bench transport --over plain --over shm
  orrery bench transport --listen 192.168.1.10:7950   # there
  orrery bench transport --peer 192.168.1.10:7950     # here

Two processes exchange small messages over lanes, back to back and with 0.4 ms of
computing before each, as decode does; send large ones; and do both at once; with
synch safe and fast. In the same run, in turns, bare connections do the same: a read
and write ping-pong, and a stream. Then all of it again under TLS. Through shared memory
exchanges as GPUs make them are measured besides, with processes in place of the GPUs.
docs/transport.md explains the results.`
}

// Validate looks at the flags together.
func (c *benchTransportCmd) Validate() error {
	switch {
	case c.Peer != "" && c.Listen != "":
		return errors.New("--peer and --listen: a process is one end or the other")
	case c.Peer != "" && c.TLS.dir == "" && slices.Equal(c.Over, []string{"tls"}):
		return errors.New("--over tls with --peer takes --tls")
	case c.TLS.dir != "" && c.Peer == "" && c.Listen == "" && !c.Child:
		return errors.New("--tls is for --peer and --listen: a process of its own gets a certificate of its own")
	case c.Frame < transport.MinFrame || c.Frame > transport.MaxFrame:
		return fmt.Errorf("--frame: %d is not between %d and %d bytes", c.Frame, transport.MinFrame, transport.MaxFrame)
	}
	return nil
}

// AfterApply looks at the files that the flags name.
func (c *benchTransportCmd) AfterApply() error { return c.TLS.load() }

// Run measures, or answers another process that does.
func (c *benchTransportCmd) Run(ctx context.Context, log *slog.Logger) error {
	id := c.TLS.id
	if c.Child || c.Listen != "" {
		return c.serve(ctx, id, log)
	}
	addr := string(c.Peer)
	if addr == "" {
		dir, err := os.MkdirTemp("", "orrery-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if id, err = benchIdentities(filepath.Join(dir, "peer")); err != nil {
			return err
		}
		start, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		p, err := startProcess(start, []string{"bench", "transport", "--child", "--tls", filepath.Join(dir, "peer")})
		if err != nil {
			return err
		}
		defer p.stop()
		addr = p.Addr
	}
	r := newTransportReport(addr, int(c.Frame))
	for _, over := range []string{overPlain, overTLS, overShm} {
		if !slices.Contains(c.Over, strings.ToLower(over)) || over == overTLS && id == nil {
			continue
		}
		with := id
		if over != overTLS {
			with = nil
		}
		if err := c.measure(ctx, r, addr, over, with, log); err != nil {
			return err
		}
	}
	r.judge()
	return writeReport(os.Stdout, c.Format, r)
}

// What is measured over, as it is printed.
const (
	overPlain = "plain"
	overTLS   = "TLS"
	overShm   = "shm"
)

// measure does everything over connections of one kind, or through shared memory.
func (c *benchTransportCmd) measure(ctx context.Context, r *transportReport, addr, over string, id *ca.Identity, log *slog.Logger) error {
	t, err := meet(ctx, addr, int(c.Frame), id, over == overShm, log)
	if err != nil && c.Peer != "" {
		return fmt.Errorf("--peer %s: %w", c.Peer, err)
	} else if err != nil {
		return err
	}
	defer t.close()
	m, err := t.measure(ctx, int(c.Rounds), c.Only)
	if err != nil {
		return err
	}
	r.add(over, m)
	return nil
}

// benchIdentities makes an authority for one run, keeps the other end's certificate in dir, and gives
// this end's.
func benchIdentities(dir string) (*ca.Identity, error) {
	now := time.Now()
	valid := ca.Days(now, 1)
	a, err := ca.New("bench", ca.Days(now, 2))
	if err != nil {
		return nil, err
	}
	peer, err := a.Issue("peer", valid)
	if err != nil {
		return nil, err
	}
	if err := peer.Save(dir, false); err != nil {
		return nil, err
	}
	return a.Issue("bench", valid)
}

// serve is the other end.
func (c *benchTransportCmd) serve(ctx context.Context, id *ca.Identity, log *slog.Logger) error {
	listen := string(c.Listen)
	if c.Child {
		listen = "127.0.0.1:0"
	}
	p, err := newBenchPeer(listen, id, log)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", listen, err)
	}
	defer p.close()
	if c.Child {
		if err := json.NewEncoder(os.Stdout).Encode(ready{Name: "peer", Addr: p.ln.Addr().String()}); err != nil {
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

// benchName is how an end of the benchmark takes part: as its certificate says, or by the name given.
func benchName(id *ca.Identity, plain string) (cluster, node string) {
	if id == nil {
		return "bench", plain
	}
	return id.Name().Cluster, id.Name().Node
}

// benchTLS is TLS between two ends of the benchmark without lanes, as package transport uses it.
func benchTLS(id *ca.Identity) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.Certificate()}, RootCAs: id.Roots(), ClientCAs: id.Roots(),
		ClientAuth: tls.RequireAndVerifyClientCert, ServerName: ca.ServerName, SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true}
}

// benchHost is an address to listen at, for who is reached at the address of nc.
func benchHost(nc net.Conn) (string, error) {
	host, _, err := net.SplitHostPort(nc.LocalAddr().String())
	return net.JoinHostPort(host, "0"), err
}
