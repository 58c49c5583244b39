package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/metalkern"
	"github.com/orrery-ai/orrery/metalkern/bench"
	"github.com/orrery-ai/orrery/metalkern/kernels"
	"github.com/orrery-ai/orrery/placement"
)

type devicesCmd struct {
	Format string `help:"Output: text, json or csv." enum:"text,json,csv" default:"text"`
}

// Help is the end of the command's help.
func (*devicesCmd) Help() string {
	return `Memory is how fast it is read on a CPU, and how fast it is copied on a GPU,
counting bytes read and written. Matrix is a large product in bf16 by Orrery's
own kernel. What predictions go by, which is kept from the last time: weights
and KV are how fast decode reads them, q8 and q4 how many times longer it takes
for a byte of such KV, and the turn what a step takes besides its operations.

Example:
  orrery devices --format json`
}

// foundDevice is one line of the list.
type foundDevice struct {
	Device    string           `json:"device"`
	Name      string           `json:"name"`
	Memory    int64            `json:"memory_bytes,omitempty"`
	Bandwidth float64          `json:"bytes_per_second,omitempty"`
	Matrix    float64          `json:"matrix_operations_per_second,omitempty"`
	Rates     *placement.Rates `json:"rates,omitempty"` // as nodes measure them
	Note      string           `json:"note,omitempty"`
}

// Run looks for devices and measures them.
func (c *devicesCmd) Run(ctx context.Context, log *slog.Logger) error {
	processor := cpu.New(0)
	all := []foundDevice{{Device: orrery.DeviceCPU, Name: processor.Name()}}
	if err := processor.Close(); err != nil {
		return err
	}
	if err := all[0].calibrate(ctx, log); err != nil {
		return err
	}
	for _, f := range metalkern.Find() {
		d := foundDevice{Device: f.Kind, Name: f.Info.Name, Memory: f.Info.Memory, Note: f.Reason}
		switch {
		case f.Reason != "":
		case f.Kind == "emulator":
			d.Note = "runs the GPU kernels for tests; slow"
		default:
			if err := d.calibrate(ctx, log); err != nil {
				return err
			}
			if err := d.measure(ctx); err != nil {
				return err
			}
		}
		all = append(all, d)
	}
	return writeDevices(os.Stdout, c.Format, all)
}

// calibrate finds what predictions go by, as a node on the device does.
func (d *foundDevice) calibrate(ctx context.Context, log *slog.Logger) error {
	choice, err := orrery.ChooseDevice(d.Device)
	if err != nil {
		return err
	}
	bandwidth, rates, err := orrery.Calibrate(ctx, orrery.Config{Device: d.Device, Logger: log}, choice.Memory)
	d.Bandwidth, d.Rates = bandwidth, &rates
	return err
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
		return encodeJSON(w, all)
	case "csv":
		rows := [][]string{{"device", "name", "memory_bytes", "bytes_per_second", "matrix_operations_per_second", "weights_bytes_per_second",
			"kv_bytes_per_second", "kv_q8_times_as_long_a_byte", "kv_q4_times_as_long_a_byte", "turn_seconds", "note"}}
		for _, d := range all {
			row := []string{d.Device, d.Name, known(float64(d.Memory)), known(d.Bandwidth), known(d.Matrix)}
			for _, v := range d.speeds() {
				row = append(row, known(v))
			}
			rows = append(rows, append(row, d.Note))
		}
		return csv.NewWriter(w).WriteAll(rows)
	}
	t := newTable("device", "name", "memory GB/s", "matrix TFLOP/s", "weights GB/s", "KV GB/s", "q8, q4", "turn")
	rightAligned(t, 8)
	notes := ""
	for _, d := range all {
		if d.Note != "" {
			notes += fmt.Sprintf("%s: %s\n", d.Device, d.Note)
		}
		if d.Bandwidth == 0 {
			continue
		}
		matrix, v := "-", d.speeds()
		if d.Matrix > 0 {
			matrix = fmt.Sprintf("%.0f", d.Matrix/1e12)
		}
		t.AppendRow([]any{d.Device, d.Name, fmt.Sprintf("%.0f", d.Bandwidth/1e9), matrix, fmt.Sprintf("%.0f", v[0]/1e9), fmt.Sprintf("%.0f", v[1]/1e9),
			fmt.Sprintf("%.2f, %.2f", v[2], v[3]), microseconds(v[4])})
	}
	_, err := fmt.Fprintf(w, "%s\n%s", t.Render(), notes)
	return err
}

// speeds are what is shown of the rates: bytes/s of weights and of KV, how many times longer a byte takes in q8 and q4,
// and the turn in seconds. They are 0 if there are none.
func (d *foundDevice) speeds() []float64 {
	r := d.Rates
	if r == nil {
		return make([]float64, 5)
	}
	return []float64{r.Memory.Layer.Rate(), r.Memory.Attend.Rate(), r.Packed[0], r.Packed[1], r.Turn}
}
