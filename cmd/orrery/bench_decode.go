package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/device/cpu"
)

type benchDecodeCmd struct {
	decodingFlags `embed:"" group:"What to measure:"`
	benchedFlags  `embed:"" group:"Where to compute:"`
}

// Help is shown below the flags' summary.
func (benchDecodeCmd) Help() string {
	return `Examples:
  orrery bench decode --depth 0,4096,16384 --threads 1
  orrery bench decode --model /models/llama-1b --depth 0,200000 --tokens 8 \
    --kv q8 --plot decode.svg
  orrery bench decode --nodes 2 --batch 2 --depth 0,4096
  orrery bench decode --device cuda --nodes 2 --model /models/llama-8b \
    --modes pipeline,pooled --depth 200000
  orrery bench decode --join 192.168.1.10:7946 --model /models/llama \
    --modes pipeline,pooled,ring --depth 0,65536 --format json

Without --nodes and --join it measures one node process. The cache is filled with
made-up keys and values up to each depth.`
}

// Validate looks at the flags together.
func (c *benchDecodeCmd) Validate() error {
	if c.Settle < 0 {
		return fmt.Errorf("--settle: %v is less than no time", c.Settle)
	}
	return c.check()
}

// AfterApply looks at the files that the flags name.
func (c *benchDecodeCmd) AfterApply() error {
	return cmp.Or(c.Model.find(), c.TLS.load(), canDraw(c.Plot))
}

// Run measures.
func (c *benchDecodeCmd) Run(ctx context.Context, log *slog.Logger) error {
	if len(c.Modes) == 0 {
		c.Modes = []modeFlag{modeFlag(orrery.Pipeline)}
	}
	on, err := c.begin(ctx, log)
	if err != nil {
		return err
	}
	defer on.end()
	r := &decodingReport{Model: c.Model.name, Nodes: on.nodes, Threads: on.threads, Batch: int(c.Batch)}
	r.keepTo(on.cpus)
	var plain *cpu.PlainRead
	if on.ours {
		if err := r.readPlain(ctx); err != nil {
			return err
		}
		if plain, err = cpu.NewPlainRead(min(on.nodes*on.threads, runtime.NumCPU()), takeMemoryFor); err != nil {
			return err
		}
		defer plain.Close()
	} else {
		r.readOf(on.cluster.Nodes())
	}
	if err := c.measure(ctx, on.cluster, plain, r); err != nil {
		return err
	}
	return c.write(r)
}

// takeMemoryFor is how long taking memory for plain reads may go on: 512 MiB take less.
const takeMemoryFor = time.Second

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

// readOf takes what nodes measured when they started for what can be read.
func (r *decodingReport) readOf(nodes []cluster.Node) {
	for _, n := range nodes {
		r.ReadAll += n.Bandwidth
	}
	r.ReadAlone = r.ReadAll / float64(max(len(nodes), 1))
	r.notes = append(r.notes, "The plain read is what the nodes measured when they started, each by itself; of a GPU, what a copy reads and writes.")
}
