package transport

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/orrery-ai/orrery/ca"
	"github.com/orrery-ai/orrery/transport/shm"
)

// Config says who an endpoint is and how much it may hold and wait for. Cluster and Node are
// required; a zero in any other field means its default.
type Config struct {
	// Cluster is the name that both ends of a connection must agree on, at most 128 bytes.
	Cluster string
	// Node is this node's name, unique in the cluster, at most 128 bytes. It is also the address in
	// the PIDs of its actors.
	Node string
	// Identity is the certificate of Node and Cluster. With one every connection is mutual TLS 1.3; without
	// one, none is: peers of the other kind are refused.
	Identity *ca.Identity
	// Logger takes what happens to connections; slog.Default if nil.
	Logger *slog.Logger
	// RDMA is whether connections move from TCP to RDMA where both ends can. By default they do not.
	RDMA RDMA

	// NoSharedMemory keeps connections between nodes of one machine, and exchanges of their devices, from going on through
	// memory that both share. Without Share, Dial does the same.
	NoSharedMemory bool

	// Dial makes the connections to other nodes; nil means TCP. The class is "control", "small" or "bulk".
	// Tests inject faults with it: see package fault.
	Dial func(ctx context.Context, node, class, addr string) (net.Conn, error)
	// Share is given the shared memory to which a connection that Dial made moves, and returns what to use in its place;
	// sums says that its frames carry checksums. If it fails it closes what it was given. Without it connections that Dial
	// makes do not move; with it devices exchange over connections.
	Share func(node, class string, far *shm.Stream, sums bool) (*shm.Stream, error)

	// Checksums says whether frames carry checksums.
	Checksums Checksums

	// FrameBytes is the most payload in one frame, in bytes: a small message waits for at most one
	// frame of a large one that shares its connection. Default 64 KiB, MinFrame to MaxFrame.
	FrameBytes int
	// Window is how many frames a lane may have sent without being credited for them. With two
	// messages it bounds what a lane holds at its receiver. Default 8, 1 to 256.
	Window int

	// Synch is how the endpoint waits for small messages. Endpoint.SetSynch changes it.
	Synch Synch

	// DialTimeout bounds each of: connecting, the hello, and the opening of a lane. Default 3 s.
	DialTimeout time.Duration
	// WriteTimeout is how long a peer may leave one frame unread in its socket before the connection
	// is given up. A Send may outlast its deadline by this much, if the peer has stopped reading
	// altogether. Default 5 s.
	WriteTimeout time.Duration
	// MaxWait stands in for a zero deadline of Send and Receive. Default 30 s.
	MaxWait time.Duration

	// MaxHandshakes bounds the inbound connections that have not yet said who they are. Default 32.
	MaxHandshakes int
	// MaxConnections bounds the established inbound connections. Default 1024; a peer has at most 3.
	MaxConnections int
	// MaxLanes bounds the lanes that are open on one connection. A model has at most 8 of them on one. Default 256.
	MaxLanes int
	// ControlQueue bounds the actor messages waiting to be written to one peer. Their bytes are
	// bounded too, at 16 MiB. Default 1024.
	ControlQueue int
}

// maxName bounds the names of clusters and nodes, in bytes.
const maxName = 128

func (c Config) withDefaults() (Config, error) {
	if err := checkName("cluster", c.Cluster); err != nil {
		return c, err
	}
	if err := checkName("node", c.Node); err != nil {
		return c, err
	}
	if id := c.Identity; id != nil && (id.Name().Cluster != c.Cluster || !id.Name().Covers(c.Node)) {
		return c, fmt.Errorf("transport: the certificate is of %s, not of %s of cluster %s", id.Name(), c.Node, c.Cluster)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = c.Logger.With("node", c.Node)
	if c.Dial == nil {
		c.Dial = dialTCP
	} else if c.Share == nil {
		c.NoSharedMemory = true
	}
	for _, f := range []struct {
		name          string
		value         *int
		def, min, max int
	}{
		{"FrameBytes", &c.FrameBytes, 64 << 10, MinFrame, MaxFrame},
		{"Window", &c.Window, 8, 1, maxWindow},
		{"MaxHandshakes", &c.MaxHandshakes, 32, 1, 1 << 16},
		{"MaxConnections", &c.MaxConnections, 1024, 1, 1 << 20},
		{"MaxLanes", &c.MaxLanes, 256, 1, 1 << 16},
		{"ControlQueue", &c.ControlQueue, 1024, 1, 1 << 20},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
		if *f.value < f.min || *f.value > f.max {
			return c, fmt.Errorf("transport: %s is %d, want %d to %d", f.name, *f.value, f.min, f.max)
		}
	}
	for _, f := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"DialTimeout", &c.DialTimeout, 3 * time.Second},
		{"WriteTimeout", &c.WriteTimeout, 5 * time.Second},
		{"MaxWait", &c.MaxWait, 30 * time.Second},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
		if *f.value < 0 {
			return c, fmt.Errorf("transport: %s is %s, want more than 0", f.name, *f.value)
		}
	}
	return c, nil
}

// checkName accepts printable ASCII without spaces, so that a name is the same in logs, PIDs and
// protobuf strings. "nonhost" is what protoactor calls an actor system without an address.
func checkName(what, name string) error {
	if name == "" || len(name) > maxName || name == "nonhost" {
		return fmt.Errorf("transport: bad %s name %.140q", what, name)
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return fmt.Errorf("transport: bad %s name %.140q", what, name)
		}
	}
	return nil
}
