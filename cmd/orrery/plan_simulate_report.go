package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/plan"
)

// writeScaling prints a simulation as text, json or csv.
func writeScaling(w io.Writer, format string, s *plan.Scaling) error {
	return writeAs(w, format, s, scalingText, writeScalingCSV)
}

// writeScalingCSV is a line for each point.
func writeScalingCSV(w io.Writer, s *plan.Scaling) error {
	parts := plan.StepParts()
	header := []string{"context", "mode", "exchange", "nodes", "arity", "step_seconds", "p99_seconds", "formula_seconds", "tokens_per_second", "share_of_linear",
		"prefill_tokens_per_second"}
	for _, part := range parts {
		header = append(header, part+" seconds")
	}
	rows := [][]string{header}
	for _, series := range s.Series {
		for _, p := range series.Points {
			row := []string{fmt.Sprint(series.Context), series.Mode, series.Exchange, fmt.Sprint(p.Nodes), fmt.Sprint(p.Arity)}
			numbers := []float64{p.Median, p.P99, p.Formula, p.Decode, p.Linear, p.Prefill}
			for _, part := range parts {
				numbers = append(numbers, p.Waits[part])
			}
			for _, v := range numbers {
				row = append(row, fmt.Sprintf("%.6g", v))
			}
			rows = append(rows, row)
		}
	}
	return csv.NewWriter(w).WriteAll(rows)
}

func scalingText(s *plan.Scaling) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: weights %s, KV in %v; %d tokens in %d blocks; kernels reach %.0f%%\n", s.Model, storage(s.Weights), s.KV, s.Context, s.Blocks, 100*s.Efficiency)
	fmt.Fprintf(&b, "link %s: %s", s.Link, shortTime(s.Wire.Latency))
	if s.Wire.Jitter > 0 {
		fmt.Fprintf(&b, " and jitter of %s on average", shortTime(s.Wire.Jitter))
	}
	fmt.Fprintf(&b, ", %.1f GB/s", s.Wire.Bandwidth/1e9)
	if s.Wire.PerMessage > 0 {
		fmt.Fprintf(&b, " and %s for each message", shortTime(s.Wire.PerMessage))
	}
	if s.Noise.Stragglers > 0 {
		fmt.Fprintf(&b, "; %.1f%% of the nodes take %.2f times as long", 100*s.Noise.Stragglers, s.Noise.Slowdown)
	}
	if s.Noise.Uneven > 0 {
		fmt.Fprintf(&b, "; computing is uneven by %.1f%%", 100*s.Noise.Uneven)
	}
	fmt.Fprintf(&b, "; %s, seed %d\n", counted(s.Steps, "step"), s.Seed)
	if s.Positions > 0 && s.Context > s.Positions {
		fmt.Fprintf(&b, "Note: the model was made for contexts of up to %d tokens.\n", s.Positions)
	}
	for i := 0; i < len(s.Series); {
		n := i + 1 // the kinds of exchange of one mode at one context
		for n < len(s.Series) && s.Series[n].Mode == s.Series[i].Mode && s.Series[n].Context == s.Series[i].Context {
			n++
		}
		b.WriteString(scalingTable(s.Series[i:n]))
		i = n
	}
	fmt.Fprintf(&b, "\n%s\n", lanesText(s.Lanes))
	return b.String()
}

// scalingTable is a mode at a context: a line for each number of nodes and each kind of exchange.
func scalingTable(series []plan.Series) string {
	head := fmt.Sprintf("\n%s at %d tokens", series[0].Mode, series[0].Context)
	if len(series[0].Points) == 0 {
		return head + ": too little memory on all of these numbers of nodes.\n"
	}
	t := newTable("nodes", "exchange", "step", "p99", "tokens/s", "of linear", "waits most for", "", "prefill", "busiest in it", "")
	var columns []table.ColumnConfig
	for _, n := range []int{1, 3, 4, 5, 6, 8, 9, 11} {
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	for i := range series[0].Points {
		for _, s := range series {
			p := s.Points[i]
			exchange := s.Exchange
			switch {
			case p.Arity > 0:
				exchange = fmt.Sprintf("tree of %d", p.Arity)
			case exchange == "":
				exchange = "-"
			}
			part, share := p.Largest()
			t.AppendRow(table.Row{p.Nodes, exchange, milliseconds(p.Median), milliseconds(p.P99), fmt.Sprintf("%.1f", p.Decode), percent(p.Linear),
				part, percent(share), fmt.Sprintf("%.0f", p.Prefill), p.Busiest, percent(p.BusyTime)})
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s:\n%s\n", head, t.Render())
	if short := series[0].Short; len(short) == 1 {
		fmt.Fprintf(&b, "Too little memory with %s.\n", counted(short[0], "node"))
	} else if len(short) > 1 {
		fmt.Fprintf(&b, "Too little memory with %s nodes.\n", strings.Trim(strings.ReplaceAll(fmt.Sprint(short), " ", ", "), "[]"))
	}
	for _, s := range series {
		b.WriteString(s.Verdict.Text + "\n")
	}
	return b.String()
}

// lanesText says what is assumed, and what is not so yet.
func lanesText(l plan.Lanes) string {
	present := "on none of the numbers above"
	if l.MostFits > 0 {
		present = fmt.Sprintf("on up to %d, of the numbers above", l.MostFits)
	}
	return fmt.Sprintf("Assumed: what a node keeps for activations and lanes does not grow beyond that of %d nodes, %s. As the engine is,\nwith lanes between all pairs, it would be %s for each of %d nodes; so the model fits %s.",
		l.Members, placement.FormatBytes(l.Bytes), placement.FormatBytes(l.Present), l.Nodes, present)
}
