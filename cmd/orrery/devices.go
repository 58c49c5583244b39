package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/metalkern"
	"github.com/orrery-ai/orrery/metalkern/bench"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

type devicesCmd struct {
	Format string `help:"Output: text, json or csv." enum:"text,json,csv" default:"text"`
}

// Help is the end of the command's help.
func (*devicesCmd) Help() string {
	return `Memory is how fast it is read on a CPU, and how fast it is copied on a GPU, counting bytes read and written. Matrix is a large product
in bf16 by Orrery's own kernel.

Example: orrery devices --format json`
}

// foundDevice is one line of the list.
type foundDevice struct {
	Device    string  `json:"device"`
	Name      string  `json:"name"`
	Memory    int64   `json:"memory,omitempty"`    // bytes
	Bandwidth float64 `json:"bandwidth,omitempty"` // bytes/s
	Matrix    float64 `json:"matrix,omitempty"`    // operations/s
	Note      string  `json:"note,omitempty"`
}

// cpuBandwidthTime is for how long the memory of the CPU is read.
const cpuBandwidthTime = 300 * time.Millisecond

// Run looks for devices and measures them.
func (c *devicesCmd) Run(ctx context.Context) error {
	processor := cpu.New(0)
	all := []foundDevice{{Device: "cpu", Name: processor.Name(), Bandwidth: cpu.MeasureBandwidth(cpuBandwidthTime)}}
	if err := processor.Close(); err != nil {
		return err
	}
	found, err := metalkern.Find()
	if err != nil {
		return err
	}
	for _, f := range found {
		d := foundDevice{Device: f.Kind, Name: f.Info.Name, Memory: f.Info.Memory, Note: f.Reason}
		switch {
		case f.Reason != "":
		case f.Kind == "emulator":
			d.Note = "runs the GPU kernels for tests; slow"
		default:
			if err := d.measure(ctx); err != nil {
				return err
			}
		}
		all = append(all, d)
	}
	return writeDevices(os.Stdout, c.Format, all)
}

// measure finds a GPU's limits.
func (d *foundDevice) measure(ctx context.Context) error {
	host, err := metalkern.Open(d.Device)
	if err != nil {
		return err
	}
	defer host.Close()
	report, err := bench.Run(ctx, kernels.New(host), bench.Options{Only: func(string) bool { return false }})
	if err != nil {
		return err
	}
	d.Bandwidth, d.Matrix = report.Bandwidth, report.Matrix
	return nil
}

// writeDevices prints the list as text, json or csv.
func writeDevices(w io.Writer, format string, all []foundDevice) error {
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(all)
	case "csv":
		rows := [][]string{{"device", "name", "memory", "bandwidth", "matrix", "note"}}
		for _, d := range all {
			rows = append(rows, []string{d.Device, d.Name, fmt.Sprint(d.Memory), fmt.Sprintf("%.6g", d.Bandwidth), fmt.Sprintf("%.6g", d.Matrix), d.Note})
		}
		return csv.NewWriter(w).WriteAll(rows)
	}
	t := newTable("Device", "Name", "Memory", "Matrix", "")
	for _, d := range all {
		memory, matrix := "", ""
		if d.Bandwidth > 0 {
			memory = fmt.Sprintf("%.0f GB/s", d.Bandwidth/1e9)
		}
		if d.Matrix > 0 {
			matrix = fmt.Sprintf("%.0f TFLOP/s", d.Matrix/1e12)
		}
		t.AppendRow([]any{d.Device, d.Name, memory, matrix, d.Note})
	}
	_, err := fmt.Fprintln(w, t.Render())
	return err
}
