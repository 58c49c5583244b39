package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/term"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/bench"
)

type benchAttentionCmd struct {
	Shape   shapeFlag   `help:"Query heads, heads of keys and values, elements of a head (default: ${default}, Llama-3.2-1B's)." default:"32/8/64" placeholder:"N/N/N"`
	Depth   []countFlag `help:"Keys (default: ${default})." default:"4096,16384,200000" placeholder:"N"`
	KV      []kvFlag    `name:"kv" help:"Storage of keys and values: f16, q8, q4 or f32 (default: ${default})." default:"f16,q8,q4" placeholder:"FORMAT"`
	Batch   []countFlag `help:"Tokens of a sequence that attend in one call: 1 as in decode, more as in prefill (default: ${default})." default:"1" placeholder:"N"`
	Threads threadsFlag `help:"Threads (default: as many as there are cores)." placeholder:"N"`
	Block   blockFlag   `help:"Tokens of a KV block." default:"256"`
	Repeat  countFlag   `help:"Runs, of 0.4 s or one call." default:"5"`
	pictureFlags
}

// Help is shown below the flags' summary.
func (benchAttentionCmd) Help() string {
	return `Examples:
  orrery bench attention --depth 200000 --threads 1
  orrery bench attention --shape 32/8/128 --kv f16,q8 --plot attention.svg
  orrery bench attention --depth 16384 --batch 1,4,16,512

Attention of one layer, on this machine's processor, over made-up keys and values of as
many layers as no cache holds. After each call as many bytes are read plainly elsewhere
in that memory, by as many threads: shares of a read are of that. What the multipliers
do at the most is measured before each run. "orrery bench kernels" measures GPUs.`
}

// AfterApply looks at the files that the flags name.
func (c *benchAttentionCmd) AfterApply() error { return canDraw(c.Plot) }

// attending is what to measure.
func (c *benchAttentionCmd) attending() *bench.Attending {
	o := &bench.Attending{Shape: attention.Shape(c.Shape), Threads: int(c.Threads), Block: int(c.Block), Repeat: int(c.Repeat), Done: sayAttended()}
	if o.Threads == 0 {
		o.Threads = runtime.NumCPU()
	}
	for _, n := range c.Depth {
		o.Depths = append(o.Depths, int(n))
	}
	for _, f := range c.KV {
		o.Formats = append(o.Formats, attention.Format(f))
	}
	for _, n := range c.Batch {
		o.Batches = append(o.Batches, int(n))
	}
	return o
}

// Validate looks at the flags together.
func (c *benchAttentionCmd) Validate() error { return c.attending().Check() }

// Run measures.
func (c *benchAttentionCmd) Run(ctx context.Context) error {
	o := c.attending()
	measured, err := o.Run(ctx)
	if err != nil {
		return err
	}
	r := &attentionReport{Heads: o.Shape.Heads, KVHeads: o.Shape.KVHeads, HeadDim: o.Shape.HeadDim, Threads: o.Threads}
	r.add(measured)
	return c.writeAll(r, &bench.Picture{Title: r.title(), Unit: "keys of a layer, millions/s", Curves: bench.AttendedCurves(measured)})
}

// sayAttended says on a terminal what has been measured, as it comes.
func sayAttended() func(bench.Attended) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	return func(a bench.Attended) {
		fmt.Fprintf(os.Stderr, "%v, %d tokens over %d: %.1f GB/s\n", a.Format, a.Batch, a.Depth, a.ReadRate()/1e9)
	}
}

// shapeFlag is the heads of a layer, as 32/8/64.
type shapeFlag attention.Shape

// UnmarshalText reads the three numbers.
func (s *shapeFlag) UnmarshalText(b []byte) error {
	var n [3]int
	parts := strings.Split(string(b), "/")
	if len(parts) != len(n) {
		return fmt.Errorf("%.20q is not HEADS/KV HEADS/ELEMENTS, as 32/8/64", b)
	}
	for i, part := range parts {
		v, err := strconv.ParseUint(part, 10, 14)
		if err != nil || v == 0 {
			return fmt.Errorf("%.20q in %.60q is not a number of heads or elements", part, b)
		}
		n[i] = int(v)
	}
	*s = shapeFlag{Heads: n[0], KVHeads: n[1], HeadDim: n[2], Scale: float32(1 / math.Sqrt(float64(n[2])))}
	return nil
}

// attentionReport is what bench attention found.
type attentionReport struct {
	Heads   int            `json:"heads"`
	KVHeads int            `json:"kv_heads"`
	HeadDim int            `json:"head_dim"`
	Threads int            `json:"threads"`
	Rows    []attentionRow `json:"rows"`
}

// attentionRow is one batch over keys of one format at one depth, in a layer.
type attentionRow struct {
	Depth      int          `json:"depth"`
	KV         string       `json:"kv"`
	Batch      int          `json:"batch"`
	Speed      bench.Spread `json:"layer_tokens_per_second"`
	Seconds    bench.Spread `json:"seconds"` // of a call
	Bytes      int64        `json:"bytes"`
	Rate       float64      `json:"read_bytes_per_second"`
	OfRead     bench.Spread `json:"share_of_read"`
	Operations float64      `json:"operations"`
	OpRate     float64      `json:"operations_per_second"`
	OfPeak     bench.Spread `json:"share_of_peak"`
}

func (r *attentionReport) add(measured []bench.Attended) {
	for _, a := range measured {
		r.Rows = append(r.Rows, attentionRow{Depth: a.Depth, KV: a.Format.String(), Batch: a.Batch, Speed: a.Speed(), Seconds: a.Seconds, Bytes: a.Bytes, Rate: a.ReadRate(),
			OfRead: a.OfRead, Operations: a.Operations, OpRate: a.Rate(), OfPeak: a.OfPeak})
	}
}

// title is what was measured, in a line.
func (r *attentionReport) title() string {
	return fmt.Sprintf("Attention of a layer, %d heads over %d of keys and values, %d elements, %s", r.Heads, r.KVHeads, r.HeadDim, counted(r.Threads, "thread"))
}

func (r *attentionReport) text() string {
	return fmt.Sprintf("%s\n%s\nShares are medians: of a plain read of as many bytes in turn with each call, and of what the multipliers do at the most.\n", r.title(), r.table())
}

func (r *attentionReport) table() string {
	t := newTable("depth", "KV", "batch", "a call", "fastest", "slowest", "tokens/s", "GB/s", "of a read", "GFLOP/s", "of peak")
	rightAligned(t, 11)
	for i, row := range r.Rows {
		if i > 0 && r.Rows[i-1].Depth != row.Depth {
			t.AppendSeparator()
		}
		t.AppendRow(table.Row{row.Depth, row.KV, row.Batch, shortTime(row.Seconds.Median), shortTime(row.Seconds.Min), shortTime(row.Seconds.Max), fmt.Sprintf("%.0f", row.Speed.Median),
			fmt.Sprintf("%.1f", row.Rate/1e9), shareOf(row.OfRead.Median), fmt.Sprintf("%.1f", row.OpRate/1e9), shareOf(row.OfPeak.Median)})
	}
	return t.Render()
}

func (r *attentionReport) writeCSV(w io.Writer) error {
	rows := [][]string{{"depth", "kv", "batch", "seconds", "min", "max", "layer_tokens_per_second", "bytes", "read_bytes_per_second", "share_of_read", "operations",
		"operations_per_second", "share_of_peak"}}
	for _, row := range r.Rows {
		rows = append(rows, slices.Concat([]string{strconv.Itoa(row.Depth), row.KV, strconv.Itoa(row.Batch)}, numbers(row.Seconds),
			[]string{number(row.Speed.Median), strconv.FormatInt(row.Bytes, 10), number(row.Rate), number(row.OfRead.Median), number(row.Operations), number(row.OpRate),
				number(row.OfPeak.Median)}))
	}
	return csv.NewWriter(w).WriteAll(rows)
}
