package main

import (
	"context"
	"errors"
	"log/slog"
	"runtime"

	"github.com/orrery-ai/orrery"
)

// benchedFlags choose the nodes that are measured.
type benchedFlags struct {
	clusterFlags
	Threads threadsFlag `help:"Threads of each node process that is started (default: as many as there are cores for each)." placeholder:"N"`
}

// benched is the nodes that are measured.
type benched struct {
	cluster *orrery.Cluster
	nodes   int
	threads int        // of each; 0: it is not known
	cpus    []cpusFlag // [nodes] the processors that each keeps to; nil: none does, or it is not known
	ours    bool       // they compute on processors of this machine, and were started for this
	end     func()
}

// check reports flags that would do nothing.
func (f *benchedFlags) check() error {
	if len(f.Join) > 0 && f.Threads > 0 {
		return errors.New("--threads is of nodes that are started, and --join starts none")
	}
	return f.clusterFlags.check()
}

// begin starts the nodes, one if nothing else is asked for, or joins them.
func (f *benchedFlags) begin(ctx context.Context, log *slog.Logger) (*benched, error) {
	if len(f.Join) > 0 {
		cluster, end, err := f.open(ctx, log)
		if err != nil {
			return nil, err
		}
		return &benched{cluster: cluster, nodes: len(cluster.Nodes()), end: end}, nil
	}
	b := &benched{nodes: max(1, int(f.Nodes)), threads: int(f.Threads)}
	if b.threads == 0 {
		b.threads = max(1, runtime.NumCPU()/b.nodes)
	}
	local, err := startLocal(ctx, localOptions{Nodes: b.nodes, Device: string(f.Device), Threads: b.threads, Synch: orrery.Synch(f.Synch), RDMA: f.rdmaFlags}, log)
	if err != nil {
		return nil, err
	}
	if b.cluster, err = local.join(ctx, log); err != nil {
		local.stop()
		return nil, err
	}
	b.cpus, b.ours = local.cpus, local.device.Kind == orrery.DeviceCPU
	b.end = func() { b.cluster.Close(); local.stop() }
	return b, nil
}
