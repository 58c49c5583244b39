package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/orrery-ai/orrery/metalkern"
	"github.com/orrery-ai/orrery/metalkern/bench"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

type benchKernelsCmd struct {
	Device string   `help:"Device: metal, cuda or emulator." enum:"metal,cuda,emulator" default:"cuda"`
	Only   []string `help:"Measure only kernels whose names contain one of these, beside the limits." placeholder:"NAME"`
	Format string   `help:"Output: text, json or csv." enum:"text,json,csv" default:"text"`
}

// Help is the end of the command's help.
func (*benchKernelsCmd) Help() string {
	return `The limit is what the device was measured to do, in the same run: copy memory,
counting bytes read and written, or multiply large matrices, whichever would
take the kernel longer. On the emulator sizes are tiny and times say nothing.

Example:
  orrery bench kernels --only decode --format csv > decode.csv`
}

// wants reports whether a kernel is to be measured.
func (c *benchKernelsCmd) wants(kernel string) bool {
	return len(c.Only) == 0 || slices.ContainsFunc(c.Only, func(part string) bool { return strings.Contains(kernel, part) })
}

// tiny says that sizes are, since they take long.
func (c *benchKernelsCmd) tiny() bool { return c.Device == "emulator" }

// Validate looks at the flags together.
func (c *benchKernelsCmd) Validate() error {
	if !slices.ContainsFunc(bench.Names(c.tiny()), c.wants) {
		return fmt.Errorf("--only %s: no kernel has that in its name", strings.Join(c.Only, ","))
	}
	return nil
}

// Run measures the kernels and prints what they reach.
func (c *benchKernelsCmd) Run(ctx context.Context) error {
	host, err := metalkern.Open(c.Device)
	if err != nil {
		return err
	}
	defer host.Close()
	opts := bench.Options{Tiny: c.tiny(), Only: c.wants, Progress: func(kernel, size string) { fmt.Fprintf(os.Stderr, "\r\x1b[K%s, %s", kernel, size) }}
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		opts.Progress = nil
	}
	report, err := bench.Run(ctx, kernels.New(host), opts)
	if opts.Progress != nil {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	if err != nil {
		return err
	}
	return writeKernels(os.Stdout, c.Format, report)
}

// writeKernels prints a report as text, json or csv.
func writeKernels(w io.Writer, format string, r bench.Report) error {
	switch format {
	case "json":
		return encodeJSON(w, r)
	case "csv":
		rows := [][]string{{"kernel", "size", "seconds", "bytes", "operations", "bytes_per_second", "operations_per_second", "limit", "share"}}
		for _, k := range r.Results {
			rows = append(rows, []string{k.Kernel, k.Size, fmt.Sprintf("%.6g", k.Seconds), fmt.Sprint(k.Bytes), fmt.Sprintf("%.6g", k.Operations),
				fmt.Sprintf("%.6g", k.BytesPerSecond), fmt.Sprintf("%.6g", k.PerSecond), k.Limit, fmt.Sprintf("%.4g", k.Share)})
		}
		return csv.NewWriter(w).WriteAll(rows)
	}
	t := newTable("kernel", "size", "time", "GB/s", "TFLOP/s", "limit", "of it")
	rightAligned(t, 7)
	for _, k := range r.Results {
		flops := ""
		if k.Operations > 0 {
			flops = fmt.Sprintf("%.3g", k.PerSecond/1e12)
		}
		t.AppendRow([]any{k.Kernel, k.Size, shortTime(k.Seconds), fmt.Sprintf("%.4g", k.BytesPerSecond/1e9), flops, k.Limit, percent(k.Share)})
	}
	_, err := fmt.Fprintf(w, "%s, %s, %d units: copies %.0f GB/s, multiplies %.0f TFLOP/s\n%s\n",
		r.Device.Name, r.Device.Arch, r.Device.Units, r.Bandwidth/1e9, r.Matrix/1e12, t.Render())
	return err
}
