package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport"
)

type nodesCmd struct {
	clusterFlags `embed:"" group:"Which nodes:"`
	Links        bool   `help:"Measure the ways between them too." default:"true" negatable:""`
	Format       string `help:"What is printed: table, json or csv." enum:"table,json,csv" default:"table"`
}

// Help is shown below the flags' summary.
func (nodesCmd) Help() string {
	return `Examples:
  orrery nodes --join 192.168.1.10:7946
  orrery nodes --nodes 3 --format json

Memory is what a node offers, free what of that no model was promised. Speeds are
what each node measured with its own kernels, of one token from memory and from
the caches, and of a prefill chunk. A turn is what a step takes besides its
operations, on a GPU until it begins and until the host has the result. An
exchange is a KiB there and back: busy right after another one, paused when the
other node had nothing to do for half a millisecond, as in decode. Over says what
small messages between the two take, and shared how much memory the two share for
that and for lanes of their GPUs. Without --join or --nodes it is about this
machine.`
}

// Validate looks at the flags together.
func (c *nodesCmd) Validate() error { return cmp.Or(c.check(), c.checkConnections()) }

// AfterApply looks at the files that the flags name.
func (c *nodesCmd) AfterApply() error { return c.TLS.load() }

// linksTimeout bounds the measuring of all links: a few rounds, each below a second unless something is wrong.
const linksTimeout = time.Minute

// Run asks the nodes and prints what they say.
func (c *nodesCmd) Run(ctx context.Context, log *slog.Logger) error {
	cluster, end, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, linksTimeout)
	defer cancel()
	var links []orrery.MeasuredLink
	if c.Links {
		if links, err = cluster.MeasureLinks(ctx); err != nil {
			return err
		}
	}
	status, err := cluster.Status(ctx) // with the ways by which links were measured
	if err != nil {
		return err
	}
	return writeReport(os.Stdout, c.Format, newNodesReport(status, links))
}

// nodesReport is what is printed.
type nodesReport struct {
	Nodes []nodeReport `json:"nodes"`
	Links []linkReport `json:"links"`
}

type nodeReport struct {
	Name      string           `json:"name"`
	Transport string           `json:"address"`
	Device    string           `json:"device"`
	Cores     int              `json:"cores"`
	Machine   string           `json:"machine"` // the same for nodes of one machine
	CPUs      string           `json:"cpus"`
	Memory    int64            `json:"memory_bytes"`
	Free      int64            `json:"free_bytes"`
	Short     int64            `json:"short_bytes,omitempty"` // of what it has promised, that other programs took
	Bandwidth float64          `json:"read_bytes_per_second"`
	Rates     *placement.Rates `json:"rates,omitempty"` // none if they were not measured
	Version   string           `json:"version"`
}

type linkReport struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Busy    float64 `json:"exchange_busy_seconds"`
	Paused  float64 `json:"exchange_paused_seconds"`
	Sending float64 `json:"sending_seconds"`
	Ahead   float64 `json:"exchange_of_devices_seconds,omitempty"`
	Rate    float64 `json:"bytes_per_second"`
	Guessed bool    `json:"guessed"` // not measured: the medians of the others
	Over    string  `json:"over"`    // what small messages take: connection, shared memory or RDMA; empty if the two have not exchanged any
	Memory  int64   `json:"shared_bytes"`
}

func newNodesReport(status []orrery.NodeStatus, links []orrery.MeasuredLink) *nodesReport {
	r := &nodesReport{Nodes: []nodeReport{}, Links: []linkReport{}}
	for _, n := range status {
		report := nodeReport{Name: n.Name, Transport: n.Transport, Device: n.Device, Cores: n.Cores, Machine: n.Machine, CPUs: n.CPUs,
			Memory: n.Memory, Free: n.Free, Short: n.Short, Bandwidth: n.Bandwidth, Version: n.Version}
		if n.Rates.Known() {
			report.Rates = &n.Rates
		}
		r.Nodes = append(r.Nodes, report)
	}
	ways := map[[2]string]transport.Way{}
	for _, n := range status {
		for _, w := range n.Ways {
			ways[[2]string{n.Name, w.Peer}] = w
		}
	}
	for _, l := range links {
		w := ways[[2]string{l.From, l.To}]
		r.Links = append(r.Links, linkReport{From: l.From, To: l.To, Busy: l.Busy.Seconds(), Paused: l.Paused.Seconds(), Sending: l.Sending.Seconds(),
			Ahead: l.Ahead.Seconds(), Rate: l.Rate, Guessed: l.Guessed, Over: string(w.Over), Memory: w.Memory})
	}
	return r
}

// writeCSV is a line for each thing measured: of a node, or from a node to a peer.
func (r *nodesReport) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"node", "peer", "measure", "value"}}
	add := func(node, peer, measure string, value float64) {
		rows = append(rows, []string{node, peer, measure, number(value)})
	}
	for _, n := range r.Nodes {
		add(n.Name, "", "memory_bytes", float64(n.Memory))
		add(n.Name, "", "free_bytes", float64(n.Free))
		if n.Short > 0 {
			add(n.Name, "", "short_bytes", float64(n.Short))
		}
		add(n.Name, "", "read_bytes_per_second", n.Bandwidth)
		if k := n.Rates; k != nil {
			add(n.Name, "", "weights_from_memory_bytes_per_second", k.Memory.Layer.Rate())
			add(n.Name, "", "weights_from_caches_bytes_per_second", k.Cache.Layer.Rate())
			add(n.Name, "", "kv_from_memory_bytes_per_second", k.Memory.Attend.Rate())
			add(n.Name, "", "kv_from_caches_bytes_per_second", k.Cache.Attend.Rate())
			add(n.Name, "", "prefill_product_operations_per_second", k.PrefillProduct)
			add(n.Name, "", "prefill_quantized_product_operations_per_second", k.PrefillPacked)
			add(n.Name, "", "prefill_attention_operations_per_second", k.PrefillAttend)
			for i, bits := range placement.PackedBits {
				add(n.Name, "", fmt.Sprintf("kv_q%d_times_as_long_a_byte", bits), k.Packed[i])
			}
			add(n.Name, "", "turn_seconds", k.Turn)
			if k.Record > 0 {
				add(n.Name, "", "recording_a_layer_seconds", k.Record)
				add(n.Name, "", "recording_a_step_besides_seconds", k.Begin)
			}
			if k.Gate > 0 {
				add(n.Name, "", "exchange_ahead_seconds", k.Gate)
			}
		}
	}
	for _, l := range r.Links {
		add(l.From, l.To, "exchange_busy_seconds", l.Busy)
		add(l.From, l.To, "exchange_paused_seconds", l.Paused)
		if l.Ahead > 0 {
			add(l.From, l.To, "exchange_of_devices_seconds", l.Ahead)
		}
		add(l.From, l.To, "bytes_per_second", l.Rate)
		add(l.From, l.To, "shared_bytes", float64(l.Memory))
	}
	return c.WriteAll(rows)
}

func (r *nodesReport) text() string {
	t := newTable("node", "device", "cores", "memory", "free", "version")
	rightAligned(t, 6)
	speeds := newTable("node", "read GB/s", "weights GB/s", "KV GB/s", "q8, q4", "GFLOP/s", "turn", "ahead")
	rightAligned(speeds, 8)
	giga := func(v float64) string { return fmt.Sprintf("%.1f", v/1e9) }
	for _, n := range r.Nodes {
		t.AppendRow(table.Row{n.Name, n.Device, n.Cores, placement.FormatBytes(n.Memory), placement.FormatBytes(n.Free), n.Version})
		row := table.Row{n.Name, giga(n.Bandwidth), "-", "-", "-", "-", "-", "-"}
		if k := n.Rates; k != nil {
			row[2] = giga(k.Memory.Layer.Rate()) + " / " + giga(k.Cache.Layer.Rate())
			row[3] = giga(k.Memory.Attend.Rate()) + " / " + giga(k.Cache.Attend.Rate())
			row[4] = fmt.Sprintf("%.2f, %.2f", k.Packed[0], k.Packed[1])
			row[5], row[6] = fmt.Sprintf("%.0f / %.0f", k.PrefillProduct/1e9, k.PrefillAttend/1e9), microseconds(k.Turn)
			if k.Gate > 0 {
				row[7] = microseconds(k.Gate)
			}
		}
		speeds.AppendRow(row)
	}
	text := t.Render() + "\n\n" + speeds.Render() + "\nweights and KV: decode, from memory / from the caches; q8, q4: times as long a byte of KV; GFLOP/s: prefill, products /\n" +
		"attention; turn: a step besides its operations; ahead: the device's part of an exchange that it was given ahead\n"
	for _, n := range r.Nodes {
		if n.Short > 0 {
			text += fmt.Sprintf("WARNING: other programs took %s of the memory that node %s has promised: it takes on nothing new\n", placement.FormatBytes(n.Short), n.Name)
		}
	}
	if len(r.Links) > 0 {
		text += "\n" + linksText(r.Links)
	}
	return text
}

func linksText(links []linkReport) string {
	t := newTable("from", "to", "over", "shared", "busy exchange", "paused exchange", "of devices", "GB/s")
	rightAligned(t, 8)
	guessed := false
	for _, l := range links {
		mark, ahead := "", "-"
		if l.Guessed {
			mark, guessed = "*", true
		}
		if l.Ahead > 0 {
			ahead = microseconds(l.Ahead)
		}
		over, shared := l.Over, "-"
		if over == "" {
			over = "-"
		}
		if l.Memory > 0 {
			shared = placement.FormatBytes(l.Memory)
		}
		t.AppendRow(table.Row{l.From, l.To, over, shared, microseconds(l.Busy), microseconds(l.Paused), ahead, fmt.Sprintf("%.2f%s", l.Rate/1e9, mark)})
	}
	text := t.Render() + "\n"
	if guessed {
		text += "* not measured, since there are many pairs: the medians of those that were\n"
	}
	return text
}
