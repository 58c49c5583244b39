package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/bench"
	"github.com/orrery-ai/orrery/placement"
)

type benchMemoryCmd struct {
	Model   modelFlag   `help:"Directory or GGUF file of a model, or \"recall\", the one that comes with Orrery." default:"recall" placeholder:"DIR"`
	Context []countFlag `help:"Contexts to load the model with (default: ${default})." default:"1024,32768" placeholder:"N"`
	Nodes   []nodesFlag `help:"Numbers of node processes to start (default: ${default})." default:"1,3" placeholder:"N"`
	Modes   []modeFlag  `help:"Modes: pipeline, pooled, ring (default: ${default})." default:"pipeline" placeholder:"MODE"`
	KV      kvFlag      `name:"kv" help:"Storage of keys and values: f16, q8, q4 or f32." default:"f16"`
	Chunk   chunkFlag   `help:"Tokens that a node computes at a time in prefill." default:"1024"`
	Last    countFlag   `help:"Tokens to compute at the end of each context: fewer than a chunk do not use all that was counted (default: 1024, or the whole of a smaller context)." placeholder:"N"`
	Block   blockFlag   `help:"Tokens of a KV block." default:"256"`
	Decode  countFlag   `help:"Tokens to generate at the end of the context." default:"8"`
	Timeout waitFlag    `help:"Bound on every wait within a step: a chunk behind a long context takes its time." default:"10m"`
	Format  string      `help:"What is printed: table, json or csv." enum:"table,json,csv" default:"table"`
}

// Help is shown below the flags' summary.
func (benchMemoryCmd) Help() string {
	return `Examples:
  orrery bench memory --context 1024,32768,200000 --modes pipeline,pooled,ring
  orrery bench memory --model /models/llama-1b --context 200000 --nodes 3 \
    --chunk 256 --last 64 --format csv

Each case has node processes of its own. They load the model, compute the largest
steps and some chunks, fill the context with made-up keys and values, compute some
tokens behind those, and decode to the end. What they took at the most is then held against what was
predicted when the model was loaded. docs/placement.md has the results.`
}

// Validate looks at the flags together.
func (c *benchMemoryCmd) Validate() error {
	if c.Timeout < waitFlag(time.Millisecond) {
		return fmt.Errorf("--timeout: %v is less than 1 ms", time.Duration(c.Timeout))
	}
	for _, tokens := range c.Context {
		switch room := int(tokens) - int(c.Decode); {
		case room < 1:
			return fmt.Errorf("--decode %d: a context of %d tokens has no room for so many, behind one that is computed", c.Decode, tokens)
		case int(c.Last) > room:
			return fmt.Errorf("--last %d: of a context of %d tokens, %d of which are generated, at most %d are computed", c.Last, tokens, c.Decode, room)
		}
	}
	return nil
}

// AfterApply looks at the files that the flags name.
func (c *benchMemoryCmd) AfterApply() error { return c.Model.find() }

// defaultLast is --last where it is not given.
const defaultLast = 1024

// last is how many tokens are computed at the end of a context.
func (c *benchMemoryCmd) last(context int) int {
	if c.Last > 0 {
		return int(c.Last)
	}
	return min(defaultLast, context-int(c.Decode))
}

// memoryRow is one node of one case. Sizes are in bytes.
type memoryRow struct {
	Context   int     `json:"context"`
	Nodes     int     `json:"nodes"`
	Mode      string  `json:"mode"`
	Node      string  `json:"node"`
	Weights   int64   `json:"weights_bytes"`
	KV        int64   `json:"kv_bytes"`
	Rest      int64   `json:"rest_bytes"`
	Predicted int64   `json:"predicted_bytes"`
	Peak      int64   `json:"peak_bytes"`
	Over      float64 `json:"predicted_over_peak"` // 0.01: a hundredth more was predicted than was taken
}

// Run measures every case.
func (c *benchMemoryCmd) Run(ctx context.Context, log *slog.Logger) error {
	var rows []memoryRow
	for _, nodes := range c.Nodes {
		for _, mode := range c.Modes {
			for _, tokens := range c.Context {
				more, err := c.measure(ctx, log, int(nodes), orrery.Mode(mode), int(tokens))
				if err != nil {
					return fmt.Errorf("%s, %v, context %d: %w", counted(int(nodes), "node"), orrery.Mode(mode), tokens, err)
				}
				rows = append(rows, more...)
			}
		}
	}
	return writeMemory(os.Stdout, c.Format, rows)
}

// measure is one case, on node processes of its own.
func (c *benchMemoryCmd) measure(ctx context.Context, log *slog.Logger, nodes int, mode orrery.Mode, tokens int) ([]memoryRow, error) {
	local, err := startLocal(ctx, localOptions{Nodes: nodes, Device: orrery.DeviceCPU, RDMA: rdmaFlags{RDMA: "off"}, Unmeasured: true}, log)
	if err != nil {
		return nil, err
	}
	defer local.stop()
	plan, err := c.exercise(ctx, log, local, mode, tokens)
	if err != nil {
		return nil, err
	}
	peaks, err := local.peaks()
	if err != nil {
		return nil, err
	}
	var rows []memoryRow
	for _, s := range plan.Shares {
		row := memoryRow{Context: tokens, Nodes: nodes, Mode: mode.String(), Node: s.Node, Weights: s.Weights, KV: s.KV, Rest: s.Rest,
			Predicted: s.Needs(), Peak: peaks[s.Node]}
		row.Over = float64(row.Predicted)/float64(row.Peak) - 1
		rows = append(rows, row)
	}
	return rows, nil
}

// exercise loads the model, and has its nodes take all the memory that they need in the mode.
func (c *benchMemoryCmd) exercise(ctx context.Context, log *slog.Logger, local *localCluster, mode orrery.Mode, tokens int) (*placement.Plan, error) {
	cluster, err := local.join(ctx, log)
	if err != nil {
		return nil, err
	}
	defer cluster.Close()
	m, err := cluster.Load(ctx, c.Model.ref, orrery.LoadOptions{Mode: mode, Context: tokens, Chunk: int(c.Chunk), BlockTokens: int(c.Block), KV: orrery.KVFormat(c.KV),
		StepTimeout: time.Duration(c.Timeout)})
	if err != nil {
		return nil, err
	}
	e := bench.Exercise{Mode: mode, Compute: int(c.Chunk), Steps: smallSteps, Last: c.last(tokens), Decode: int(c.Decode), Progress: prefillProgress(fmt.Sprintf("%v, %d tokens:", mode, tokens))}
	if n := len(local.processes); n > 1 && mode != orrery.Pipeline {
		steps := placement.Steps{Mode: mode, Fastest: true, Chunk: min(int(c.Chunk), tokens), Context: tokens}
		room := placement.RoomFor(int(c.Block), n, steps)
		e.Spread, e.Asking, e.Alone = n*int(c.Block), room.Asking, room.Rows
		if mode == orrery.Ring { // rounds, and at the end what the fastest node computes alone
			e.Compute = n * max(e.Compute, 2*int(c.Block))
			e.Last = min(e.Last, e.Alone)
		}
	}
	return m.Plans().Plans[mode], e.Run(ctx, m)
}

// smallSteps is how many steps of one token fill the memory through which they come, and their results go: each is some 100 bytes of 516 KiB.
const smallSteps = 5500

func writeMemory(w io.Writer, format string, rows []memoryRow) error {
	switch format {
	case "json":
		return encodeJSON(w, rows)
	case "csv":
		c := csv.NewWriter(w)
		if err := c.Write([]string{"context", "nodes", "mode", "node", "weights_bytes", "kv_bytes", "rest_bytes", "predicted_bytes", "peak_bytes", "predicted_over_peak"}); err != nil {
			return err
		}
		for _, r := range rows {
			record := []string{strconv.Itoa(r.Context), strconv.Itoa(r.Nodes), r.Mode, r.Node}
			for _, n := range []int64{r.Weights, r.KV, r.Rest, r.Predicted, r.Peak} {
				record = append(record, strconv.FormatInt(n, 10))
			}
			if err := c.Write(append(record, strconv.FormatFloat(r.Over, 'f', 4, 64))); err != nil {
				return err
			}
		}
		c.Flush()
		return c.Error()
	}
	t := newTable("context", "nodes", "mode", "node", "weights", "KV", "rest", "predicted", "measured", "over")
	rightAligned(t, 10)
	for i, r := range rows {
		if i > 0 && (rows[i-1].Nodes != r.Nodes || rows[i-1].Mode != r.Mode) {
			t.AppendSeparator()
		}
		mib := func(n int64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }
		t.AppendRow(table.Row{r.Context, r.Nodes, r.Mode, r.Node, mib(r.Weights), mib(r.KV), mib(r.Rest), mib(r.Predicted), mib(r.Peak), fmt.Sprintf("%+.1f%%", 100*r.Over)})
	}
	_, err := fmt.Fprintf(w, "%s\nMiB; measured is the peak of each process's resident memory.\n", t.Render())
	return err
}
