package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/orrery-ai/orrery/bench"
)

// poolReport is what bench pool found.
type poolReport struct {
	Model string    `json:"model"`
	Notes []string  `json:"notes,omitempty"` // what a reader should know
	Rows  []poolRow `json:"rows"`
}

// poolRow is one mode at one depth on a number of nodes.
type poolRow struct {
	Nodes     int          `json:"nodes"`
	Depth     int          `json:"depth"`
	Mode      string       `json:"mode"`
	Speed     bench.Spread `json:"tokens_per_second"`
	Predicted bench.Spread `json:"predicted_tokens_per_second"`
	Ratio     bench.Spread `json:"measured_over_predicted"`
	Runs      []bench.Run  `json:"runs"`
}

func (r *poolReport) add(nodes int, all []bench.Compared) {
	for _, c := range all {
		r.Rows = append(r.Rows, poolRow{Nodes: nodes, Depth: c.Depth, Mode: c.Mode.String(), Speed: c.Speed(), Predicted: c.Predicted(), Ratio: c.Ratio(), Runs: c.Runs})
	}
}

func (r *poolReport) title() string {
	return r.Model + " on nodes of one thread: decoding over depth"
}

// within is how many rows were measured at no more than some share beside what was predicted.
func (r *poolReport) within(share float64) int {
	n := 0
	for _, row := range r.Rows {
		if math.Abs(row.Ratio.Median-1) <= share {
			n++
		}
	}
	return n
}

// curves is a curve for each mode on each number of nodes.
func (r *poolReport) curves() (all []bench.Curve) {
	for i, row := range r.Rows {
		name := counted(row.Nodes, "node") + ", " + row.Mode
		p := bench.Point{Depth: row.Depth, Speed: row.Speed, Predicted: row.Predicted.Median}
		found := false
		for j := range all {
			if found = all[j].Name == name; found {
				all[j].Points = append(all[j].Points, p)
				break
			}
		}
		if i == 0 || !found {
			all = append(all, bench.Curve{Name: name, Points: []bench.Point{p}})
		}
	}
	return all
}

func (r *poolReport) text() string {
	w := new(strings.Builder)
	fmt.Fprintf(w, "%s\n", r.title())
	for _, note := range r.Notes {
		fmt.Fprintf(w, "%s\n", note)
	}
	fmt.Fprintf(w, "%s\nMedians of the rounds, and their extremes. Of %d cases %d are within 15%% of what was predicted, %d within 20%%.\n",
		r.table(), len(r.Rows), r.within(0.15), r.within(0.2))
	return w.String()
}

func (r *poolReport) table() string {
	t := newTable("nodes", "depth", "mode", "tokens/s", "slowest", "fastest", "predicted", "measured / predicted", "lowest", "highest")
	rightAligned(t, 10)
	for i, row := range r.Rows {
		if i > 0 && (r.Rows[i-1].Depth != row.Depth || r.Rows[i-1].Nodes != row.Nodes) {
			t.AppendSeparator()
		}
		speed := func(v float64) string { return fmt.Sprintf("%.1f", v) }
		ratio := func(v float64) string { return fmt.Sprintf("%.2f", v) }
		t.AppendRow(table.Row{row.Nodes, row.Depth, row.Mode, speed(row.Speed.Median), speed(row.Speed.Min), speed(row.Speed.Max),
			speed(row.Predicted.Median), ratio(row.Ratio.Median), ratio(row.Ratio.Min), ratio(row.Ratio.Max)})
	}
	return t.Render()
}

func (r *poolReport) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	head := []string{"nodes", "depth", "mode"}
	for _, what := range []string{"tokens_per_second", "predicted_tokens_per_second", "measured_over_predicted"} {
		head = append(head, what, what+"_min", what+"_max")
	}
	if err := c.Write(head); err != nil {
		return err
	}
	for _, row := range r.Rows {
		line := []string{strconv.Itoa(row.Nodes), strconv.Itoa(row.Depth), row.Mode}
		for _, s := range []bench.Spread{row.Speed, row.Predicted, row.Ratio} {
			line = append(line, numbers(s)...)
		}
		if err := c.Write(line); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}
