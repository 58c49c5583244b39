package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/orrery-ai/orrery/bench"
)

// decodingReport is what bench decode found.
type decodingReport struct {
	Model       string        `json:"model"`
	Nodes       int           `json:"nodes"`
	Threads     int           `json:"threads_of_each,omitempty"`
	Batch       int           `json:"batch"`
	Processors  [][]int       `json:"processors,omitempty"` // [Nodes] that each keeps to
	ReadAlone   float64       `json:"read_alone_bytes_per_second"`
	ReadAll     float64       `json:"read_together_bytes_per_second"`
	Unpredicted string        `json:"unpredicted,omitempty"` // why nothing is predicted
	Rows        []decodingRow `json:"rows"`

	measured []bench.Decoded
	notes    []string // what a reader should know
}

// decodingRow is one mode at one depth.
type decodingRow struct {
	Depth     int          `json:"depth"`
	Mode      string       `json:"mode"`
	Speed     bench.Spread `json:"tokens_per_second"`
	Step      float64      `json:"step_seconds"`
	Bytes     int64        `json:"step_bytes,omitempty"` // none, as of what follows, with several sequences
	Rate      float64      `json:"read_bytes_per_second,omitempty"`
	Share     float64      `json:"share_of_read,omitempty"`               // of what was read just before each run or, if that was not measured, of ReadAll
	Predicted float64      `json:"predicted_tokens_per_second,omitempty"` // 0: not predicted
	Ratio     float64      `json:"measured_over_predicted,omitempty"`
}

func (r *decodingReport) add(measured []bench.Decoded) {
	r.measured = append(r.measured, measured...)
	for _, d := range measured {
		row := decodingRow{Depth: d.Depth, Mode: d.Mode.String(), Speed: d.Speed, Step: d.Seconds(), Bytes: d.StepBytes, Rate: d.ReadRate(),
			Share: d.ReadRate() / r.ReadAll, Predicted: d.Predicted}
		if d.OfRead.Median > 0 {
			row.Share = d.OfRead.Median
		}
		if d.Predicted > 0 {
			row.Ratio = d.Speed.Median / d.Predicted
		}
		r.Rows = append(r.Rows, row)
	}
}

// title is what was measured, in a line.
func (r *decodingReport) title() string {
	what := counted(r.Nodes, "node")
	if r.Threads > 0 {
		what += " of " + counted(r.Threads, "thread")
	}
	if r.Batch > 1 {
		return fmt.Sprintf("%s on %s: decoding %s over depth", r.Model, what, counted(r.Batch, "sequence"))
	}
	return fmt.Sprintf("%s on %s: decoding over depth", r.Model, what)
}

func (r *decodingReport) text() string {
	w := new(strings.Builder)
	fmt.Fprintf(w, "%s\n", r.title())
	for _, note := range r.notes {
		fmt.Fprintf(w, "%s\n", note)
	}
	if r.Nodes == 1 {
		fmt.Fprintf(w, "A plain read reaches %s.\n", gigabytes(r.ReadAll))
	} else {
		fmt.Fprintf(w, "A plain read reaches %s on one node and %s on all at once.\n", gigabytes(r.ReadAlone), gigabytes(r.ReadAll))
	}
	if r.Unpredicted != "" {
		fmt.Fprintf(w, "Nothing is predicted: %s\n", r.Unpredicted)
	}
	fmt.Fprintf(w, "%s\n%s\n", r.table(), r.ofWhat())
	return w.String()
}

// ofWhat says what shares are of.
func (r *decodingReport) ofWhat() string {
	if r.Batch > 1 {
		return "A step is the time between two tokens, of whichever sequence. What was read depends on how many of them shared the weights."
	}
	if len(r.measured) > 0 && r.measured[0].OfRead.Median > 0 {
		return "Share is of a plain read by as many threads just before each run: the median."
	}
	return "Share is of the plain read on all nodes at once."
}

func (r *decodingReport) table() string {
	t := newTable("depth", "mode", "tokens/s", "slowest", "fastest", "a step", "GB/s", "share", "predicted", "ratio")
	rightAligned(t, 10)
	for i, row := range r.Rows {
		if i > 0 && r.Rows[i-1].Depth != row.Depth {
			t.AppendSeparator()
		}
		predicted, ratio := "-", "-"
		if row.Predicted > 0 {
			predicted, ratio = fmt.Sprintf("%.1f", row.Predicted), fmt.Sprintf("%.2f", row.Ratio)
		}
		rate, share := "-", "-"
		if row.Bytes > 0 {
			rate, share = fmt.Sprintf("%.1f", row.Rate/1e9), percent(row.Share)
		}
		t.AppendRow(table.Row{row.Depth, row.Mode, fmt.Sprintf("%.1f", row.Speed.Median), fmt.Sprintf("%.1f", row.Speed.Min), fmt.Sprintf("%.1f", row.Speed.Max),
			shortTime(row.Step), rate, share, predicted, ratio})
	}
	return t.Render()
}

func (r *decodingReport) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	if err := c.Write([]string{"depth", "mode", "tokens_per_second", "min", "max", "step_seconds", "step_bytes", "read_bytes_per_second", "share_of_read",
		"predicted_tokens_per_second", "measured_over_predicted"}); err != nil {
		return err
	}
	for _, row := range r.Rows {
		if err := c.Write([]string{strconv.Itoa(row.Depth), row.Mode, number(row.Speed.Median), number(row.Speed.Min), number(row.Speed.Max), number(row.Step),
			known(float64(row.Bytes)), known(row.Rate), known(row.Share), known(row.Predicted), known(row.Ratio)}); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}
