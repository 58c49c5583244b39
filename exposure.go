package orrery

import (
	"context"
	"fmt"
	"net"
	"time"
)

// ExposedError says that a node would listen where other machines can reach it, with nothing to keep them
// from driving it. It needs a Config.Identity, or Config.Insecure.
type ExposedError struct {
	Addr string // host:port, as it was configured
}

// Error names the address.
func (e *ExposedError) Error() string {
	return fmt.Sprintf("other machines can reach %s, and without a certificate whoever does can drive this node", e.Addr)
}

// resolveWithin bounds the resolving of one host name.
const resolveWithin = 5 * time.Second

// exposed says whether who listens at addr, host:port, can be reached from other machines. No host means
// every address of this one.
func exposed(ctx context.Context, addr string) (bool, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false, err
	}
	if host == "" {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveWithin)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for _, a := range addrs {
		if !a.Unmap().IsLoopback() {
			return true, nil
		}
	}
	return false, err
}

// guard sees to it that nothing is reachable from other machines without certificates, unless that is wanted.
func (c *Config) guard(ctx context.Context) error {
	if c.Identity != nil {
		now, p := time.Now(), c.Identity.Period()
		if left := p.Until.Sub(now); left > 0 && left < p.Until.Sub(p.From)/10 {
			c.Logger.Warn("the certificate ends soon", "name", c.Identity.Name().String(), "until", p.Until)
		}
		return c.Identity.Check(now)
	}
	var reachable []string
	for _, addr := range []string{c.Bind, c.Listen} {
		open, err := exposed(ctx, addr)
		if err != nil {
			return fmt.Errorf("address %q: %w", addr, err)
		}
		if open && !c.Insecure {
			return &ExposedError{addr}
		}
		if open {
			reachable = append(reachable, addr)
		}
	}
	if reachable != nil {
		c.Logger.Warn("INSECURE: nothing is encrypted, and whoever reaches these addresses can drive this node and read what it works on", "addrs", reachable)
	}
	return nil
}
