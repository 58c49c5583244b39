package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/actors"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/recall"
	"github.com/orrery-ai/orrery/transport"
)

// document is a document of about so many tokens, in a file, and one of the codes that it hides.
func document(t testing.TB, tokens int) (path string, code recall.Code) {
	t.Helper()
	doc, err := recall.Compose(func(s string) (int, error) { return len(s) / 4, nil }, tokens, 4, 3)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "document.txt")
	if err := os.WriteFile(path, []byte(doc.Text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, doc.Codes[1]
}

// generate runs orrery generate with --format json.
func generate(t testing.TB, args ...string) generateReport {
	t.Helper()
	stdout, stderr, status := run(t, longWithin, append([]string{"generate", "--format", "json"}, args...)...)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var r generateReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in %.200q", err, stdout)
	}
	return r
}

func TestThreeProcessesGiveTheSameTextInEveryModeAndAcrossSwitches(t *testing.T) {
	nodes := startNodes(t, "10GB", "4GB", "25GB")
	doc, code := document(t, 1200)
	ask := []string{"--join", nodes[1].addr, "--prompt-file", doc, "--prompt", code.Question(), "--chat", "--ignore-eos", "--max-tokens", "64", "--block", "32", "--chunk", "200"}
	plain := generate(t, append(ask, "--mode", "pipeline")...)
	if !strings.HasPrefix(plain.Text, code.Answer()) {
		t.Errorf("the answer is %q, not %q", plain.Text, code.Answer())
	}
	if plain.Tokens != 64 {
		t.Errorf("%d tokens", plain.Tokens)
	}
	if ring := generate(t, append(ask, "--mode", "ring")...); ring.Text != plain.Text {
		t.Errorf("ring says\n%q, pipeline\n%q", ring.Text, plain.Text)
	}
	switched := generate(t, append(ask, "--mode", "pipeline", "--switch-at", "8:pooled,20:ring")...)
	if switched.Text != plain.Text {
		t.Errorf("with switches\n%q, without\n%q", switched.Text, plain.Text)
	}
	if len(switched.Switches) != 2 {
		t.Fatalf("reports of switches: %+v", switched.Switches)
	}
	for i, to := range []string{"pooled", "ring"} {
		if s := switched.Switches[i]; s.To != to || s.Error != "" {
			t.Errorf("switch %d: %+v", i, s)
		}
	}
	if switched.Switches[0].Bytes == 0 {
		t.Error("the switch to pooled moved nothing")
	}
}

// lostWithin is how soon a generation has ended that a node was lost from, however busy the machine: sooner than a step's
// deadline would end it, which is two minutes. Where nothing else runs it takes 0.8 s if the node was killed, and 2.4 s if it was frozen.
const lostWithin = time.Minute

func TestALostNodeEndsTheGenerationByNameAndTheOthersServeOn(t *testing.T) {
	for _, c := range []struct {
		what   string
		signal syscall.Signal
		mode   string
	}{
		{"killed", syscall.SIGKILL, "pipeline"},
		{"killed", syscall.SIGKILL, "pooled"},
		{"frozen", syscall.SIGSTOP, "pipeline"},
		{"frozen", syscall.SIGSTOP, "ring"},
	} {
		t.Run(c.what+" in "+c.mode, func(t *testing.T) {
			nodes := startNodes(t, "10GB", "4GB", "25GB")
			doc, code := document(t, 600)
			ask := []string{"--join", nodes[0].addr, "--mode", c.mode, "--prompt-file", doc, "--prompt", code.Question(), "--chat"}
			g := startLong(t, ask...)
			nodes[1].signal(c.signal)
			lost := time.Now()
			if status := g.wait(lostWithin); status == 0 {
				t.Error("status 0")
			}
			t.Logf("%v from the loss until the generation had ended", g.at.Sub(lost).Round(time.Millisecond))
			if !strings.Contains(g.stderr.String(), "node b is lost") {
				t.Errorf("the error does not name node b: %s", g.stderr)
			}
			if r := generate(t, ask...); r.Text != code.Answer() {
				t.Errorf("two nodes answer %q, not %q", r.Text, code.Answer())
			}
		})
	}
}

// startLong starts a generation that does not end by itself, and waits until its text comes.
func startLong(t testing.TB, args ...string) *command {
	t.Helper()
	g := start(t, append([]string{"generate", "--ignore-eos", "--max-tokens", "200000"}, args...)...)
	if !g.stdout.until(longWithin, func(s string) bool { return len(s) > 100 }) {
		t.Fatal("no text came")
	}
	return g
}

func TestAnInterruptedGenerationEndsAndSaysSo(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		signal syscall.Signal
		status int
	}{
		{"in one process", nil, syscall.SIGINT, 130},
		{"on node processes", []string{"--nodes", "2"}, syscall.SIGTERM, 143},
	} {
		g := startLong(t, append(c.args, "--prompt", "Once")...)
		g.signal(c.signal)
		if status := g.wait(exitWithin); status != c.status {
			t.Errorf("%s: status %d", c.name, status)
		}
		if lines := strings.Split(strings.TrimSpace(g.stderr.String()), "\n"); lines[len(lines)-1] != "orrery: interrupted" {
			t.Errorf("%s: %s", c.name, g.stderr)
		}
	}
}

func TestAnInterruptEndsTheWaitForAPrompt(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"generate", "--prompt-file", pipe}, {"generate", "--prompts", pipe}, {"logits", "--ids-file", pipe, "--out", os.DevNull},
		{"plan", "--model", minimaxConfig, "--cluster", pipe, "--context", "9"}} {
		c := start(t, args...)
		w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // once the command reads
		if err != nil {
			t.Fatal(err)
		}
		c.signal(syscall.SIGINT)
		if status := c.wait(exitWithin); status != 130 {
			t.Errorf("%v: status %d", args, status)
		}
		w.Close()
	}
}

func TestAnInterruptionIsNotTakenForTheFailureOfWhatItEnds(t *testing.T) {
	for _, args := range [][]string{{"bench", "decode"}, {"bench", "pool", "--rounds", "100"}} {
		t.Run(args[1], func(t *testing.T) {
			bench := start(t, append(args, "--log-level", "debug", "--nodes", "2", "--depth", "0")...)
			bench.logs("local nodes are ready") // and memory is read, or the ways between them measured
			bench.signal(syscall.SIGINT)
			if status := bench.wait(exitWithin); status != 130 || !strings.HasSuffix(bench.stderr.String(), "\norrery: interrupted\n") {
				t.Errorf("status %d", status)
			}
		})
	}
}

func TestSpeedsAreOfWhatTookLongEnoughToTell(t *testing.T) {
	if s := speed("%.1f", 254194.2, 4*time.Microsecond); s != "" {
		t.Errorf("two tokens that came together were written%s", s)
	}
	if s := speed("%.1f", 30, 2*time.Second); s != " at 30.0/s" {
		t.Errorf("sixty tokens were written%s", s)
	}
}

func TestAnInterruptedNodeLeavesAndTheGenerationSaysSo(t *testing.T) {
	nodes := startNodes(t, "10GB", "4GB", "25GB")
	g := startLong(t, "--join", nodes[0].addr, "--mode", "pooled", "--prompt", "Once")
	nodes[1].signal(syscall.SIGINT)
	if status := nodes[1].wait(exitWithin); status != 0 {
		t.Errorf("the node ended with %d: %s", status, nodes[1].stderr)
	}
	if status := g.wait(exitWithin); status == 0 || !strings.Contains(g.stderr.String(), "node b is lost") || !strings.Contains(g.stderr.String(), "it left the cluster") {
		t.Errorf("status %d: %s", status, g.stderr)
	}
	if r := generate(t, "--join", nodes[2].addr, "--prompt", "Once", "--max-tokens", "4"); r.Tokens == 0 {
		t.Error("the two that are left generate nothing")
	}
}

func TestAModelIsLoadedAgainOnTheNodesThatAreLeft(t *testing.T) {
	nodes := startNodes(t, "10GB", "4GB", "25GB")
	doc, code := document(t, 600)
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	prompt := string(text) + code.FirstTurn()
	ctx := within(t, longWithin)
	m := loadOn(t, ctx, nodes, orrery.LoadOptions{Mode: orrery.Pooled, Context: 4096})
	g, err := m.Generate(ctx, prompt, orrery.GenerateOptions{IgnoreEOS: true})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err = range g.Tokens() {
		if n++; n == 20 {
			nodes[1].signal(syscall.SIGKILL)
		}
	}
	var lost *orrery.NodeLostError
	if !errors.As(err, &lost) || lost.Node != "b" {
		t.Fatalf("after %d tokens: %v", n, err)
	}
	for range 2 {
		g, err = m.Generate(ctx, prompt, orrery.GenerateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		answer := ""
		for token, err := range g.Tokens() {
			if err != nil {
				t.Fatal(err)
			}
			answer += token.Text
		}
		if answer != code.Answer() {
			t.Errorf("two nodes answer %q, not %q", answer, code.Answer())
		}
	}
}

// loadOn joins the nodes from this process and loads the model that comes with Orrery on them.
func loadOn(t testing.TB, ctx context.Context, nodes []*testNode, o orrery.LoadOptions) *orrery.Model {
	t.Helper()
	c := join(t, ctx, nodes)
	m, err := c.Load(ctx, recall.Name, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// join joins the nodes from this process.
func join(t testing.TB, ctx context.Context, nodes []*testNode) *orrery.Cluster {
	t.Helper()
	c, err := orrery.Start(ctx, orrery.Config{Name: "test", Join: []string{nodes[0].addr}, Client: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.WaitNodes(ctx, len(nodes)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNodesUnloadWhatAKilledClientHadLoaded(t *testing.T) {
	nodes := startNodes(t, "10GB", "4GB")
	ctx := within(t, longWithin)
	held := newAsker(t, ctx, nodes)
	g := startLong(t, "--join", nodes[0].addr, "--prompt", "Once")
	held.until(ctx, "a model that generates", func(weights, kv int64) bool { return weights > 0 && kv > 0 })
	g.signal(syscall.SIGKILL)
	held.until(ctx, "nothing", func(weights, kv int64) bool { return weights == 0 && kv == 0 })
	if r := generate(t, "--join", nodes[1].addr, "--prompt", "Once", "--max-tokens", "4"); r.Tokens == 0 {
		t.Error("nothing is generated")
	}
}

// asker is a member that asks the nodes what they hold.
type asker struct {
	t          testing.TB
	system     *actor.ActorSystem
	membership *cluster.Membership
}

func newAsker(t testing.TB, ctx context.Context, nodes []*testNode) *asker {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	endpoint, err := transport.Listen("127.0.0.1:0", transport.Config{Cluster: "orrery", Node: "asker", Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	a := &asker{t: t, system: actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return log }))}
	t.Cleanup(func() {
		if err := endpoint.Close(); err != nil {
			t.Error(err)
		}
		a.system.Shutdown()
	})
	if err := endpoint.AttachActors(a.system); err != nil {
		t.Fatal(err)
	}
	a.membership, err = cluster.Start(cluster.Config{Name: "asker", Bind: "127.0.0.1:0", Cluster: "orrery", Logger: log,
		Self: cluster.Node{Role: cluster.Client, Transport: endpoint.Addr(), Version: orrery.Version}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.membership.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := a.membership.Join(ctx, []string{nodes[0].addr}); err != nil {
		t.Fatal(err)
	}
	for _, n := range a.membership.Nodes() {
		endpoint.SetPeer(n.Name, n.Transport)
	}
	return a
}

// until waits until the nodes together hold what done accepts, in bytes.
func (a *asker) until(ctx context.Context, what string, done func(weights, kv int64) bool) {
	a.t.Helper()
	for {
		var weights, kv int64
		var failed error
		for _, n := range a.membership.Nodes() {
			if n.Role != cluster.Compute {
				continue
			}
			soon, cancel := context.WithTimeout(ctx, time.Second) // a node that has not heard of us cannot answer
			s, err := actors.Ask[*proto.Stats](soon, a.system, actors.NodePID(n.Name), &proto.StatsRequest{})
			cancel()
			failed = errors.Join(failed, err)
			weights, kv = weights+s.GetWeightBytes(), kv+s.GetKvBytes()
		}
		if failed == nil && done(weights, kv) {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			a.t.Fatalf("the nodes hold %d bytes of weights and %d of KV cache, not %s; %v", weights, kv, what, failed)
		}
	}
}
