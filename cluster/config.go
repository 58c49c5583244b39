package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"
)

// Config says how a node takes part in a cluster.
type Config struct {
	Name      string       // of this node: letters, digits, '-', '_', '.', '+'; at most 64 bytes
	Cluster   string       // name of the cluster; nodes of another one are refused
	Bind      string       // host:port to listen on, TCP and UDP; port 0 picks a free one, no host means every IPv4 interface
	Advertise string       // host or host:port that the others reach; empty: the bind address, or a private address of this machine
	Keys      [][]byte     // of 16, 24 or 32 bytes: gossip is encrypted with the first (AES-GCM) and read with all; none leaves it in the clear
	Self      Node         // what this node offers; its Name and Gossip are filled in by Start
	Logger    *slog.Logger // nil: slog.Default()
}

const (
	probeInterval = 200 * time.Millisecond
	probeTimeout  = 150 * time.Millisecond
	resolveWithin = 5 * time.Second // one host name

	gossipInterval = 50 * time.Millisecond
	retransmitMult = 8 // news goes into as many packets, times the digits of the number of nodes
)

// memberlistConfig turns c into memberlist's configuration, without the delegates.
func (c *Config) memberlistConfig() (*memberlist.Config, error) {
	if err := CheckName(c.Name); err != nil {
		return nil, err
	}
	if c.Cluster == "" || !utf8.ValidString(c.Cluster) {
		return nil, fmt.Errorf("cluster name %q is empty or not UTF-8", c.Cluster)
	}
	var keys *memberlist.Keyring
	if len(c.Keys) > 0 {
		var err error
		if keys, err = memberlist.NewKeyring(c.Keys, c.Keys[0]); err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
	}

	ctx, cancel := context.WithTimeout(context.Background(), resolveWithin)
	defer cancel()
	bindIP, bindPort, err := resolveEndpoint(ctx, c.Bind)
	if err != nil {
		return nil, fmt.Errorf("bind %q: %w", c.Bind, err)
	}

	m := memberlist.DefaultLANConfig()
	m.Name = c.Name
	m.BindAddr, m.BindPort = bindIP, bindPort
	m.Keyring = keys
	if c.Advertise != "" {
		m.AdvertiseAddr, m.AdvertisePort, err = resolveAdvertise(ctx, c.Advertise, bindPort)
		if err != nil {
			return nil, fmt.Errorf("advertise %q: %w", c.Advertise, err)
		}
	} else if bindIP == net.IPv6unspecified.String() {
		return nil, fmt.Errorf("bind %q listens on every interface: advertise must say which address the others reach", c.Bind)
	}

	// memberlist holds a frozen node for dead after 1.2 to 1.6 s. Half of that is as long as can be done without
	// false alarms on idle machines; but a node whose processors are all taken for other work, several times over, has
	// been seen to need more than a second to say that it lives. A node that misses answers itself asks more slowly.
	m.ProbeInterval = probeInterval
	m.ProbeTimeout = probeTimeout
	m.SuspicionMult = 5
	m.SuspicionMaxTimeoutMult = 1
	m.AwarenessMaxMultiplier = 2
	m.GossipInterval = gossipInterval
	m.TCPTimeout = 500 * time.Millisecond
	m.RetransmitMult = retransmitMult       // a broadcast that misses a node waits for the next push and pull
	m.PushPullInterval = 2 * time.Second    // which repairs what gossip over UDP has lost
	m.DeadNodeReclaimTime = time.Nanosecond // a node may come back at another address once it is known to be dead
	m.EnableCompression = false             // messages are small
	return m, nil
}

// resolveEndpoint turns host:port into an IP address, as memberlist wants it, and a port.
func resolveEndpoint(ctx context.Context, s string) (ip string, port int, err error) {
	host, service, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	p, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q is not a number in 0..65535", service)
	}
	if host == "" {
		return net.IPv4zero.String(), int(p), nil
	}
	ip, err = resolveHost(ctx, host)
	return ip, int(p), err
}

// resolveAdvertise is resolveEndpoint with the port left to bindPort when it is not given.
func resolveAdvertise(ctx context.Context, s string, bindPort int) (ip string, port int, err error) {
	if _, _, err := net.SplitHostPort(s); err != nil {
		ip, err = resolveHost(ctx, s)
		return ip, bindPort, err
	}
	ip, port, err = resolveEndpoint(ctx, s)
	switch {
	case err != nil:
		return "", 0, err
	case net.ParseIP(ip).IsUnspecified():
		return "", 0, fmt.Errorf("%s is not an address that others can reach", ip)
	case port == 0:
		port = bindPort
	case bindPort == 0:
		return "", 0, fmt.Errorf("a fixed port needs a fixed port in bind")
	}
	return ip, port, nil
}

func resolveHost(ctx context.Context, host string) (string, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", err
	}
	if len(addrs) == 0 {
		return "", fmt.Errorf("host %q has no address", host)
	}
	return addrs[0].Unmap().String(), nil
}
