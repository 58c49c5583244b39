package main

import (
	"context"
	"log/slog"
	"runtime"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/cluster"
)

type benchDecodeCmd struct {
	decodingFlags `embed:"" group:"What to measure:"`
	clusterFlags  `embed:"" group:"Where to compute:"`
	Threads       countFlag `help:"Threads of each node process that is started (default: as many as there are cores for each)." group:"Where to compute:"`
}

// Help is shown below the flags' summary.
func (benchDecodeCmd) Help() string {
	return `Examples:
  orrery bench decode --depth 0,4096,16384 --threads 1
  orrery bench decode --model /models/llama-1b --depth 0,200000 --tokens 8
  orrery bench decode --device cuda --nodes 2 --model /models/llama-8b \
    --modes pipeline,pooled --depth 200000
  orrery bench decode --join 192.168.1.10:7946 --model /models/llama \
    --modes pipeline,pooled,ring --depth 0,65536 --format json

Without --nodes and --join it measures one node process. The cache is filled with
made-up keys and values up to each depth.`
}

// Run measures.
func (c *benchDecodeCmd) Run(ctx context.Context, log *slog.Logger) error {
	if len(c.Modes) == 0 {
		c.Modes = []modeFlag{modeFlag(orrery.Pipeline)}
	}
	ref, err := c.ref()
	if err != nil {
		return err
	}
	r := &decodingReport{Model: c.Model}
	cluster, end, err := c.begin(ctx, log, r)
	if err != nil {
		return err
	}
	defer end()
	if err := c.measure(ctx, cluster, ref, r); err != nil {
		return err
	}
	return c.write(r)
}

// readOf takes what nodes measured when they started for what can be read.
func (r *decodingReport) readOf(nodes []cluster.Node) {
	r.Nodes = len(nodes)
	for _, n := range nodes {
		r.ReadAll += n.Bandwidth
	}
	r.ReadAlone = r.ReadAll / float64(max(len(nodes), 1))
	r.notes = append(r.notes, "The plain read is what the nodes measured when they started, each by itself; of a GPU, what a copy reads and writes.")
}

// begin starts or joins the nodes, and finds out what they can read.
func (c *benchDecodeCmd) begin(ctx context.Context, log *slog.Logger, r *decodingReport) (cluster *orrery.Cluster, end func(), err error) {
	if len(c.Join) > 0 {
		if cluster, end, err = c.open(ctx, log); err != nil {
			return nil, nil, err
		}
		r.readOf(cluster.Nodes())
		return cluster, end, nil
	}
	r.Nodes = max(1, int(c.Nodes))
	if r.Threads = int(c.Threads); r.Threads == 0 {
		r.Threads = max(1, runtime.NumCPU()/r.Nodes)
	}
	local, err := startLocal(ctx, localOptions{Nodes: r.Nodes, Device: c.Device, Threads: r.Threads, Synch: orrery.Synch(c.Synch), RDMA: c.rdmaFlags}, log)
	if err != nil {
		return nil, nil, err
	}
	r.keepTo(local.cpus)
	if local.device.Kind == orrery.DeviceCPU {
		err = r.readPlain(ctx)
	}
	if err == nil {
		cluster, err = local.join(ctx, log)
	}
	if err != nil {
		local.stop()
		return nil, nil, err
	}
	if local.device.Kind != orrery.DeviceCPU {
		r.readOf(cluster.Nodes())
	}
	return cluster, func() { cluster.Close(); local.stop() }, nil
}
