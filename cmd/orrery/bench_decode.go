package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/bench"
)

type benchDecodeCmd struct {
	Model        string `help:"Directory of a model, or \"recall\", the one that comes with Orrery." default:"recall" group:"Model:" placeholder:"DIR"`
	KV           kvFlag `name:"kv" help:"Storage of keys and values: f16 or f32." default:"f16" group:"Model:"`
	clusterFlags `embed:"" group:"Where to compute:"`
	Depth        []int      `help:"Tokens in the cache (default: ${default}); they are made up, not computed." default:"0,4096,16384" placeholder:"N,…"`
	Modes        []modeFlag `help:"Modes to measure (default: ${default})." default:"pipeline,pooled,ring" placeholder:"MODE,…"`
	Tokens       countFlag  `help:"Tokens to generate in a run." default:"32"`
	Repeat       countFlag  `help:"Runs of each depth and mode." default:"5"`
	Format       string     `help:"What is printed: table, json or csv." enum:"table,json,csv" default:"table"`
}

// Help is shown below the flags' summary.
func (benchDecodeCmd) Help() string {
	return `Examples:
  orrery bench decode --nodes 2 --depth 0,8192,32768,131072
  orrery bench decode --join 192.168.1.10:7946 --model /models/llama-1b \
    --depth 16384 --modes pipeline,pooled --format csv

Beside each measured step stands the one that was predicted from what the nodes
and the ways between them measured of themselves.`
}

// Run measures.
func (c *benchDecodeCmd) Run(ctx context.Context, log *slog.Logger) error {
	ref, err := (&modelFlags{Model: c.Model}).ref()
	if err != nil {
		return err
	}
	if len(c.Depth) == 0 || slices.Min(c.Depth) < 0 {
		return fmt.Errorf("--depth %v: depths are 0 or more", c.Depth)
	}
	cluster, end, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer end()
	d := bench.Decode{Depths: c.Depth, Tokens: int(c.Tokens), Repeat: int(c.Repeat), Progress: prefillProgress("runs")}
	for _, m := range c.Modes {
		d.Modes = append(d.Modes, orrery.Mode(m))
	}
	m, err := cluster.Load(ctx, ref, orrery.LoadOptions{Mode: d.Modes[0], Context: slices.Max(c.Depth) + d.Tokens + 1, KV: orrery.KVFormat(c.KV)})
	if err != nil {
		return err
	}
	rows, unpredicted, err := d.Run(ctx, m)
	if err != nil {
		return err
	}
	if unpredicted != nil {
		log.Warn("nothing is predicted", "err", unpredicted)
	}
	return writeDecode(os.Stdout, c.Format, len(cluster.Nodes()), rows)
}

// decodeReport is a row, for programs. Times are in seconds.
type decodeReport struct {
	Depth     int     `json:"depth"`
	Mode      string  `json:"mode"`
	Rate      float64 `json:"tokens_per_second"`
	Step      float64 `json:"step_seconds"`
	Least     float64 `json:"least_step_seconds"`
	Most      float64 `json:"most_step_seconds"`
	Predicted float64 `json:"predicted_step_seconds,omitempty"`
	Ratio     float64 `json:"predicted_over_measured,omitempty"`
}

func decodeReports(rows []bench.DecodeRow) []decodeReport {
	var out []decodeReport
	for _, r := range rows {
		step := r.Median().Seconds()
		out = append(out, decodeReport{Depth: r.Depth, Mode: r.Mode.String(), Rate: 1 / step, Step: step,
			Least: r.Steps[0].Seconds(), Most: r.Steps[len(r.Steps)-1].Seconds(), Predicted: r.Predicted.Seconds(), Ratio: r.Predicted.Seconds() / step})
	}
	return out
}

func writeDecode(w io.Writer, format string, nodes int, rows []bench.DecodeRow) error {
	reports := decodeReports(rows)
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(reports)
	case "csv":
		records := [][]string{{"depth", "mode", "tokens_per_second", "step_seconds", "least_step_seconds", "most_step_seconds", "predicted_step_seconds", "predicted_over_measured"}}
		for _, r := range reports {
			record := []string{fmt.Sprint(r.Depth), r.Mode}
			for _, v := range []float64{r.Rate, r.Step, r.Least, r.Most, r.Predicted, r.Ratio} {
				record = append(record, fmt.Sprintf("%.6g", v))
			}
			records = append(records, record)
		}
		return csv.NewWriter(w).WriteAll(records)
	}
	t := newTable("depth", "mode", "tokens/s", "step", "least", "most", "predicted", "of measured")
	rightAligned(t, 8)
	for i, r := range reports {
		if i > 0 && reports[i-1].Depth != r.Depth {
			t.AppendSeparator()
		}
		predicted, ratio := "-", "-"
		if r.Predicted > 0 {
			predicted, ratio = milliseconds(r.Predicted), fmt.Sprintf("%.0f%%", 100*r.Ratio)
		}
		t.AppendRow(table.Row{r.Depth, r.Mode, fmt.Sprintf("%.1f", r.Rate), milliseconds(r.Step), milliseconds(r.Least), milliseconds(r.Most), predicted, ratio})
	}
	_, err := fmt.Fprintf(w, "%s\n%s; a step is the median of a run's, and that the median of %d runs.\n", t.Render(), counted(nodes, "node"), len(rows[0].Steps))
	return err
}
