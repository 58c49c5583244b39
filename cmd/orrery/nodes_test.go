package main

import (
	"encoding/csv"
	"encoding/json"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/plan"
)

// measuredNodes starts two nodes that measure what they can do and keep it in one place.
func measuredNodes(t *testing.T) []*testNode {
	t.Helper()
	dir := t.TempDir()
	a := startNode(t, "a", "--calibrate", dir)
	b := startNode(t, "b", "--calibrate", dir, "--join", a.addr)
	if kept, err := filepath.Glob(filepath.Join(dir, "calibration-*.json")); err != nil || len(kept) != 1 {
		t.Fatalf("two nodes of one machine keep %v, %v", kept, err)
	}
	return []*testNode{a, b}
}

func TestNodesShowsWhatNodesMeasured(t *testing.T) {
	nodes := measuredNodes(t)
	show := func(args ...string) string {
		t.Helper()
		stdout, stderr, status := run(t, longWithin, append([]string{"nodes", "--join", nodes[1].addr}, args...)...)
		if status != 0 {
			t.Fatalf("status %d: %s", status, stderr)
		}
		return stdout
	}
	var r nodesReport
	if err := json.Unmarshal([]byte(show("--format", "json")), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Nodes) != 2 || len(r.Links) != 1 {
		t.Fatalf("%d nodes and %d links", len(r.Nodes), len(r.Links))
	}
	for i, n := range r.Nodes {
		if n.Name != nodes[i].name || n.Memory != 1<<30 || n.Free != 1<<30 || !(n.Bandwidth > 0) || n.Rates == nil || n.Rates.Check() != nil || n.Machine != r.Nodes[0].Machine {
			t.Errorf("%+v", n)
		}
	}
	if l := r.Links[0]; runtime.GOOS == "linux" && (l.Over != "shared memory" || l.Memory <= 0) {
		t.Errorf("two processes of one machine exchange over %q, with %d bytes", l.Over, l.Memory)
	}
	if l := r.Links[0]; l.From != "a" || l.To != "b" || !(l.Busy > 0) || !(l.Paused > 0) || !(l.Rate > 0) || l.Guessed {
		t.Errorf("%+v", l)
	}
	rows, err := csv.NewReader(strings.NewReader(show("--format", "csv"))).ReadAll()
	if err != nil || len(rows) != 1+2*13+4 {
		t.Errorf("%d rows of csv, %v", len(rows), err)
	}
	if table := show("--no-links"); !strings.Contains(table, "1.0 GiB") || strings.Contains(table, "paused") {
		t.Errorf("without links:\n%s", table)
	}
	if table := show(); !strings.Contains(table, "paused exchange") {
		t.Errorf("with links:\n%s", table)
	}
}

func TestAPlanOfARunningClusterGoesByWhatItMeasured(t *testing.T) {
	nodes := measuredNodes(t)
	ask := []string{"plan", "--model", "../../recall/model", "--join", nodes[0].addr, "--weights", "bf16", "--context", "16384"}
	stdout, stderr, status := run(t, longWithin, append(ask, "--format", "json")...)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var r plan.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	if !r.Measured || r.Efficiency != 1 || len(r.Modes) != 3 {
		t.Errorf("%+v", r)
	}
	for _, m := range r.Modes {
		if !m.Fits || len(m.Nodes) != 2 || m.Nodes[0].Has != 1<<30 {
			t.Errorf("%+v", m)
		}
		for _, s := range m.Speeds {
			if !(s.Decode > 0) || !(s.Prefill > 0) || !(s.Step.HandOver > 0) {
				t.Errorf("%s at %d: %+v", m.Mode, s.Context, s)
			}
		}
	}
	stdout, stderr, status = run(t, longWithin, ask...)
	if status != 0 || !strings.Contains(stdout, "without an efficiency factor") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
	refused(t, map[string]badInput{
		"a named link":      {append(ask, "--link", "tcp"), statusUsage, []string{"tcp", "measured"}},
		"a file beside it":  {append(ask, "--cluster", m4Cluster), statusUsage, []string{"--cluster", "--join"}},
		"neither":           {[]string{"plan", "--model", "../../recall/model", "--context", "16384"}, statusUsage, []string{"--cluster", "--join"}},
		"nobody to ask":     {[]string{"plan", "--model", "../../recall/model", "--context", "16384", "--join", "127.0.0.1:1"}, statusFailed, []string{"127.0.0.1:1"}},
		"nodes with nobody": {[]string{"nodes", "--join", "127.0.0.1:1"}, statusFailed, []string{"127.0.0.1:1"}},
	})
	startNode(t, "c", "--join", nodes[0].addr) // measures nothing
	refused(t, map[string]badInput{"a node that did not measure": {ask, statusFailed, []string{"node c", "--calibrate off"}}})
}

func TestAutoGivesTheTokensOfPipelineAndSaysWhy(t *testing.T) {
	nodes := measuredNodes(t)
	doc, code := document(t, 1200)
	ask := []string{"--join", nodes[1].addr, "--prompt-file", doc, "--prompt", code.Question(), "--chat", "--ignore-eos", "--max-tokens", "96", "--block", "32", "--chunk", "200"}
	plain := generate(t, append(ask, "--mode", "pipeline")...)
	auto := generate(t, append(ask, "--mode", "auto")...)
	if auto.Text != plain.Text || len(plain.Auto) != 0 {
		t.Errorf("auto says\n%q, pipeline\n%q, which has chosen %+v", auto.Text, plain.Text, plain.Auto)
	}
	if len(auto.Auto) == 0 || auto.Auto[0].Tokens != 0 || !strings.Contains(auto.Auto[0].Reason, "predicted") || !strings.Contains(auto.Auto[0].Reason, "96 to write") {
		t.Errorf("%+v", auto.Auto)
	}
	if stdout, stderr, status := run(t, longWithin, append([]string{"generate"}, append(ask, "--mode", "auto", "--log-level", "info")...)...); status != 0 ||
		!strings.Contains(stderr, "at token") || !strings.Contains(stderr, "msg=auto") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
}

// Without measurements there is nothing to predict with: that is said, and the answer comes all the same.
func TestAutoWithoutMeasurementsSaysSo(t *testing.T) {
	nodes := startNodes(t, "10GB", "10GB")
	auto := generate(t, "--join", nodes[0].addr, "--mode", "auto", "--prompt", "falcon", "--ignore-eos", "--max-tokens", "20")
	if len(auto.Auto) != 1 || auto.Auto[0].Mode != "pipeline" || !strings.Contains(auto.Auto[0].Reason, "node a can do was not measured") || auto.Tokens != 20 {
		t.Errorf("%+v", auto)
	}
}

func TestTheTableOfNodesFitsA120ColumnsTerminal(t *testing.T) {
	var curve placement.Curve
	for i, bytes := range placement.CurveSizes {
		curve[i] = bytes / 2987.3e9
	}
	kernels := placement.Kernels{Layer: curve, Product: curve, Attend: curve}
	rates := &placement.Rates{Memory: kernels, Cache: kernels, PrefillProduct: 379e12, PrefillAttend: 252e12, Packed: [2]float64{2.53, 3.42}, Turn: 150e-6, Gate: 175e-6}
	r := &nodesReport{}
	for _, name := range []string{"studio-1", "studio-2", "macbook-pro"} {
		r.Nodes = append(r.Nodes, nodeReport{Name: name, Device: "cuda:0 NVIDIA H100 80GB HBM3 (132 units)", Cores: 128, Memory: 1023 << 30, Free: 1022 << 30, Bandwidth: 2987.3e9, Rates: rates, Version: "0.1.0"})
		r.Links = append(r.Links, linkReport{From: name, To: "macbook-pro", Over: "shared memory", Memory: 1023 << 20, Busy: 1234e-6, Paused: 1234e-6, Ahead: 123e-6, Rate: 12.34e9, Guessed: true})
	}
	text := r.text()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 120 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	for _, want := range []string{"studio-1", "1023.0 GiB", "2987.3 / 2987.3", "2.53, 3.42", "379000", "252000", "150 µs", "175 µs", "0.1.0", "1234 µs", "12.34"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestNodesWarnsOfANodeThatIsShortOfMemory(t *testing.T) {
	r := &nodesReport{Nodes: []nodeReport{{Name: "a", Memory: 4 << 30}, {Name: "b", Memory: 4 << 30, Short: 2 << 30}}}
	text := r.text()
	if !strings.Contains(text, "WARNING") || !strings.Contains(text, "2.0 GiB of the memory that node b") || strings.Contains(text, "node a has promised") {
		t.Errorf("%s", text)
	}
	var csv strings.Builder
	if err := writeReport(&csv, "csv", r); err != nil || strings.Count(csv.String(), "short_bytes") != 1 {
		t.Errorf("%v\n%s", err, csv.String())
	}
}
