package main

import (
	"strings"
	"testing"
)

// startDamaged starts nodes a, b and c, of which b injects faults into what it sends.
func startDamaged(t *testing.T, script string) []*testNode {
	t.Helper()
	nodes := startNodes(t, "10GB")
	for i, args := range [][]string{{"--faults", script}, nil} {
		args = append(args, "--bandwidth", "8GB", "--checksums", "on", "--join", nodes[0].addr)
		nodes = append(nodes, startNode(t, nodeNames[1+i:2+i], args...))
	}
	return nodes
}

func TestProcessesThatTalkOverADamagedConnectionSaySoOrGiveTheRightText(t *testing.T) {
	// In ring node a owns every layer, and asks b for its part of the attention.
	for _, c := range []struct {
		script string
		harm   bool
	}{
		{"after 8 frames of partial: delay 1ms; after 12 frames of partial: stall 100ms; after 2 frames of kv-ring: stall 50ms", false},
		{"after 8 frames of partial: flip bit", true},
		{"after 8 frames of partial: cut", true},
	} {
		t.Run(c.script, func(t *testing.T) {
			nodes := startDamaged(t, c.script)
			doc, code := document(t, 600)
			ask := []string{"--join", nodes[0].addr, "--mode", "ring", "--prompt-file", doc, "--prompt", code.Question(), "--chat", "--block", "32", "--chunk", "200"}
			stdout, stderr, status := run(t, longWithin, append([]string{"generate"}, ask...)...)
			switch {
			case c.harm && status == 0:
				t.Errorf("it ended well, with %q", stdout)
			case c.harm && !strings.Contains(stderr, "node b is lost") && !strings.Contains(stderr, "node a is lost") && !strings.Contains(stderr, "node c is lost"):
				t.Errorf("the error names no node: %s", stderr)
			case !c.harm && !strings.Contains(stdout, code.Answer()):
				t.Errorf("the answer is %q, not %q: %s", stdout, code.Answer(), stderr)
			}
			nodes[1].logs("FAULTS ARE INJECTED", "fault injected")
			if r := generate(t, ask...); r.Text != code.Answer() {
				t.Errorf("the next request answers %q, not %q", r.Text, code.Answer())
			}
		})
	}
}
