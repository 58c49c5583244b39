package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/orrery-ai/orrery"
)

// clusterFlags choose where to compute.
type clusterFlags struct {
	Nodes nodesFlag     `help:"Start so many node processes on this machine, for the time of the command." xor:"where" placeholder:"N"`
	Join  []addressFlag `help:"Use the running cluster of this node." xor:"where" placeholder:"HOST:PORT"`
	Bind  addressFlag   `help:"Address that the nodes of a running cluster reach this command by (default: any free port of the address that reaches them)." placeholder:"HOST:PORT"`
	Synch synchFlag     `help:"How nodes wait for the small messages of a step: safe in the kernel, fast spinning for up to 2 ms first, auto fast if there is a core for each. With --join, how this command does." default:"auto" placeholder:"WAY"`
	deviceFlags
	securityFlags
	rdmaFlags
}

// open starts or joins what the flags say: node processes, a running cluster, or a node in this process.
// close ends it.
func (f *clusterFlags) open(ctx context.Context, log *slog.Logger) (c *orrery.Cluster, close func(), err error) {
	switch {
	case f.Nodes > 0:
		l, err := startLocal(ctx, localOptions{Nodes: int(f.Nodes), Device: string(f.Device), Synch: orrery.Synch(f.Synch), RDMA: f.rdmaFlags}, log)
		if err != nil {
			return nil, nil, err
		}
		if c, err = l.join(ctx, log); err != nil {
			l.stop()
			return nil, nil, err
		}
		return c, func() { c.Close(); l.stop() }, nil
	case len(f.Join) > 0:
		bind, join := string(f.Bind), addressesOf(f.Join)
		if bind == "" {
			bind = bindTowards(ctx, join)
		}
		cfg := orrery.Config{Bind: bind, Join: join, RDMA: f.options(), NoSharedMemory: f.NoShm, Client: true, Synch: orrery.Synch(f.Synch), Logger: log}
		f.apply(&cfg)
		if c, err = orrery.Start(ctx, cfg); err != nil {
			return nil, nil, err
		}
		wait, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		if err := c.WaitNodes(wait, 1); err != nil {
			return nil, nil, errors.Join(err, c.Close())
		}
		return c, func() { c.Close() }, nil
	}
	c, err = orrery.Start(ctx, orrery.Config{Device: string(f.Device), Logger: log})
	if err != nil {
		return nil, nil, err
	}
	return c, func() { c.Close() }, nil
}

// flag is one that may have been given.
type flag struct {
	name  string
	given bool
}

// useless is an error that names the first flag that was given.
func useless(because string, flags ...flag) error {
	for _, f := range flags {
		if f.given {
			return fmt.Errorf("--%s %s", f.name, because)
		}
	}
	return nil
}

// check reports flags that would do nothing.
func (f *clusterFlags) check() error {
	switch {
	case len(f.Join) > 0:
		return useless("is of nodes that are started: those that --join finds compute on what they were started with",
			flag{"device", f.Device != "" && f.Device != orrery.DeviceAuto})
	case f.TLS.dir != "" || f.Insecure:
		return errors.New("--tls and --insecure are for --join: what is started for the command cannot be reached from other machines")
	}
	return useless("is for --join, with which the command takes part in a running cluster", flag{"bind", f.Bind != ""}, flag{"cluster", f.securityFlags.Cluster != ""})
}

// checkConnections reports flags that would do nothing where a command computes in its own process.
func (f *clusterFlags) checkConnections() error {
	if f.Nodes > 0 || len(f.Join) > 0 {
		return nil
	}
	return useless("is of connections between nodes: give --nodes or --join too", flag{"rdma", f.RDMA != "" && f.RDMA != "off"},
		flag{"rdma-unencrypted", f.RDMAUnencrypted}, flag{"no-shm", f.NoShm})
}

// bindTowards is any free port of the address of this machine from which the first of the seeds that has
// an address would be reached, and which it can therefore answer to. Nothing is sent.
func bindTowards(ctx context.Context, seeds []string) string {
	d := net.Dialer{Timeout: 2 * time.Second}
	for _, seed := range seeds {
		conn, err := d.DialContext(ctx, "udp", seed)
		if err != nil {
			continue // joining will say what is wrong with it
		}
		host := conn.LocalAddr().(*net.UDPAddr).IP.String()
		conn.Close()
		return net.JoinHostPort(host, "0")
	}
	return "" // any free port of loopback
}
