package orrery

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/orrery-ai/orrery/ca"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport"
	"github.com/orrery-ai/orrery/transport/shm"
)

// Version is the version of the program, as the nodes of a cluster tell each other.
const Version = "0.1.0"

// Synch is how a process waits for the small messages of a step.
type Synch = transport.Synch

// The ways to wait.
const (
	SynchAuto = transport.Auto
	SynchSafe = transport.Safe // in the kernel
	SynchFast = transport.Fast // spinning for up to 2 ms first, which keeps a core busy
)

// Config says how this process takes part in a cluster. The zero value is a node on its own, reachable
// from this machine only, that offers the memory that is free.
type Config struct {
	Name      string   // unique in the cluster; default: that of Identity, else the host's name and a few random characters
	Cluster   string   // name of the cluster; default: that of Identity, else "orrery"
	Bind      string   // host:port of gossip, TCP and UDP; default "127.0.0.1:0", any free port
	Listen    string   // host:port of tensors and actors, TCP; default: the host of Bind, any free port
	Advertise string   // host that the others reach this one by, where it is not the host of Bind
	Join      []string // host:port of nodes to join; one that answers is enough

	// Identity is a certificate of the cluster. With one, everything between nodes is encrypted, and only
	// nodes with certificates of the same authority take part; all of them must have one. See package ca.
	Identity *ca.Identity
	// Insecure lets a node without an Identity listen where other machines can reach it. Whoever can, can
	// then drive it.
	Insecure bool

	RDMA transport.RDMA // whether connections move from TCP to RDMA; default: they do not
	// NoSharedMemory keeps what is exchanged with nodes of this machine on connections; by default it goes through memory that both share.
	NoSharedMemory bool

	// Synch is how this process waits for the small messages of a step. Default SynchAuto, with which
	// nodes are fast if they have several cores, and clients safe: they wait once for each token.
	Synch Synch

	// Checksums says whether frames carry checksums. By default they do where they cross a network that TLS
	// does not protect.
	Checksums transport.Checksums
	// Dial makes the connections for tensors and actors; nil means TCP. Tests inject faults with it: see package
	// transport/fault.
	Dial func(ctx context.Context, node, class, addr string) (net.Conn, error)
	// Share stands between this node and the shared memory to which connections that Dial made move; without it they do not. See transport.Config.
	Share func(node, class string, far *shm.Stream, sums bool) (*shm.Stream, error)

	// Client takes part without offering anything: it loads models on the others and drives them.
	Client bool

	Memory    int64   // bytes offered for weights, KV cache and activations, of the device; default: what is free
	Bandwidth float64 // memory bandwidth in bytes/s; default: measured at the start
	Threads   int     // for computing on the CPU; default: all cores
	Device    string  // to compute on: "cpu", "metal", "cuda", "cuda:1", "emulator"; default DeviceAuto, see ChooseDevice
	DataDir   string  // where models named without a path are looked for; default: the working directory

	// Rates are the speeds of this node that predictions go by. By default they are measured at the start, in
	// less than two seconds, and kept in CalibrationDir for the next one; NoCalibration leaves them unknown.
	Rates          placement.Rates
	CalibrationDir string // default: orrery, below the user's cache directory
	NoCalibration  bool

	Logger *slog.Logger // default: slog.Default()
}

// MaxThreads bounds Config.Threads: each is a goroutine, with memory for its partial results.
const MaxThreads = 4096

func (c Config) withDefaults() (Config, error) {
	if id := c.Identity; id != nil {
		name := id.Name()
		switch {
		case name.Node == "":
			return c, errors.New("the identity is empty: it comes from ca.Load")
		case c.Name == "" && c.Client:
			c.Name = name.Session()
		case c.Name == "":
			c.Name = name.Node
		case !name.Covers(c.Name):
			return c, fmt.Errorf("the certificate is of %s, not of %s", name, c.Name)
		}
		if c.Cluster == "" {
			c.Cluster = name.Cluster
		} else if c.Cluster != name.Cluster {
			return c, fmt.Errorf("the certificate is of %s, not of cluster %s", name, c.Cluster)
		}
	}
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "node"
		}
		suffix := make([]byte, 3)
		if _, err := rand.Read(suffix); err != nil {
			return c, err
		}
		c.Name = plainName(host) + "-" + hex.EncodeToString(suffix)
	}
	if c.Cluster == "" {
		c.Cluster = "orrery"
	}
	if c.Bind == "" {
		c.Bind = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(c.Bind)
	if err != nil {
		return c, fmt.Errorf("bind address %q: %w", c.Bind, err)
	}
	if c.Listen == "" {
		c.Listen = net.JoinHostPort(host, "0")
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return c, fmt.Errorf("listen address %q: %w", c.Listen, err)
	}
	if c.Threads > MaxThreads {
		return c, fmt.Errorf("%d threads are more than %d, and more than any machine can use", c.Threads, MaxThreads)
	}
	if c.Synch > SynchFast {
		return c, fmt.Errorf("synch %d is none of the ways to wait", uint8(c.Synch))
	}
	if c.Checksums > transport.ChecksumsOff {
		return c, fmt.Errorf("checksums %d is neither auto, on nor off", uint8(c.Checksums))
	}
	if c.Memory < 0 || c.Bandwidth < 0 || c.Threads < 0 {
		return c, fmt.Errorf("memory %d, bandwidth %g and threads %d must not be negative", c.Memory, c.Bandwidth, c.Threads)
	}
	if err := CheckDevice(c.Device); err != nil {
		return c, err
	}
	if err := c.Rates.Check(); err != nil {
		return c, err
	}
	if c.Client && c.Synch == SynchAuto {
		c.Synch = SynchSafe
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// plainName is a host's name with only what a node's name may have.
func plainName(host string) string {
	b := []byte(host)
	if len(b) > 40 {
		b = b[:40]
	}
	for i, c := range b {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-') {
			b[i] = '-'
		}
	}
	if len(b) == 0 {
		return "node"
	}
	return string(b)
}

// transportAddress is what the others dial: the port that is listened on, at the host that they reach.
func transportAddress(listening, advertise string) string {
	if advertise == "" {
		return listening
	}
	host, _, err := net.SplitHostPort(advertise)
	if err != nil {
		host = advertise
	}
	_, port, err := net.SplitHostPort(listening)
	if err != nil {
		return listening
	}
	return net.JoinHostPort(host, port)
}
