package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/metalkern/bench"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

func TestKernelsAreReportedInEveryFormat(t *testing.T) {
	report := bench.Report{
		Device: gpu.Info{Kind: "cuda", Name: "A GPU", Arch: "sm_90", Units: 132}, Bandwidth: 3e12, Matrix: 4e14,
		Results: []bench.Result{
			{Kernel: "copy", Size: "2 GiB", Seconds: 1.4e-3, Bytes: 4 << 30, BytesPerSecond: 3e12, Limit: "memory", Share: 1},
			{Kernel: "gemm bf16", Size: "[64][64], 8 tokens", Seconds: 12.3e-6, Bytes: 8192, Operations: 65536, BytesPerSecond: 6.7e8, PerSecond: 5.3e9, Limit: "matrix", Share: 0.5},
		},
	}
	var out bytes.Buffer
	for format, check := range map[string]func(){
		"text": func() {
			for _, want := range []string{"A GPU, sm_90, 132 units: copies 3000 GB/s, multiplies 400 TFLOP/s", "1.4 ms", "12.3 µs", "50%"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the table lacks %q:\n%s", want, &out)
				}
			}
		},
		"json": func() {
			var got bench.Report
			if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got.Results) != 2 || got.Results[1] != report.Results[1] {
				t.Errorf("%v: %s", err, &out)
			}
		},
		"csv": func() {
			rows, err := csv.NewReader(&out).ReadAll()
			if err != nil || len(rows) != 3 || rows[2][1] != "[64][64], 8 tokens" || len(rows[0]) != len(rows[2]) {
				t.Errorf("%v: %q", err, rows)
			}
		},
	} {
		out.Reset()
		if err := writeKernels(&out, format, report); err != nil {
			t.Fatal(err)
		}
		check()
	}
}

func TestDevicesThatAreMissingAreListedWithTheReason(t *testing.T) {
	all := []foundDevice{{Device: "cpu", Name: "cpu (2 threads, avx2)", Bandwidth: 2e10}, {Device: "cuda", Note: "there is no driver"}}
	for _, format := range []string{"text", "json", "csv"} {
		var out bytes.Buffer
		if err := writeDevices(&out, format, all); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "there is no driver") || !strings.Contains(out.String(), "avx2") {
			t.Errorf("%s:\n%s", format, &out)
		}
	}
}
