package main

import (
	"fmt"
	"os"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/ca"
)

// securityFlags are how a cluster keeps to itself.
type securityFlags struct {
	Cluster  string `help:"Name of the cluster; nodes of another are refused (default: that of the certificate, else orrery)." placeholder:"NAME"`
	TLS      string `name:"tls" help:"Directory with the certificate that orrery ca issue made for this machine. Needed wherever other machines can reach it." type:"path" xor:"security" placeholder:"DIR"`
	Insecure bool   `help:"Do without certificates: whoever can reach the node can drive it." xor:"security"`
}

// apply puts what the flags say into c.
func (s *securityFlags) apply(c *orrery.Config) error {
	c.Cluster, c.Insecure = s.Cluster, s.Insecure
	if s.Insecure {
		fmt.Fprintln(os.Stderr, "WARNING: --insecure: nothing is encrypted, and whoever can reach this address can drive the node and read what it works on")
	}
	if s.TLS == "" {
		return nil
	}
	var err error
	c.Identity, err = ca.Load(s.TLS)
	return err
}
