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

// writePlan prints a report as text, json or csv.
func writePlan(w io.Writer, format string, r *plan.Report) error {
	return writeAs(w, format, r, planText, writePlanCSV)
}

// writePlanCSV is a line for each mode and context: what a spreadsheet needs to draw the curves.
func writePlanCSV(w io.Writer, r *plan.Report) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"mode", "context", "decode_tokens_per_second", "prefill_tokens_per_second", "weights_seconds", "kv_seconds", "exchange_seconds", "handover_seconds", "sequences"}}
	for _, m := range r.Modes {
		for _, s := range m.Speeds {
			row := []string{m.Mode, fmt.Sprint(s.Context)}
			for _, v := range []float64{s.Decode, s.Prefill, s.Step.Weights, s.Step.KV, s.Step.Exchange, s.Step.HandOver} {
				row = append(row, fmt.Sprintf("%.6g", v))
			}
			rows = append(rows, append(row, fmt.Sprint(r.Sequences)))
		}
	}
	return c.WriteAll(rows)
}

func planText(r *plan.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s): %s parameters, of which a token uses %s; weights %s %s, KV in %v %d bytes a token\n",
		r.Model, r.Type, numbered(r.Params), numbered(r.Active), storage(r.Weights), placement.FormatBytes(r.WeightBytes), r.KV, r.KVBytesPerToken)
	fmt.Fprintf(&b, "%s of %d tokens; ", counted(r.Sequences, "sequence"), r.Context)
	if r.Measured {
		b.WriteString("speeds and links as the nodes measured them, without an efficiency factor")
	} else {
		fmt.Fprintf(&b, "kernels reach %.0f%%", 100*r.Efficiency)
	}
	if r.Link != "" {
		fmt.Fprintf(&b, "; link %s", r.Link)
	}
	b.WriteString("\n")
	if r.Positions > 0 && r.Context > r.Positions {
		fmt.Fprintf(&b, "Note: the model was made for contexts of up to %d tokens.\n", r.Positions)
	}
	b.WriteString("\nPlacement, with all of the context:\n" + planPlacement(r) + "\n")
	for _, m := range r.Modes {
		if m.Fits {
			continue
		}
		beside := ""
		if len(m.Beside) > 0 {
			beside = fmt.Sprintf(" beside %s, with the weights for one and the KV cache for the other at once", strings.Join(m.Beside, " and "))
		}
		fmt.Fprintf(&b, "%s does not fit%s. It would with\n  - %s\n", m.Mode, beside, strings.Join(m.Advice, "\n  - "))
	}
	if r.Fits() {
		fmt.Fprintf(&b, "\nPredicted speed, tokens/s%s:\n%s\n", ofHowMany(r), planSpeeds(r))
	}
	for _, c := range r.Crossovers {
		switch {
		case c.Within && c.Context == 0:
			fmt.Fprintf(&b, "%s is no slower than %s at any context.\n", c.To, c.From)
		case c.Within:
			fmt.Fprintf(&b, "%s decodes faster than %s from %d tokens on.\n", c.To, c.From, c.Context)
		default:
			fmt.Fprintf(&b, "%s does not overtake %s within the context.\n", c.To, c.From)
		}
	}
	return b.String()
}

// ofHowMany says whose tokens are counted, if there are several sequences.
func ofHowMany(r *plan.Report) string {
	if r.Sequences == 1 {
		return ""
	}
	return fmt.Sprintf(", of %d sequences that decode at the same time, all together and each; prefill of one", r.Sequences)
}

// storage is a format of weights for people: "in q4", "as stored".
func storage(w plan.Weights) string {
	if w == plan.WeightsStored {
		return "as stored"
	}
	return "in " + w.String()
}

// planColumns aligns numbers to the right, and names to the left.
var planColumns = func() []table.ColumnConfig {
	var cs []table.ColumnConfig
	for i := 3; i <= 10; i++ {
		cs = append(cs, table.ColumnConfig{Number: i, Align: text.AlignRight})
	}
	return cs
}()

// planPlacement is what every node holds in every mode, and what it lacks where it does not fit.
func planPlacement(r *plan.Report) string {
	t := newTable("mode", "node", "layers", "tokens", "weights", "KV", "rest", "needs", "has", "lacks")
	t.SetColumnConfigs(planColumns)
	for _, m := range r.Modes {
		for _, n := range m.Nodes {
			layers, tokens, lacks := "none", "all", "-"
			if n.Layers > 0 {
				layers = fmt.Sprintf("%d-%d (%d)", n.First, n.First+n.Layers-1, n.Layers)
			}
			switch {
			case len(m.Beside) > 0: // what several modes take at once
				tokens = "-"
			case m.Mode != placement.Pipeline.String():
				tokens = fmt.Sprintf("%.1f%%", 100*n.Tokens)
			}
			if n.Lacks > 0 {
				lacks = placement.FormatBytes(n.Lacks)
			}
			t.AppendRow(table.Row{m.Mode, n.Node, layers, tokens, placement.FormatBytes(n.Weights), placement.FormatBytes(n.KV), placement.FormatBytes(n.Rest),
				placement.FormatBytes(n.Needs), placement.FormatBytes(n.Has), lacks})
		}
		t.AppendSeparator()
	}
	return t.Render()
}

// planSpeeds is decode and prefill over context, a pair of columns for each mode that fits.
func planSpeeds(r *plan.Report) string {
	header := []any{"context"}
	var fit []plan.ModeReport
	for _, m := range r.Modes {
		if m.Fits {
			fit = append(fit, m)
			header = append(header, m.Mode+" decode")
			if r.Sequences > 1 {
				header = append(header, "each")
			}
			header = append(header, "prefill")
		}
	}
	t := newTable(header...)
	rightAligned(t, len(header))
	for i, s := range fit[0].Speeds {
		row := table.Row{s.Context}
		for _, m := range fit {
			row = append(row, fmt.Sprintf("%.1f", m.Speeds[i].Decode))
			if r.Sequences > 1 {
				row = append(row, fmt.Sprintf("%.1f", m.Speeds[i].Each))
			}
			row = append(row, fmt.Sprintf("%.0f", m.Speeds[i].Prefill))
		}
		t.AppendRow(row)
	}
	return t.Render() + "\n\n" + planSteps(fit)
}

// planSteps is what a decode step at the full context is made of, and how much of prefill is waiting for
// other nodes.
func planSteps(fit []plan.ModeReport) string {
	header := []any{"mode", "weights", "KV", "exchanges", "hand-over", "step", "one exchange", "prefill waits"}
	several := fit[0].Speeds[0].Each > 0
	if several {
		header = append(header, "sequences in it", "a token of each")
	}
	t := newTable(header...)
	rightAligned(t, len(header))
	full := 0
	for _, m := range fit {
		s := m.Speeds[len(m.Speeds)-1]
		full = s.Context
		row := table.Row{m.Mode, milliseconds(s.Step.Weights), milliseconds(s.Step.KV), milliseconds(s.Step.Exchange), milliseconds(s.Step.HandOver),
			milliseconds(s.Step.Seconds()), microseconds(m.Exchange), percent(s.Waiting)}
		if several {
			row = append(row, fmt.Sprintf("%.3g", s.Rows), milliseconds(1/s.Each))
		}
		t.AppendRow(row)
	}
	return fmt.Sprintf("A decode step at %d tokens:\n%s", full, t.Render())
}
