package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/placement"
)

// demoReport is what the demo found.
type demoReport struct {
	Nodes          []demoNode `json:"nodes"`
	DocumentTokens int        `json:"document_tokens"`
	Runs           []demoRun  `json:"runs"`
	AllRight       bool       `json:"all_answers_right"`
	SameTokens     bool       `json:"same_tokens_everywhere"`
	Seconds        float64    `json:"seconds"`
}

type demoNode struct {
	Name      string  `json:"name"`
	Memory    int64   `json:"memory_bytes"`
	Bandwidth float64 `json:"bandwidth_bytes_per_second"`
	Cores     int     `json:"cores"`
}

type demoRun struct {
	Mode              string         `json:"mode"`
	Answers           []demoAnswer   `json:"answers,omitempty"`
	SameTokens        bool           `json:"same_tokens_as_first"`
	PrefillRate       float64        `json:"prefill_tokens_per_second,omitempty"` // 0: it went on from what another run had read
	TTFTSeconds       float64        `json:"ttft_seconds,omitempty"`
	DecodeRate        float64        `json:"decode_tokens_per_second"`
	BytesPerToken     float64        `json:"bytes_exchanged_per_token,omitempty"`
	MedianGapSeconds  float64        `json:"median_gap_seconds"`
	LongestGapSeconds float64        `json:"longest_gap_seconds"`
	Switches          []switchReport `json:"switches,omitempty"`
	Gaps              []float64      `json:"longest_gap_around_switch_seconds,omitempty"`
	Auto              []choiceReport `json:"auto,omitempty"`
}

type demoAnswer struct {
	Question string `json:"question"`
	Answer   string `json:"answer"`
	Right    bool   `json:"right"`
}

// showPlacement prints what is where, at the full context.
func (d *demo) showPlacement() {
	for _, n := range d.cluster.Nodes() {
		d.report.Nodes = append(d.report.Nodes, demoNode{Name: n.Name, Memory: n.Memory, Bandwidth: n.Bandwidth, Cores: n.Cores})
	}
	t := newTable("node", "cores", "memory", "bandwidth")
	rightAligned(t, 4)
	for _, n := range d.report.Nodes {
		t.AppendRow(table.Row{n.Name, n.Cores, placement.FormatBytes(n.Memory), gigabytes(n.Bandwidth)})
	}
	fmt.Fprintf(d.out, "\n%s\n\nWhat each node holds, at the full context of %d tokens:\n%s\n", t.Render(), d.model.Context(), placementTable(d.model.Plans()))
}

// placementTable shows the plans of the modes one below the other, and says why a mode is not possible.
func placementTable(plans *placement.Reservation) string {
	t := newTable("mode, node", "layers", "tokens", "weights", "KV cache", "rest", "sum")
	rightAligned(t, 7)
	var refused []string
	for _, mode := range []orrery.Mode{orrery.Pipeline, orrery.Pooled, orrery.Ring} {
		p := plans.Plans[mode]
		if p == nil {
			if why := plans.Refused[mode]; why != nil {
				refused = append(refused, fmt.Sprintf("%v is not possible: %v", mode, why))
			}
			continue
		}
		for i, s := range p.Shares {
			name, layers, tokens := "", "none", "all"
			if i == 0 {
				name = mode.String()
			}
			if s.Layers.End > s.Layers.First {
				layers = fmt.Sprintf("%d-%d", s.Layers.First, s.Layers.End-1)
			}
			if mode != orrery.Pipeline {
				tokens = percent(s.TokenWeight)
			}
			t.AppendRow(table.Row{fmt.Sprintf("%-8s %s", name, s.Node), layers, tokens, placement.FormatBytes(s.Weights), placement.FormatBytes(s.KV),
				placement.FormatBytes(s.Rest), placement.FormatBytes(s.Needs())})
		}
		t.AppendSeparator()
	}
	return strings.Join(append([]string{t.Render()}, refused...), "\n")
}

// close prints the tables and the verdict, and is an error if that is bad.
func (d *demo) close() error {
	r := &d.report
	r.AllRight, r.SameTokens = true, true
	wrong, switched := 0, true
	for _, run := range r.Runs {
		for _, a := range run.Answers {
			if !a.Right {
				wrong++
			}
		}
		r.SameTokens = r.SameTokens && run.SameTokens
		for _, s := range run.Switches {
			switched = switched && s.Error == ""
		}
	}
	last := r.Runs[len(r.Runs)-1]
	if d.cmd.Mode == 0 {
		switched = switched && len(last.Switches) == 3
	}
	r.AllRight = wrong == 0
	if d.cmd.Format == "json" {
		if err := encodeJSON(os.Stdout, r); err != nil {
			return err
		}
	} else {
		d.printTables(wrong, switched)
	}
	if wrong > 0 || !r.SameTokens || !switched {
		return errSaidAlready
	}
	return nil
}

func (d *demo) printTables(wrong int, switched bool) {
	r := &d.report
	t := newTable("mode", "prefill\ntokens/s", "first\ntoken", "decode\ntokens/s", "exchanged\na token", "answers\nright", "same\ntokens")
	rightAligned(t, 7)
	for _, run := range r.Runs {
		right := 0
		for _, a := range run.Answers {
			if a.Right {
				right++
			}
		}
		prefill, first, answers, exchanged := "-", "-", "-", "-"
		if run.PrefillRate > 0 {
			prefill, first = fmt.Sprintf("%.0f", run.PrefillRate), fmt.Sprintf("%.2f s", run.TTFTSeconds)
			answers = fmt.Sprintf("%d/%d", right, len(run.Answers))
		}
		if run.BytesPerToken > 0 {
			exchanged = fmt.Sprintf("%.1f KiB", run.BytesPerToken/1024)
		}
		same := "yes"
		if !run.SameTokens {
			same = "NO"
		}
		t.AppendRow(table.Row{run.Mode, prefill, first, fmt.Sprintf("%.0f", run.DecodeRate), exchanged, answers, same})
	}
	fmt.Fprintf(d.out, "\n%s\n", t.Render())
	last := r.Runs[len(r.Runs)-1]
	s := newTable("switch", "moved", "in effect\nafter", "tokens\nmeanwhile", "longest\ngap", "median\ngap")
	rightAligned(s, 6)
	for i, w := range last.Switches {
		s.AppendRow(table.Row{w.From + " → " + w.To, placement.FormatBytes(w.Bytes), milliseconds(w.Seconds), w.EffectiveAt - w.AskedAt,
			milliseconds(last.Gaps[i]), milliseconds(last.MedianGapSeconds)})
	}
	if len(last.Switches) > 0 {
		fmt.Fprintf(d.out, "%s\n", s.Render())
	}
	if len(last.Auto) > 0 {
		fmt.Fprintf(d.out, "%s\n", choiceTable(last.Auto))
	}
	fmt.Fprintln(d.out)
	verdict := "Every answer was right"
	if wrong > 0 {
		verdict = fmt.Sprintf("%d answers were WRONG", wrong)
	}
	if r.SameTokens {
		verdict += ",\nand the greedy tokens were the same in all modes"
		if len(last.Switches) > 0 {
			verdict += " and across the switches"
		}
	} else {
		verdict += ",\nand the greedy tokens were NOT the same everywhere"
	}
	if !switched {
		verdict += "; a switch did NOT take effect"
	}
	fmt.Fprintf(d.out, "%s.\n%.1f s in all.\n", verdict, r.Seconds)
}
