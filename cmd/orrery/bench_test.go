package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBenchPoolHoldsEveryModeAtEveryDepthAgainstPredictions(t *testing.T) {
	plot := filepath.Join(t.TempDir(), "pool.svg")
	stdout, stderr, status := run(t, longWithin, "bench", "pool", "--nodes", "1,2", "--depth", "0,512", "--tokens", "2", "--rounds", "2", "--block", "64",
		"--format", "json", "--plot", plot)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var r poolReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in %.200q", err, stdout)
	}
	if len(r.Rows) != 12 {
		t.Fatalf("%+v", r)
	}
	for i, row := range r.Rows {
		if row.Nodes != 1+i/6 || row.Depth != 512*(i/3%2) || row.Mode != []string{"pipeline", "pooled", "ring"}[i%3] {
			t.Errorf("row %d is %v at %d on %d nodes", i, row.Mode, row.Depth, row.Nodes)
		}
		if row.Speed.Median <= 0 || row.Predicted.Median <= 0 || row.Ratio.Median <= 0 || len(row.Runs) != 2 {
			t.Errorf("%+v", row)
		}
	}
	if picture := read(t, plot); !strings.Contains(string(picture), "2 nodes, pooled, predicted") {
		t.Error("the picture does not show what was predicted")
	}
	r.Rows = r.Rows[:3]
	for i, q := range []float64{1.15, 0.8, 1.3} {
		r.Rows[i].Ratio.Median = q
	}
	for format, want := range map[string]string{"table": "Of 3 cases 1 are within 15% of what was predicted, 2 within 20%.", "csv": "measured_over_predicted_max\n1,0,pipeline,"} {
		var b strings.Builder
		if err := writeReport(&b, format, &r); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%s: %v in\n%s", format, err, b.String())
		}
	}
}

func TestBenchDecodeMeasuresOneNode(t *testing.T) {
	stdout, stderr, status := run(t, longWithin, "bench", "decode", "--threads", "1", "--depth", "300", "--tokens", "2", "--repeat", "1", "--settle", "1ms", "--format", "csv")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	rows, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	if err != nil || len(rows) != 2 || len(rows[1]) != len(rows[0]) || rows[1][0] != "300" || rows[1][1] != "pipeline" {
		t.Errorf("%v, %v", rows, err)
	}
}

func TestBenchDecodeMeasuresARunningCluster(t *testing.T) {
	nodes := startNodes(t, "10GB", "20GB")
	stdout, stderr, status := run(t, longWithin, "bench", "decode", "--join", nodes[0].addr, "--modes", "pooled", "--depth", "300", "--tokens", "2", "--repeat", "1")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for _, want := range []string{"recall on 2 nodes", "15.0 GB/s on one node and 30.0 GB/s on all", "Nothing is predicted: ", "was not measured", "pooled"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
}

func TestBenchDecodeMeasuresSequencesTogether(t *testing.T) {
	stdout, stderr, status := run(t, longWithin, "bench", "decode", "--threads", "1", "--batch", "2", "--depth", "100", "--tokens", "2", "--repeat", "1", "--format", "json")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var r decodingReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in %.200q", err, stdout)
	}
	if r.Batch != 2 || len(r.Rows) != 1 || r.Rows[0].Speed.Median <= 0 || r.Rows[0].Predicted <= 0 || r.Rows[0].Ratio <= 0 {
		t.Errorf("%+v", r)
	}
}

func TestBenchPrefillMeasuresEveryPromptAgainstItsLimits(t *testing.T) {
	plot := filepath.Join(t.TempDir(), "prefill.png")
	args := []string{"bench", "prefill", "--nodes", "2", "--tokens", "64,130", "--depth", "0,100", "--batch", "64", "--block", "64", "--repeat", "1"}
	stdout, stderr, status := run(t, longWithin, append(args, "--format", "json", "--plot", plot)...)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var r prefillingReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in %.200q", err, stdout)
	}
	if r.Nodes != 2 || len(r.Rows) != 4 {
		t.Fatalf("%+v", r)
	}
	for i, row := range r.Rows {
		if row.Depth != 100*(i/2) || row.Tokens != 64+66*(i%2) || row.Speed.Median <= 0 || row.Rate <= 0 || row.Peak == nil || row.OfPeak.Median <= 0 || row.OfProduct.Median <= 0 {
			t.Errorf("%+v", row)
		}
	}
	if picture := read(t, plot); !strings.HasPrefix(string(picture), "\x89PNG") {
		t.Error("the picture is no PNG")
	}
	for format, want := range map[string]string{"table": "of a product", "csv": "share_of_large_product"} {
		var b strings.Builder
		if err := writeReport(&b, format, &r); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%s: %v in\n%s", format, err, b.String())
		}
	}
	r.Rows[0].Peak = nil // as of a GPU
	for format, want := range map[string]string{"table": " - │", "csv": ",,,,\n"} {
		var b strings.Builder
		if err := writeReport(&b, format, &r); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%s: %v in\n%s", format, err, b.String())
		}
	}
}

func TestBenchAttentionMeasuresEveryFormat(t *testing.T) {
	plot := filepath.Join(t.TempDir(), "attention.svg")
	stdout, stderr, status := run(t, longWithin, "bench", "attention", "--shape", "4/2/64", "--depth", "300", "--kv", "f16,q8", "--batch", "1,64", "--threads", "1", "--repeat", "1",
		"--format", "json", "--plot", plot)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var r attentionReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in %.200q", err, stdout)
	}
	if r.Heads != 4 || r.KVHeads != 2 || r.HeadDim != 64 || r.Threads != 1 || len(r.Rows) != 4 {
		t.Fatalf("%+v", r)
	}
	for i, row := range r.Rows {
		if row.KV != []string{"f16", "q8"}[i/2] || row.Batch != []int{1, 64}[i%2] || row.Rate <= 0 || row.OfRead.Median <= 0 || row.OpRate <= 0 || row.OfPeak.Median <= 0 {
			t.Errorf("%+v", row)
		}
	}
	if picture := read(t, plot); !strings.Contains(string(picture), "q8, 64 tokens") {
		t.Error("the picture does not show what was measured")
	}
	for format, want := range map[string]string{"table": "of a read", "csv": "300,q8,64,"} {
		var b strings.Builder
		if err := writeReport(&b, format, &r); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%s: %v in\n%s", format, err, b.String())
		}
	}
}

// A prediction below the truth would be a promise that is broken; one far above it refuses what would fit.
func TestBenchMemoryFindsThePredictionRight(t *testing.T) {
	stdout, stderr, status := run(t, longWithin, "bench", "memory", "--nodes", "1,2", "--context", "6000", "--chunk", "256", "--format", "json")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var rows []memoryRow
	if err := json.Unmarshal([]byte(stdout), &rows); err != nil {
		t.Fatalf("%v in %.200q", err, stdout)
	}
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		if r.Predicted != r.Weights+r.KV+r.Rest || r.Weights <= 0 || r.KV <= 0 {
			t.Errorf("%+v", r)
		}
		if r.Over < -0.02 || r.Over > 0.1 {
			t.Errorf("of %d, node %s: %d bytes were predicted, %d taken", r.Nodes, r.Node, r.Predicted, r.Peak)
		}
	}
}

func TestBenchMemoryPrintsTables(t *testing.T) {
	rows := []memoryRow{{Context: 1024, Nodes: 1, Mode: "ring", Node: "a", Weights: 1 << 20, KV: 2 << 20, Rest: 3 << 20, Predicted: 6 << 20, Peak: 5 << 20, Over: 0.2}}
	for format, want := range map[string]string{"table": "│    1024 │     1 │ ring │    a │     1.0 │ 2.0 │  3.0 │       6.0 │      5.0 │ +20.0% │",
		"csv": "1024,1,ring,a,1048576,2097152,3145728,6291456,5242880,0.2000", "json": `"predicted_over_peak": 0.2`} {
		var b strings.Builder
		if err := writeMemory(&b, format, rows); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%s: %v in\n%s", format, err, b.String())
		}
	}
}

func TestBenchRefusesWhatCannotBe(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"bench", "pool", "--depth", "-5"}, "--depth"},
		{[]string{"bench", "pool", "--modes", "fast"}, `"fast"`},
		{[]string{"bench", "decode", "--plot", "x.gif"}, "x.gif"},
		{[]string{"bench", "decode", "--model", filepath.Join(os.TempDir(), "no-such-model")}, "no-such-model"},
		{[]string{"bench", "decode", "--depth", fmt.Sprint(1 << 20)}, "for --depth"},
		{[]string{"bench", "attention", "--shape", "3/2"}, "--shape"},
		{[]string{"bench", "attention", "--shape", "3/2/64"}, "multiple"},
		{[]string{"bench", "attention", "--depth", "4", "--batch", "5"}, "5 tokens"},
		{[]string{"bench", "attention", "--plot", "x.gif"}, "x.gif"},
		{[]string{"bench", "prefill", "--tokens", "0"}, "--tokens"},
		{[]string{"bench", "prefill", "--tokens", fmt.Sprint(1 << 20)}, "context"},
		{[]string{"bench", "memory", "--context", "5", "--decode", "8", "--nodes", "1"}, "no room"},
		{[]string{"node", "--cpu", "x"}, "--cpu"},
	} {
		_, stderr, status := run(t, longWithin, c.args...)
		if status == 0 || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: status %d, %s", c.args, status, stderr)
		}
	}
}
