package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/recall"
	"github.com/orrery-ai/orrery/trace/tracetest"
)

// layersOfRecall is how many layers the model that comes with Orrery has.
func layersOfRecall(t testing.TB) int {
	t.Helper()
	m, err := recall.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	return m.Config.Layers
}

func TestTraceShowsWhatEveryNodeProcessDidInEveryMode(t *testing.T) {
	out := filepath.Join(t.TempDir(), "trace.json")
	stdout, stderr, status := run(t, longWithin, "trace", "--nodes", "3", "--threads", "1", "--mode", "pipeline,pooled,ring", "--tokens", "400", "--max-tokens", "12",
		"--block", "32", "--chunk", "64", "-o", out, "--format", "json")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var r traceReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in %.200q", err, stdout)
	}
	if len(r.Modes) != 3 || len(r.Files) != 3 || r.Threads != 1 {
		t.Fatalf("%+v", r)
	}
	layers := layersOfRecall(t)
	for i, m := range r.Modes {
		if m.Mode != []string{"pipeline", "pooled", "ring"}[i] || m.Tokens != 11 || m.Dropped != 0 || len(m.Nodes) != 3 || len(m.Prefill) != 3 {
			t.Errorf("%+v", m)
		}
		if m.Device.Median <= 0 || m.Token.Median < m.Device.Median || m.Orchestration.P99 < m.Orchestration.Median || m.Driver.Median <= 0 || m.Driver.Median >= m.Token.Median {
			t.Errorf("%s: a token takes %+v, its device %+v, the rest %+v", m.Mode, m.Token, m.Device, m.Orchestration)
		}
		for n, s := range m.Nodes {
			if s.Node != nodeNames[n:n+1] || s.ClockError <= 0 || m.Prefill[n].Tokens != 400 {
				t.Errorf("%s: %+v, %+v", m.Mode, s, m.Prefill[n])
			}
		}
		took := 0.0
		for _, x := range m.Transfers {
			if x.Bytes <= 0 || x.Took < 0 || x.From == x.To || x.Hidden < max(x.Sender, x.Receiver) || x.Hidden > 1 {
				t.Errorf("%s: %+v", m.Mode, x)
			}
			took += x.Took
		}
		// A clock that is off by more than a block is on its way makes that no time at all in one direction, and longer in the other.
		if len(m.Transfers) > 0 && took == 0 {
			t.Errorf("%s: nothing took any time: %+v", m.Mode, m.Transfers)
		}
		f := tracetest.Read(t, bytes.NewReader(read(t, r.Files[i])))
		f.Check(t, layers)
		names := strings.Join(f.Processes(), ", ")
		if !strings.Contains(names, "(driver)") || !strings.HasSuffix(names, "node a, node b, node c") || f.Flows == 0 || f.Other["mode"] != m.Mode {
			t.Errorf("%s: the processes are %s, %d arrows, about %v", m.Mode, names, f.Flows, f.Other)
		}
	}
	if ring := r.Modes[2].Transfers; len(ring) < 3 || ring[0].Lane != "kv-ring" {
		t.Errorf("ring sent %+v", ring)
	}
}

func TestTraceOfARunningClusterTakesAPrompt(t *testing.T) {
	nodes := startNodes(t, "10GB", "10GB")
	out := filepath.Join(t.TempDir(), "trace.json")
	stdout, stderr, status := run(t, longWithin, "trace", "--join", nodes[1].addr, "--prompt", "falcon", "--max-tokens", "5", "--synch", "safe", "-o", out)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for _, want := range []string{"recall on 2 nodes, synch safe", "orchestration", "pipeline a", out} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	tracetest.Read(t, bytes.NewReader(read(t, out))).Check(t, layersOfRecall(t))
	stdout, stderr, status = run(t, longWithin, "trace", "--join", nodes[0].addr, "--tokens", "5", "--max-tokens", "5", "--format", "csv", "--spans", "8")
	rows, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	if status != 0 || err != nil || len(rows) < 1+4+2*6 || rows[1][2] != "token_seconds" {
		t.Errorf("status %d, %v: %s%s", status, err, stdout, stderr)
	}
}

func TestTraceSaysWhatIsMissing(t *testing.T) {
	stdout, stderr, status := run(t, longWithin, "trace", "--threads", "1", "--tokens", "20", "--max-tokens", "5", "--spans", "16")
	if status != 0 || !strings.Contains(stdout, "are missing") || !strings.Contains(stdout, "--spans") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
}

func TestATransferOfNoTimeByTheClocksHasNoRate(t *testing.T) {
	r := traceReport{Modes: []modeReport{{Mode: "pooled", Transfers: []transferReport{
		{From: "a", To: "b", Lane: "kv-move", Bytes: 1 << 20, Took: 1e-3}, {From: "b", To: "a", Lane: "kv-move", Bytes: 1 << 20}}}}}
	lines := strings.Split(r.transfers(), "\n")
	there, back := slices.IndexFunc(lines, func(s string) bool { return strings.Contains(s, "a → b") }), slices.IndexFunc(lines, func(s string) bool { return strings.Contains(s, "b → a") })
	if there < 0 || back < 0 || !strings.Contains(lines[there], " 1049 ") || !strings.Contains(lines[back], " - ") {
		t.Errorf("the table is\n%s", r.transfers())
	}
}

func TestTraceRefusesWhatCannotBe(t *testing.T) {
	refused(t, map[string]badInput{
		"no such mode":           {[]string{"trace", "--mode", "pipeline,fast"}, statusUsage, []string{"--mode", `"fast"`}},
		"too many spans":         {[]string{"trace", "--threads", "1", "--tokens", "4", "--spans", "99999999"}, statusUsage, []string{"99999999", "spans", "4194304"}},
		"no such directory":      {[]string{"trace", "--threads", "1", "--tokens", "4", "--max-tokens", "2", "-o", "no-such-directory/t.json"}, statusUsage, []string{"no-such-directory"}},
		"threads of other nodes": {[]string{"trace", "--join", "127.0.0.1:1", "--threads", "1"}, statusUsage, []string{"--threads", "--join"}},
		"nobody to ask":          {[]string{"trace", "--join", "127.0.0.1:1"}, statusFailed, []string{"127.0.0.1:1"}},
		"beyond the context":     {[]string{"trace", "--tokens", "99999999"}, statusUsage, []string{"context"}},
	})
}
