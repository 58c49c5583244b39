package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery/ca"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/transport"
)

// testAuthority is one that orrery ca init has made.
type testAuthority struct {
	t   testing.TB
	dir string
}

func newAuthority(t testing.TB) *testAuthority {
	t.Helper()
	a := &testAuthority{t, filepath.Join(t.TempDir(), "ca")}
	succeed(t, "ca", "init", "--dir", a.dir)
	return a
}

// issue gives the directory of a certificate.
func (a *testAuthority) issue(node string, args ...string) string {
	a.t.Helper()
	dir := filepath.Join(a.t.TempDir(), node+".tls")
	succeed(a.t, append([]string{"ca", "issue", node, "--dir", a.dir, "--out", dir}, args...)...)
	return dir
}

// succeed runs a command that must not fail, and gives what it printed.
func succeed(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, status := run(t, exitWithin, args...)
	if status != 0 {
		t.Fatalf("orrery %s: status %d: %s", strings.Join(args, " "), status, stderr)
	}
	return stdout
}

func TestAClusterWithCertificatesGenerates(t *testing.T) {
	authority := newAuthority(t)
	a := startNode(t, "a", "--tls", authority.issue("a"), "--bandwidth", "10GB")
	startNode(t, "b", "--tls", authority.issue("b"), "--bandwidth", "4GB", "--join", a.addr)
	startNode(t, "c", "--tls", authority.issue("c"), "--bandwidth", "25GB", "--join", a.addr)
	doc, code := document(t, 600)
	laptop := authority.issue("laptop")
	ask := []string{"--tls", laptop, "--join", a.addr, "--prompt-file", doc, "--prompt", code.Question(), "--chat", "--block", "32", "--chunk", "200"}
	for _, mode := range []string{"pipeline", "pooled", "ring"} {
		if r := generate(t, append(ask, "--mode", mode)...); r.Text != code.Answer() {
			t.Errorf("%s: %q, not %q", mode, r.Text, code.Answer())
		}
	}
	// It goes on behind its answer, so that both switches take effect however fast it is.
	if r := generate(t, append(ask, "--switch-at", "4:pooled,8:ring", "--ignore-eos", "--max-tokens", "400")...); !strings.HasPrefix(r.Text, code.Answer()) || len(r.Switches) != 2 {
		t.Errorf("with switches: %+v", r)
	}
	// Two commands of one machine have one certificate.
	var both errgroup.Group
	for range 2 {
		both.Go(func() error {
			if r := generate(t, ask...); r.Text != code.Answer() {
				t.Errorf("one of two at a time: %q", r.Text)
			}
			return nil
		})
	}
	_ = both.Wait()
}

func TestACertificateLetsANodeListenToOtherMachines(t *testing.T) {
	authority := newAuthority(t)
	everywhere := []string{"node", "--bind", "0.0.0.0:0", "--advertise", "127.0.0.1", "--calibrate", "off", "--bandwidth", "4GB", "--memory", "1GiB", "--threads", "1"}
	safe := start(t, append(everywhere, "--tls", authority.issue("a"))...)
	if !safe.stdout.until(readyWithin, gossipLine.MatchString) || strings.Contains(strings.ToLower(safe.stderr.String()), "insecure") {
		t.Errorf("with a certificate: %s", safe.stderr)
	}
	unsafe := start(t, append(everywhere, "--insecure")...)
	if !unsafe.stdout.until(readyWithin, gossipLine.MatchString) {
		t.Error("--insecure does not start")
	}
	unsafe.logs("WARNING: --insecure", "level=WARN", "INSECURE", "0.0.0.0:0")
}

// transportOf is where a node listens for tensors and messages, as it tells those with a good certificate.
func transportOf(t testing.TB, ctx context.Context, n *testNode, id *ca.Identity) string {
	t.Helper()
	m, err := cluster.Start(cluster.Config{Name: id.Name().Session(), Bind: "127.0.0.1:0", Cluster: id.Name().Cluster, Keys: id.GossipKeys(),
		Self: cluster.Node{Role: cluster.Client}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Join(ctx, []string{n.addr}); err != nil {
		t.Fatal(err)
	}
	for _, peer := range m.Nodes() {
		if peer.Name == n.name {
			return peer.Transport
		}
	}
	t.Fatalf("nobody knows node %s", n.name)
	return ""
}

func TestWhoHasNoGoodCertificateIsRefusedOnBothSides(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	load := func(dir string) *ca.Identity {
		id, err := ca.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	mine := load(ours.issue("b"))
	ended := expire(t, ours.dir, "b")
	foreign := theirs.issue("b")
	a := startNode(t, "a", "--tls", ours.issue("a"), "--bandwidth", "4GB")
	ctx := within(t, longWithin)
	where := transportOf(t, ctx, a, mine)

	// Real nodes get as far as the gossip, or not even that.
	for _, c := range []struct {
		name, logged string
		args, told   []string
	}{
		{"another authority's", "gossip keys do not match: it has another key", []string{"--tls", foreign}, []string{a.addr, "gossip keys do not match", "--tls"}},
		{"none", "gossip keys do not match: it has none", nil, []string{a.addr, "the seed has a key and this node has none", "--tls"}},
		{"one that has expired", "", []string{"--tls", ended}, []string{"b of cluster orrery has expired on", "orrery ca issue b"}},
	} {
		_, stderr, status := run(t, exitWithin, append([]string{"node", "--join", a.addr, "--bandwidth", "4GB"}, c.args...)...)
		if status != statusFailed {
			t.Errorf("%s: status %d", c.name, status)
		}
		for _, want := range c.told {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: %q is not in %s", c.name, want, stderr)
			}
		}
		if c.logged != "" && !a.stderr.until(exitWithin, func(s string) bool { return strings.Contains(s, c.logged) }) {
			t.Errorf("%s: the node did not log %q", c.name, c.logged)
		}
	}

	// Who has found the port of the tensors all the same gets no further.
	for _, c := range []struct {
		name         string
		id           *ca.Identity
		told, logged string
	}{
		{"another authority's", load(foreign), "the peer's certificate is not good: that of a of cluster orrery, from another authority", "turned down this node's certificate"},
		{"none", nil, "this node talks TLS alone: issue a certificate with orrery ca issue", "it talks without TLS: it has no certificate"},
		{"one that has expired", load(ended), "the peer turned down this node's certificate: it has expired", "that of b of cluster orrery, expired on"},
	} {
		e, err := transport.Listen("127.0.0.1:0", transport.Config{Cluster: "orrery", Node: "b", Identity: c.id, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		e.SetPeer("a", where)
		_, err = e.Sender("a", transport.LaneKey{Model: 1, Purpose: transport.Step}, 1)
		var refused *transport.ErrRefused
		if !errors.As(err, &refused) || !strings.Contains(refused.Reason, c.told) {
			t.Errorf("%s: %v", c.name, err)
		}
		if !a.stderr.until(exitWithin, func(s string) bool { return strings.Contains(s, c.logged) }) {
			t.Errorf("%s: the node did not log %q", c.name, c.logged)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}

	// The node has taken no harm.
	if r := generate(t, "--tls", ours.issue("laptop"), "--join", a.addr, "--prompt", "Once", "--max-tokens", "4"); r.Tokens == 0 {
		t.Error("nothing is generated")
	}
}

// expire saves a certificate of a node that an authority has issued and that ended just now.
func expire(t testing.TB, authorityDir, node string) string {
	t.Helper()
	a, err := ca.Open(authorityDir)
	if err != nil {
		t.Fatal(err)
	}
	id, err := a.Issue(node, ca.Period{From: a.Period().From, Until: time.Now().Add(-time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), node+".tls")
	if err := id.Save(dir, false); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAClusterPassesFromOneAuthorityToTheNext(t *testing.T) {
	old, next := newAuthority(t), newAuthority(t)
	a := startNode(t, "a", "--tls", old.issue("a", "--also", next.dir), "--bandwidth", "10GB")
	startNode(t, "b", "--tls", next.issue("b", "--also", old.dir), "--bandwidth", "10GB", "--join", a.addr)
	for _, dir := range []string{old.issue("laptop", "--also", next.dir), next.issue("laptop", "--also", old.dir)} {
		if r := generate(t, "--tls", dir, "--join", a.addr, "--mode", "pooled", "--prompt", "Once", "--max-tokens", "4"); r.Tokens == 0 {
			t.Error("nothing is generated")
		}
	}
}

func TestCertificatesAreShownAndNeverOverwrittenUnasked(t *testing.T) {
	authority := newAuthority(t)
	dir := authority.issue("a", "--days", "20")
	var shown []certificateReport
	if err := json.Unmarshal([]byte(succeed(t, "ca", "show", dir, "--format", "json")), &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown) != 2 || shown[0].Node != "a" || shown[0].Cluster != "orrery" || shown[0].State != "valid" || shown[1].Kind != "authority" ||
		shown[0].Until.After(time.Now().AddDate(0, 0, 21)) {
		t.Errorf("shown: %+v", shown)
	}
	table, csv := succeed(t, "ca", "show", dir), succeed(t, "ca", "show", expire(t, authority.dir, "old"), "--format", "csv")
	if !strings.Contains(table, "a of cluster orrery") || !strings.Contains(table, shown[0].Fingerprint[:16]) {
		t.Errorf("as a table:\n%s", table)
	}
	if !strings.Contains(csv, "node,old,orrery,") || !strings.Contains(csv, ",expired,") {
		t.Errorf("as csv:\n%s", csv)
	}
	refused(t, map[string]badInput{
		"an authority": {[]string{"ca", "init", "--dir", authority.dir}, statusFailed, []string{authority.dir, "exists"}},
		"a node":       {[]string{"ca", "issue", "a", "--dir", authority.dir, "--out", dir}, statusFailed, []string{dir, "exists", "--replace"}},
		"too long":     {[]string{"ca", "issue", "x", "--dir", authority.dir, "--days", "9999", "--out", filepath.Join(dir, "x")}, statusFailed, []string{"--days", "9999"}},
		"a name":       {[]string{"ca", "issue", "a+b", "--dir", authority.dir, "--out", filepath.Join(dir, "x")}, statusUsage, []string{`"a+b"`}},
		"no authority": {[]string{"ca", "issue", "x", "--dir", dir, "--out", filepath.Join(dir, "x")}, statusFailed, []string{"ca.key", "directory of a node"}},
	})
	succeed(t, "ca", "issue", "a", "--dir", authority.dir, "--out", dir, "--replace")
}
