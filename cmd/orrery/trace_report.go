package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/trace"
)

// traceReport is what the traces of some modes say.
type traceReport struct {
	Model   string       `json:"model"`
	Synch   string       `json:"synch"`
	Threads int          `json:"threads_of_each,omitempty"`
	Notes   []string     `json:"notes,omitempty"` // what a reader should know
	Modes   []modeReport `json:"modes"`
	Files   []string     `json:"files,omitempty"`
}

// modeReport is one generation. Times are of a token of decode, where nothing else is said.
type modeReport struct {
	Mode          string           `json:"mode"`
	Tokens        int              `json:"tokens"` // of decode
	Token         typical          `json:"token"`
	Device        typical          `json:"device"`
	Orchestration typical          `json:"orchestration"`
	Driver        typical          `json:"driver"`
	Nodes         []nodeShare      `json:"nodes"`
	Prefill       []prefillReport  `json:"prefill,omitempty"`
	Transfers     []transferReport `json:"transfers,omitempty"`
	Dropped       uint64           `json:"dropped_spans,omitempty"`
}

// typical is the median and the 99th percentile of some times, in seconds.
type typical struct {
	Median float64 `json:"median_seconds"`
	P99    float64 `json:"p99_seconds"`
}

func typicalOf(ds []time.Duration) typical {
	if len(ds) == 0 {
		return typical{}
	}
	slices.Sort(ds)
	return typical{percentile(ds, 0.5).Seconds(), percentile(ds, 0.99).Seconds()}
}

// nodeShare is where a node's time goes in a token.
type nodeShare struct {
	Node       string  `json:"node"`
	Compute    typical `json:"compute"`
	Merge      typical `json:"merge"`
	Send       typical `json:"send"`
	Wait       typical `json:"wait"`
	Other      typical `json:"other"`
	Idle       typical `json:"idle"`
	ClockError float64 `json:"clock_error_seconds"`
}

// prefillReport is where a node's time went while the prompt was read, in seconds.
type prefillReport struct {
	Node    string  `json:"node"`
	Tokens  int     `json:"tokens"`
	Took    float64 `json:"seconds"`
	Compute float64 `json:"compute_seconds"`
	Merge   float64 `json:"merge_seconds"`
	Send    float64 `json:"send_seconds"`
	Wait    float64 `json:"wait_seconds"`
	Other   float64 `json:"other_seconds"`
	Idle    float64 `json:"idle_seconds"`
}

// transferReport is how KV blocks went from one node to another.
type transferReport struct {
	From  string  `json:"from"`
	To    string  `json:"to"`
	Lane  string  `json:"lane"`
	Bytes int64   `json:"bytes"`
	Took  float64 `json:"seconds"` // under way
	// Shares of that time, from 0 to 1.
	Sender   float64 `json:"sender_computed"`
	Receiver float64 `json:"receiver_computed"`
	Hidden   float64 `json:"hidden"` // one of them computed
}

func (r *traceReport) add(mode orrery.Mode, tr *trace.Trace) {
	decoding := tr.Decoding()
	m := modeReport{Mode: mode.String(), Tokens: len(decoding), Dropped: tr.Dropped()}
	of := func(what func(*trace.Token) time.Duration) typical {
		var ds []time.Duration
		for i := range decoding {
			ds = append(ds, what(&decoding[i]))
		}
		return typicalOf(ds)
	}
	m.Token = of(func(t *trace.Token) time.Duration { return t.Took })
	m.Device = of(func(t *trace.Token) time.Duration { return t.Device })
	m.Orchestration = of((*trace.Token).Orchestration)
	m.Driver = of(func(t *trace.Token) time.Duration { return t.Driver })
	for n, node := range tr.Nodes {
		m.Nodes = append(m.Nodes, nodeShare{Node: node.Name, ClockError: node.ClockError.Seconds(),
			Compute: of(func(t *trace.Token) time.Duration { return t.Nodes[n].Compute }),
			Merge:   of(func(t *trace.Token) time.Duration { return t.Nodes[n].Merge }),
			Send:    of(func(t *trace.Token) time.Duration { return t.Nodes[n].Send }),
			Wait:    of(func(t *trace.Token) time.Duration { return t.Nodes[n].Wait }),
			Other:   of(func(t *trace.Token) time.Duration { return t.Nodes[n].Other }),
			Idle:    of(func(t *trace.Token) time.Duration { return t.Nodes[n].Idle })})
	}
	for _, p := range tr.Prefills() {
		for n, s := range p.Nodes {
			m.Prefill = append(m.Prefill, prefillReport{tr.Nodes[n].Name, p.Tokens, p.Took.Seconds(), s.Compute.Seconds(), s.Merge.Seconds(), s.Send.Seconds(),
				s.Wait.Seconds(), s.Other.Seconds(), s.Idle.Seconds()})
		}
	}
	for _, t := range tr.Transfers() {
		share := func(d time.Duration) float64 { return float64(d) / float64(max(t.Took, 1)) }
		m.Transfers = append(m.Transfers, transferReport{tr.Nodes[t.From].Name, tr.Nodes[t.To].Name, t.Lane.String(), t.Bytes, t.Took.Seconds(),
			share(t.Sender), share(t.Receiver), share(t.Took - t.Exposed)})
	}
	r.Modes = append(r.Modes, m)
}

// text is the report for people.
func (r *traceReport) text() string {
	var b strings.Builder
	what := counted(len(r.Modes[0].Nodes), "node")
	if r.Threads > 0 {
		what += " of " + counted(r.Threads, "thread")
	}
	fmt.Fprintf(&b, "%s on %s, synch %s\n", r.Model, what, r.Synch)
	for _, note := range r.Notes {
		fmt.Fprintln(&b, note)
	}
	fmt.Fprintf(&b, "\nA token of decode, median / 99th percentile, in ms. Orchestration is what it takes beyond the longest path of computing:\n%s\n", r.tokens())
	fmt.Fprintf(&b, "\nWhat each node does in that time, in ms:\n%s\n", r.shares())
	if t := r.prefills(); t != "" {
		fmt.Fprintf(&b, "\nWhat each node did while the prompt was read, in ms:\n%s\n", t)
	}
	if t := r.transfers(); t != "" {
		fmt.Fprintf(&b, "\nKV blocks that were sent, and in how much of the time that they were on their way, in ms, their sender, their receiver, or one of them computed:\n%s\n", t)
	}
	for _, m := range r.Modes {
		if m.Dropped > 0 {
			fmt.Fprintf(&b, "In mode %s %d spans are missing: there was no room for them. Trace fewer tokens, or ask for more --spans.\n", m.Mode, m.Dropped)
		}
	}
	for _, f := range r.Files {
		fmt.Fprintf(&b, "%s: open it in ui.perfetto.dev or chrome://tracing\n", f)
	}
	return b.String()
}

func (t typical) String() string { return inMs(t.Median) + " / " + inMs(t.P99) }

func inMs(seconds float64) string { return fmt.Sprintf("%.2f", 1e3*seconds) }

func (r *traceReport) tokens() string {
	t := newTable("mode", "tokens", "a token", "device", "orchestration", "by the driver")
	rightAligned(t, 6)
	for _, m := range r.Modes {
		t.AppendRow(table.Row{m.Mode, m.Tokens, m.Token, m.Device, m.Orchestration, m.Driver})
	}
	return t.Render()
}

func (r *traceReport) shares() string {
	t := newTable("mode, node", "compute", "merge", "send", "wait", "other", "idle", "clock ±")
	rightAligned(t, 8)
	for i, m := range r.Modes {
		if i > 0 {
			t.AppendSeparator()
		}
		for n, s := range m.Nodes {
			t.AppendRow(table.Row{firstOf(m.Mode, n) + s.Node, s.Compute, s.Merge, s.Send, s.Wait, s.Other, s.Idle, inMs(s.ClockError)})
		}
	}
	return t.Render()
}

// firstOf is the mode before the first of its rows, and as much space before the others.
func firstOf(mode string, row int) string {
	if row > 0 {
		mode = ""
	}
	return fmt.Sprintf("%-8s ", mode)
}

func (r *traceReport) prefills() string {
	t := newTable("mode, node", "tokens", "took", "compute", "merge", "send", "wait", "other", "idle")
	rightAligned(t, 9)
	for _, m := range r.Modes {
		for n, p := range m.Prefill {
			t.AppendRow(table.Row{firstOf(m.Mode, n) + p.Node, p.Tokens, inMs(p.Took), inMs(p.Compute), inMs(p.Merge), inMs(p.Send), inMs(p.Wait), inMs(p.Other), inMs(p.Idle)})
		}
	}
	if t.Length() == 0 {
		return ""
	}
	return t.Render()
}

func (r *traceReport) transfers() string {
	t := newTable("mode, from and to", "lane", "MiB", "MB/s", "under way", "sender", "receiver", "hidden")
	rightAligned(t, 8)
	for _, m := range r.Modes {
		for n, x := range m.Transfers {
			rate := "-" // of what took less than clocks are off by
			if x.Took > 0 {
				rate = fmt.Sprintf("%.0f", float64(x.Bytes)/1e6/x.Took)
			}
			t.AppendRow(table.Row{firstOf(m.Mode, n) + x.From + " → " + x.To, x.Lane, fmt.Sprintf("%.1f", float64(x.Bytes)/(1<<20)),
				rate, inMs(x.Took), percent(x.Sender), percent(x.Receiver), percent(x.Hidden)})
		}
	}
	if t.Length() == 0 {
		return ""
	}
	return t.Render()
}

// writeCSV writes a row for each figure: of a node, or of the whole cluster if there is none.
func (r *traceReport) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"mode", "node", "what", "median", "p99"}}
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
	for _, m := range r.Modes {
		add := func(node, what string, t typical) {
			rows = append(rows, []string{m.Mode, node, what, number(t.Median), number(t.P99)})
		}
		one := func(node, what string, v float64) {
			rows = append(rows, []string{m.Mode, node, what, number(v), ""})
		}
		add("", "token_seconds", m.Token)
		add("", "device_seconds", m.Device)
		add("", "orchestration_seconds", m.Orchestration)
		add("", "driver_seconds", m.Driver)
		for _, s := range m.Nodes {
			add(s.Node, "compute_seconds", s.Compute)
			add(s.Node, "merge_seconds", s.Merge)
			add(s.Node, "send_seconds", s.Send)
			add(s.Node, "wait_seconds", s.Wait)
			add(s.Node, "other_seconds", s.Other)
			add(s.Node, "idle_seconds", s.Idle)
		}
		for _, p := range m.Prefill {
			one(p.Node, "prefill_seconds", p.Took)
			one(p.Node, "prefill_compute_seconds", p.Compute)
			one(p.Node, "prefill_wait_seconds", p.Wait)
		}
		for _, x := range m.Transfers {
			what := x.Lane + "_to_" + x.To
			one(x.From, what+"_bytes", float64(x.Bytes))
			one(x.From, what+"_seconds", x.Took)
			one(x.From, what+"_sender_computed", x.Sender)
			one(x.From, what+"_receiver_computed", x.Receiver)
			one(x.From, what+"_hidden", x.Hidden)
		}
	}
	return c.WriteAll(rows)
}
