package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strconv"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/term"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/bench"
)

type benchPrefillCmd struct {
	Model        modelFlag   `help:"Directory or GGUF file of a model, which every node has, or \"recall\", the one that comes with Orrery." default:"recall" placeholder:"DIR" group:"What to measure:"`
	Tokens       []countFlag `help:"Tokens of the prompts (default: ${default})." default:"512,4096" placeholder:"N" group:"What to measure:"`
	Depth        []depthFlag `help:"Tokens in the cache when a prompt begins (default: ${default})." default:"0" placeholder:"N" group:"What to measure:"`
	Modes        []modeFlag  `help:"Modes: pipeline, pooled, ring." default:"pipeline" placeholder:"MODE" group:"What to measure:"`
	KV           kvFlag      `name:"kv" help:"Storage of keys and values: f16, q8, q4 or f32." default:"f16" group:"What to measure:"`
	Batch        chunkFlag   `help:"Tokens that a node computes at a time: the rows of a product." default:"1024" group:"What to measure:"`
	Block        blockFlag   `help:"Tokens of a KV block." default:"256" group:"What to measure:"`
	Repeat       countFlag   `help:"Runs." default:"5" group:"What to measure:"`
	pictureFlags `embed:"" group:"What to measure:"`
	benchedFlags `embed:"" group:"Where to compute:"`
}

// Help is shown below the flags' summary.
func (benchPrefillCmd) Help() string {
	return `Examples:
  orrery bench prefill --tokens 512,4096
  orrery bench prefill --model /models/llama-1b-q8_0.gguf --threads 1
  orrery bench prefill --model /models/llama-1b --tokens 512 \
    --depth 0,16384,65536 --kv q8 --plot prefill.svg

Each run is a session of its own. The cache is filled with made-up keys and values up
to each depth. Before each run, while the nodes have nothing to do, it measures what as
many threads reach in a large product in bf16, and what their multipliers do at the most: the
inner kernel of that product on operands that lie in the first cache.`
}

// Validate looks at the flags together.
func (c *benchPrefillCmd) Validate() error { return c.check() }

// AfterApply looks at the files that the flags name.
func (c *benchPrefillCmd) AfterApply() error {
	return cmp.Or(c.Model.find(), c.TLS.load(), canDraw(c.Plot))
}

// Run measures.
func (c *benchPrefillCmd) Run(ctx context.Context, log *slog.Logger) error {
	on, err := c.begin(ctx, log)
	if err != nil {
		return err
	}
	defer on.end()
	r := &prefillingReport{Model: c.Model.name, Nodes: on.nodes, Threads: on.threads, KV: orrery.KVFormat(c.KV).String()}
	p := c.prefilling()
	if on.ours {
		p.Limits = bench.NewLimits(min(on.nodes*on.threads, runtime.NumCPU()))
		defer p.Limits.Close()
	}
	m, err := on.cluster.Load(ctx, c.Model.ref, orrery.LoadOptions{Mode: p.Modes[0], Context: p.Context(), Chunk: int(c.Batch), BlockTokens: int(c.Block), KV: orrery.KVFormat(c.KV)})
	if err != nil {
		return fmt.Errorf("%d tokens for --depth and --tokens: %w", p.Context(), err)
	}
	for _, mode := range p.Modes {
		if why := m.Plans().Refused[mode]; why != nil {
			return fmt.Errorf("mode %v: %w", mode, why)
		}
	}
	measured, err := p.Run(ctx, m)
	if err != nil {
		return err
	}
	r.add(measured)
	return c.writeAll(r, &bench.Picture{Title: r.title(), Unit: "tokens/s", Curves: bench.PrefilledCurves(measured)})
}

// prefilling is what to measure.
func (c *benchPrefillCmd) prefilling() *bench.Prefilling {
	p := &bench.Prefilling{Repeat: int(c.Repeat), Done: sayPrefilled()}
	for _, n := range c.Depth {
		p.Depths = append(p.Depths, int(n))
	}
	for _, n := range c.Tokens {
		p.Tokens = append(p.Tokens, int(n))
	}
	for _, mode := range c.Modes {
		p.Modes = append(p.Modes, orrery.Mode(mode))
	}
	return p
}

// sayPrefilled says on a terminal what has been measured, as it comes.
func sayPrefilled() func(bench.Prefilled) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	return func(p bench.Prefilled) {
		fmt.Fprintf(os.Stderr, "%v, %d tokens behind %d: %.1f tokens/s\n", p.Mode, p.Tokens, p.Depth, p.Speed.Median)
	}
}

// prefillingReport is what bench prefill found.
type prefillingReport struct {
	Model   string          `json:"model"`
	Nodes   int             `json:"nodes"`
	Threads int             `json:"threads_of_each,omitempty"`
	KV      string          `json:"kv"`
	Rows    []prefillingRow `json:"rows"`
}

// prefillingRow is one prompt at one depth in one mode. Limits and shares are missing where nothing was measured to compare with.
type prefillingRow struct {
	Depth      int           `json:"depth"`
	Tokens     int           `json:"tokens"`
	Mode       string        `json:"mode"`
	Speed      bench.Spread  `json:"tokens_per_second"`
	Seconds    float64       `json:"seconds"`
	Operations float64       `json:"operations"`
	Rate       float64       `json:"operations_per_second"`
	Peak       *bench.Spread `json:"peak_operations_per_second,omitempty"`
	OfPeak     *bench.Spread `json:"share_of_peak,omitempty"`
	Product    *bench.Spread `json:"large_product_operations_per_second,omitempty"`
	OfProduct  *bench.Spread `json:"share_of_large_product,omitempty"`
}

func (r *prefillingReport) add(measured []bench.Prefilled) {
	for _, p := range measured {
		row := prefillingRow{Depth: p.Depth, Tokens: p.Tokens, Mode: p.Mode.String(), Speed: p.Speed, Seconds: p.Seconds(), Operations: p.Operations, Rate: p.Rate()}
		if p.Peak.Median > 0 {
			row.Peak, row.OfPeak, row.Product, row.OfProduct = &p.Peak, &p.OfPeak, &p.Product, &p.OfProduct
		}
		r.Rows = append(r.Rows, row)
	}
}

// title is what was measured, in a line.
func (r *prefillingReport) title() string {
	what := counted(r.Nodes, "node")
	if r.Threads > 0 {
		what += " of " + counted(r.Threads, "thread")
	}
	return fmt.Sprintf("%s on %s: reading prompts, keys and values in %s", r.Model, what, r.KV)
}

func (r *prefillingReport) text() string {
	text := fmt.Sprintf("%s\n%s\n", r.title(), r.table())
	if len(r.Rows) == 0 || r.Rows[0].Peak == nil {
		return text
	}
	return text + fmt.Sprintf("The multipliers do %.0f GFLOP/s at the most, a large product %.0f: medians; shares are of what was measured just before each run.\n",
		r.median(func(row *prefillingRow) float64 { return row.Peak.Median })/1e9, r.median(func(row *prefillingRow) float64 { return row.Product.Median })/1e9)
}

// median is that of something over all rows.
func (r *prefillingReport) median(of func(*prefillingRow) float64) float64 {
	var values []float64
	for i := range r.Rows {
		values = append(values, of(&r.Rows[i]))
	}
	return bench.SpreadOf(values).Median
}

func (r *prefillingReport) table() string {
	t := newTable("depth", "tokens", "mode", "tokens/s", "slowest", "fastest", "a prompt", "GFLOP/s", "of peak", "of a product")
	rightAligned(t, 10)
	for i, row := range r.Rows {
		if i > 0 && r.Rows[i-1].Depth != row.Depth {
			t.AppendSeparator()
		}
		ofPeak, ofProduct := 0.0, 0.0
		if row.Peak != nil {
			ofPeak, ofProduct = row.OfPeak.Median, row.OfProduct.Median
		}
		t.AppendRow(table.Row{row.Depth, row.Tokens, row.Mode, fmt.Sprintf("%.1f", row.Speed.Median), fmt.Sprintf("%.1f", row.Speed.Min), fmt.Sprintf("%.1f", row.Speed.Max),
			fmt.Sprintf("%.2f s", row.Seconds), fmt.Sprintf("%.0f", row.Rate/1e9), shareOf(ofPeak), shareOf(ofProduct)})
	}
	return t.Render()
}

func (r *prefillingReport) writeCSV(w io.Writer) error {
	rows := [][]string{{"depth", "tokens", "mode", "tokens_per_second", "min", "max", "seconds", "operations", "operations_per_second", "peak_operations_per_second",
		"share_of_peak", "large_product_operations_per_second", "share_of_large_product"}}
	for _, row := range r.Rows {
		limits := []string{"", "", "", ""}
		if row.Peak != nil {
			limits = []string{number(row.Peak.Median), number(row.OfPeak.Median), number(row.Product.Median), number(row.OfProduct.Median)}
		}
		rows = append(rows, slices.Concat([]string{strconv.Itoa(row.Depth), strconv.Itoa(row.Tokens), row.Mode}, numbers(row.Speed),
			[]string{number(row.Seconds), number(row.Operations), number(row.Rate)}, limits))
	}
	return csv.NewWriter(w).WriteAll(rows)
}
