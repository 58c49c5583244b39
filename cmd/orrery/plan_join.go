package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/plan"
)

// planJoinFlags say which running cluster to plan on.
type planJoinFlags struct {
	Join        []addressFlag `help:"Plan on the running cluster of this node, by what its nodes measured, instead of a described one." xor:"which" placeholder:"HOST:PORT"`
	Bind        addressFlag   `help:"Address that its nodes reach this command by (default: any free port of the address that reaches them)." placeholder:"HOST:PORT"`
	ClusterName string        `help:"Name of the running cluster (default: that of the certificate, else orrery)." placeholder:"NAME"`
	identityFlags
}

// check reports flags that would do nothing.
func (f *planJoinFlags) check() error {
	if len(f.Join) > 0 {
		return nil
	}
	return useless("is of a running cluster: give --join instead of --cluster", flag{"bind", f.Bind != ""}, flag{"cluster-name", f.ClusterName != ""},
		flag{"tls", f.TLS.dir != ""}, flag{"insecure", f.Insecure})
}

// running is what the nodes of the running cluster measured, of themselves and of the ways between them and
// to here, from where steps would be driven.
func (f *planJoinFlags) running(ctx context.Context, log *slog.Logger) (*plan.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, linksTimeout)
	defer cancel()
	where := clusterFlags{Join: f.Join, Bind: f.Bind, securityFlags: securityFlags{f.ClusterName, f.identityFlags}}
	c, end, err := where.open(ctx, log)
	if err != nil {
		return nil, err
	}
	defer end()
	var nodes []placement.Node
	for _, n := range c.Nodes() {
		if !n.Rates.Known() {
			return nil, fmt.Errorf("node %s did not measure what it can do: start it without --calibrate off", n.Name)
		}
		nodes = append(nodes, n.Placement())
	}
	links, err := c.Links(ctx)
	if err != nil {
		return nil, err
	}
	ways, err := c.Ways(ctx)
	if err != nil {
		return nil, err
	}
	together, err := c.Together(ctx)
	if err != nil {
		return nil, err
	}
	turn, err := c.MeasureTurn(ctx)
	if err != nil {
		log.Warn("predictions take this command to hand out steps in no time", "err", err)
	}
	m := plan.Measured{Nodes: nodes, Links: links, Ways: ways, Turn: turn, Together: together}
	return m.Cluster()
}
