package main

import (
	"encoding/csv"
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/orrery-ai/orrery/internal/standin"
)

// startRDMANodes starts nodes a, b and c on a fabric of stand-ins, which share no memory; the last one with its own --rdma.
func startRDMANodes(t *testing.T, last string) []*testNode {
	t.Helper()
	var nodes []*testNode
	for i, use := range []string{"auto", "standin0", last} {
		args := []string{"--bandwidth", []string{"10GB", "4GB", "25GB"}[i], "--rdma", use, "--no-shm", "--log-level", "info"}
		if i > 0 {
			args = append(args, "--join", nodes[0].addr)
		}
		nodes = append(nodes, startNode(t, nodeNames[i:i+1], args...))
	}
	return nodes
}

func TestProcessesGiveTheSameTextOverRDMA(t *testing.T) {
	standin.Start(t).Share(t, "")
	doc, code := document(t, 600)
	ask := func(nodes []*testNode, args ...string) generateReport {
		return generate(t, append([]string{"--join", nodes[0].addr, "--prompt-file", doc, "--prompt", code.Question(), "--chat", "--ignore-eos",
			"--max-tokens", "40", "--block", "32", "--chunk", "200"}, args...)...)
	}
	tcp := ask(startNodes(t, "10GB", "4GB", "25GB"), "--mode", "pooled")
	nodes := startRDMANodes(t, "auto")
	for _, args := range [][]string{
		{"--mode", "pooled"},
		{"--mode", "ring"},
		{"--mode", "pipeline", "--switch-at", "8:pooled,20:ring"},
	} {
		if r := ask(nodes, append(args, "--rdma", "auto")...); r.Text != tcp.Text {
			t.Errorf("%v over RDMA says\n%q, over TCP\n%q", args, r.Text, tcp.Text)
		}
	}
	for _, n := range nodes {
		if n.logs("connection over RDMA"); strings.Contains(n.stderr.String(), "RDMA is not used") {
			t.Errorf("node %s did not use RDMA with all: %s", n.name, n.stderr)
		}
	}
}

func TestNodesWithoutRDMAAreReachedOverTCP(t *testing.T) {
	standin.Start(t).Share(t, "")
	nodes := startRDMANodes(t, "off")
	ask := []string{"--join", nodes[0].addr, "--prompt", "Once", "--max-tokens", "8", "--ignore-eos", "--mode", "pooled"}
	if r := generate(t, ask...); r.Tokens != 8 {
		t.Errorf("%+v", r)
	}
	for _, n := range nodes[:2] {
		n.logs("connection over RDMA", "peer c does not offer it")
	}
}

func TestANodeKilledOverRDMAIsNamed(t *testing.T) {
	standin.Start(t).Share(t, "")
	nodes := startRDMANodes(t, "auto")
	g := startLong(t, "--join", nodes[0].addr, "--prompt", "Once", "--mode", "pooled", "--rdma", "auto")
	nodes[1].signal(syscall.SIGKILL)
	if status := g.wait(lostWithin); status == 0 || !strings.Contains(g.stderr.String(), "node b is lost") {
		t.Errorf("status %d: %s", status, g.stderr)
	}
	if r := generate(t, "--join", nodes[0].addr, "--prompt", "Once", "--max-tokens", "4", "--rdma", "auto"); r.Tokens == 0 {
		t.Error("the two that are left generate nothing")
	}
}

func TestAdaptersAreListed(t *testing.T) {
	f := standin.Start(t)
	f.Share(t, "")
	text, _, status := run(t, exitWithin, "rdma")
	for _, want := range []string{"standin0", "active", "Ethernet", "127.0.0.1", "standin1", "down", "InfiniBand"} {
		if status != 0 || !strings.Contains(text, want) {
			t.Errorf("status %d, %s is not in %s", status, want, text)
		}
	}
	out, _, _ := run(t, exitWithin, "rdma", "--format", "json")
	var r rdmaReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Adapters) != 2 || r.Adapters[0].Ports[0].Gbits != 100 || r.Problem != "" {
		t.Errorf("%v in %s", err, out)
	}
	out, _, _ = run(t, exitWithin, "rdma", "--format", "csv")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) != 3 || rows[1][0] != "standin0" {
		t.Errorf("%v in %s", err, out)
	}
	for settings, want := range map[string]string{"devices=0": "finds no RDMA adapter", "fail_open=13": "permission denied"} {
		f.Share(t, settings)
		if text, _, status := run(t, exitWithin, "rdma"); status != 0 || !strings.Contains(text, want) {
			t.Errorf("%s: status %d, %s", settings, status, text)
		}
	}
	t.Setenv("ORRERY_VERBS_LIBRARY", "/nonexistent.so")
	if text, _, status := run(t, exitWithin, "rdma"); status != 0 || !strings.Contains(text, "/nonexistent.so") || !strings.Contains(text, "TCP") {
		t.Errorf("status %d, %s", status, text)
	}
}

func TestAnAdapterThatIsNotThereIsRefused(t *testing.T) {
	standin.Start(t).Share(t, "")
	refused(t, map[string]badInput{
		"another adapter": {[]string{"node", "--bandwidth", "1GB", "--bind", "127.0.0.1:0", "--rdma", "mlx5_0"}, statusFailed, []string{"mlx5_0", "standin0", "--rdma off"}},
		"a port down":     {[]string{"node", "--bandwidth", "1GB", "--bind", "127.0.0.1:0", "--rdma", "standin1"}, statusFailed, []string{"standin1", "active"}},
	})
}
