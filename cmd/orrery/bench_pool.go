package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"

	"golang.org/x/term"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/bench"
	"github.com/orrery-ai/orrery/placement"
)

type benchPoolCmd struct {
	Model  modelFlag   `help:"Directory or GGUF file of a model, which every node has, or \"recall\", the one that comes with Orrery." default:"recall" placeholder:"DIR"`
	Nodes  []nodesFlag `help:"Node processes, of one thread each: a cluster for each number." default:"2" placeholder:"N"`
	Depth  []depthFlag `help:"Tokens in the cache when decoding begins (default: ${default})." default:"0,4096,16384" placeholder:"N"`
	Modes  []modeFlag  `help:"Modes (default: ${default})." default:"pipeline,pooled,ring" placeholder:"MODE"`
	KV     kvFlag      `name:"kv" help:"Storage of keys and values: f16, q8, q4 or f32." default:"f16"`
	Block  blockFlag   `help:"Tokens of a KV block." default:"256"`
	Tokens countFlag   `help:"Tokens to generate in each run, fewer where that would take more than a third of a second." default:"64"`
	Rounds countFlag   `help:"Rounds: in each, what predictions go by is measured, and then every mode at every depth." default:"5"`
	Synch  synchFlag   `help:"How nodes wait for the small messages of a step: safe in the kernel, fast spinning for up to 2 ms first, auto fast if there is a core for each." default:"auto" placeholder:"WAY"`
	pictureFlags
}

// Help is shown below the flags' summary.
func (benchPoolCmd) Help() string {
	return `Examples:
  orrery bench pool --nodes 1,2,3 --depth 0,8192,32768,131072 --rounds 12
  orrery bench pool --model /models/llama-1b --nodes 2 --depth 16384 \
    --modes pipeline,pooled --plot pool.svg

Each node process has one thread and keeps to one processor, and this command
to the others, or to that of the last node; if there are more nodes than
processors they share them all, and the report says so. The cache is filled with made-up keys and values up to each
depth. Each run is held against what was predicted from measurements just before
and just after it: the report has the median of the quotients, and the extremes.`
}

// AfterApply looks at the files that the flags name.
func (c *benchPoolCmd) AfterApply() error { return cmp.Or(c.Model.find(), canDraw(c.Plot)) }

// Run measures.
func (c *benchPoolCmd) Run(ctx context.Context, log *slog.Logger) error {
	coarsenTimers(log)
	available, err := processors()
	if err != nil {
		return err
	}
	r := &poolReport{Model: c.Model.name}
	most := int(slices.Max(c.Nodes))
	switch cores := runtime.NumCPU(); {
	case most > cores:
		r.Notes = append(r.Notes, fmt.Sprintf("There are %s for %s: they share them, and pooling gains what those have.", counted(cores, "core"), counted(most, "node")))
	case len(available) == cores:
		others := available[min(most, cores-1):]
		if most == cores { // whose node has nothing to do when a step's result is there, as it comes from the last owner of layers
			r.Notes = append(r.Notes, "This command, which drives the steps, shares the last node's core.")
		}
		if err := pin(others); err != nil {
			return err
		}
	}
	// Who drives computes nothing. With one processor of the runtime's no thread of it is about to take another's work,
	// for which it would sleep for 3 µs first: with coarse timers that is up to 2 ms, and no other is woken meanwhile
	// for the token that has come.
	runtime.GOMAXPROCS(1)
	for _, n := range c.Nodes {
		if err := c.measure(ctx, int(n), available, r, log); err != nil {
			return fmt.Errorf("%s: %w", counted(int(n), "node"), err)
		}
	}
	return c.writeAll(r, &bench.Picture{Title: r.title(), Unit: "tokens/s", Curves: r.curves()})
}

// measure compares on so many nodes.
func (c *benchPoolCmd) measure(ctx context.Context, nodes int, available []int, r *poolReport, log *slog.Logger) error {
	local, err := startLocal(ctx, localOptions{Nodes: nodes, Device: orrery.DeviceCPU, Threads: 1, CPUs: available, Synch: orrery.Synch(c.Synch), RDMA: rdmaFlags{RDMA: "off"}}, log)
	if err != nil {
		return err
	}
	defer local.stop()
	if local.cpus == nil && nodes <= runtime.NumCPU() {
		r.Notes = append(r.Notes, fmt.Sprintf("Of %s none keeps to a core of its own: this system does not let them, or has one core only.", counted(nodes, "node")))
	}
	cluster, err := local.join(ctx, log)
	if err != nil {
		return err
	}
	defer cluster.Close()
	o := bench.Comparison{Tokens: int(c.Tokens), Rounds: int(c.Rounds), Done: sayRounds(nodes, int(c.Rounds))}
	for _, d := range c.Depth {
		o.Depths = append(o.Depths, int(d))
	}
	for _, m := range c.Modes {
		o.Modes = append(o.Modes, orrery.Mode(m))
	}
	m, err := cluster.Load(ctx, c.Model.ref, orrery.LoadOptions{Mode: o.Modes[0], Context: o.Context(), Sequences: o.Sequences(), BlockTokens: int(c.Block), KV: orrery.KVFormat(c.KV)})
	if err != nil {
		return fmt.Errorf("%d tokens for --depth, --tokens and --rounds: %w", o.Context(), err)
	}
	for _, mode := range o.Modes {
		if why := m.Plans().Refused[mode]; why != nil {
			return fmt.Errorf("mode %v: %w", mode, why)
		}
	}
	o.Costs = func(ctx context.Context) (map[orrery.Mode]*placement.Cost, error) { return m.CostsNow(ctx) }
	compared, err := o.Run(ctx, m)
	if err != nil {
		return err
	}
	r.add(nodes, compared)
	return nil
}

// sayRounds says on a terminal how far the comparison is.
func sayRounds(nodes, rounds int) func(round int) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	return func(round int) {
		fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", counted(nodes, "node"), round+1, rounds)
	}
}
