package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/bench"
)

type benchPoolCmd struct {
	decodingFlags
	Nodes countFlag `help:"Node processes, of one thread each." default:"2"`
	Synch synchFlag `help:"How nodes wait for the small messages of a step: safe in the kernel, fast spinning for up to 2 ms first, auto fast if there is a core for each." default:"auto" placeholder:"WAY"`
}

// Help is shown below the flags' summary.
func (benchPoolCmd) Help() string {
	return `Examples:
  orrery bench pool --nodes 2 --depth 0,4096,16384,65536
  orrery bench pool --model /models/llama-1b --nodes 2 --depth 16384 \
    --modes pipeline,pooled --plot pool.svg

Each node process has one thread and keeps to one processor; if there are more
nodes than processors they share them all, and the report says so. The cache is filled
with made-up keys and values up to each depth.`
}

// Run measures.
func (c *benchPoolCmd) Run(ctx context.Context, log *slog.Logger) error {
	if len(c.Modes) == 0 {
		c.Modes = []modeFlag{modeFlag(orrery.Pipeline), modeFlag(orrery.Pooled), modeFlag(orrery.Ring)}
	}
	ref, err := c.ref()
	if err != nil {
		return err
	}
	nodes, cores := int(c.Nodes), runtime.NumCPU()
	r := &decodingReport{Model: c.Model, Nodes: nodes, Threads: 1, Batch: int(c.Batch)}
	local, err := startLocal(ctx, localOptions{Nodes: nodes, Device: orrery.DeviceCPU, Threads: 1, Apart: true, Synch: orrery.Synch(c.Synch), RDMA: rdmaFlags{RDMA: "off"}}, log)
	if err != nil {
		return err
	}
	defer local.stop()
	r.keepTo(local.cpus)
	switch {
	case nodes > cores:
		r.notes = append(r.notes, fmt.Sprintf("There are %d cores for %d nodes: they share them, and pooling gains what %d have.", cores, nodes, cores))
	case local.cpus == nil:
		r.notes = append(r.notes, "Nodes do not keep to a core of their own: this system does not let them, or has one core only.")
	}
	if err := r.readPlain(ctx); err != nil {
		return err
	}
	plain, err := bench.NewPlainRead(min(nodes, cores))
	if err != nil {
		return err
	}
	defer plain.Close()
	cluster, err := local.join(ctx, log)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if err := c.measure(ctx, cluster, ref, plain, r); err != nil {
		return err
	}
	return c.write(r)
}

// keepTo notes the processors that nodes keep to.
func (r *decodingReport) keepTo(cpus []cpusFlag) {
	for _, c := range cpus {
		r.Processors = append(r.Processors, []int(c))
	}
}

// readPlain measures what a plain read by as many processes reaches, as the nodes are.
func (r *decodingReport) readPlain(ctx context.Context) (err error) {
	plain := readers{processes: r.Nodes, threads: r.Threads, cpus: r.Processors}
	if r.ReadAlone, err = plain.alone(ctx); err == nil {
		r.ReadAll, err = plain.together(ctx)
	}
	return err
}
