package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/ca"
)

// securityFlags are how a cluster keeps to itself.
type securityFlags struct {
	Cluster string `help:"Name of the cluster; nodes of another are refused (default: that of the certificate, else orrery)." placeholder:"NAME"`
	identityFlags
}

// identityFlags are by what a process is known to the others.
type identityFlags struct {
	TLS      tlsFlag `name:"tls" help:"Directory with the certificate that orrery ca issue made for this machine. Needed wherever other machines can reach it." xor:"security" placeholder:"DIR"`
	Insecure bool    `help:"Do without certificates: whoever can reach the node can drive it." xor:"security"`
}

// tlsFlag is a certificate by its directory.
type tlsFlag struct {
	dir string
	id  *ca.Identity // once it is loaded
}

// UnmarshalText takes the directory.
func (f *tlsFlag) UnmarshalText(b []byte) error {
	f.dir = kong.ExpandPath(string(b))
	return nil
}

// load reads the certificate, if there is to be one.
func (f *tlsFlag) load() (err error) {
	if f.dir == "" {
		return nil
	}
	if f.id, err = ca.Load(f.dir); err != nil {
		return fmt.Errorf("--tls: %w", err)
	}
	return nil
}

// apply puts what the flags say into c.
func (s *securityFlags) apply(c *orrery.Config) {
	c.Cluster, c.Insecure, c.Identity = s.Cluster, s.Insecure, s.TLS.id
	if s.Insecure {
		fmt.Fprintln(os.Stderr, "WARNING: --insecure: nothing is encrypted, and whoever can reach this address can drive the node and read what it works on")
	}
}
