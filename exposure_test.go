package orrery

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/ca"
)

func TestOnlyLoopbackIsOutOfReachOfOtherMachines(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:0": false, "127.9.9.9:7946": false, "[::1]:0": false, "[::ffff:127.0.0.1]:0": false, "localhost:0": false,
		":0": true, "0.0.0.0:0": true, "[::]:0": true, "192.0.2.1:7946": true, "[fe80::1%lo]:0": true, "[::ffff:192.0.2.1]:0": true,
	} {
		if got, err := exposed(t.Context(), addr); err != nil || got != want {
			t.Errorf("%s: %t, %v", addr, got, err)
		}
	}
	if _, err := exposed(t.Context(), "127.0.0.1"); err == nil {
		t.Error("an address without a port passes")
	}
}

// certificate is one for node a of cluster here, from one day to another, counted from today.
func certificate(t *testing.T, from, until int) *ca.Identity {
	t.Helper()
	days := func(from, until int) ca.Period {
		return ca.Period{From: time.Now().AddDate(0, 0, from), Until: time.Now().AddDate(0, 0, until)}
	}
	a, err := ca.New("here", days(-100, 100))
	if err != nil {
		t.Fatal(err)
	}
	id, err := a.Issue("a", days(from, until))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestStartRefusesWhatIsNotSafe(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"gossip in the open":        {Config{Bind: "0.0.0.0:0"}, "0.0.0.0:0"},
		"tensors in the open":       {Config{Listen: "[::]:0"}, "[::]:0"},
		"a certificate of another":  {Config{Name: "b", Identity: certificate(t, -1, 1)}, "of a of cluster here, not of b"},
		"one of another cluster":    {Config{Cluster: "there", Identity: certificate(t, -1, 1)}, "not of cluster there"},
		"one that has expired":      {Config{Identity: certificate(t, -9, -1)}, "expired"},
		"one that is not valid yet": {Config{Identity: certificate(t, 1, 9)}, "not valid before"},
		"no certificate at all":     {Config{Identity: new(ca.Identity)}, "the identity is empty"},
	} {
		c.cfg.Client = true
		started, err := Start(context.Background(), c.cfg)
		if err == nil {
			started.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		var open *ExposedError
		if strings.Contains(name, "in the open") && (!errors.As(err, &open) || open.Addr != c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNameAndClusterComeFromTheCertificate(t *testing.T) {
	id := certificate(t, -1, 1)
	node, err := Config{Identity: id}.withDefaults()
	if err != nil || node.Name != "a" || node.Cluster != "here" {
		t.Errorf("a node is %s of %s; %v", node.Name, node.Cluster, err)
	}
	client, err := Config{Identity: id, Client: true}.withDefaults()
	if err != nil || client.Name == "a" || !id.Name().Covers(client.Name) || client.Cluster != "here" {
		t.Errorf("a client is %s of %s; %v", client.Name, client.Cluster, err)
	}
	if again, _ := (Config{Identity: id, Client: true}).withDefaults(); again.Name == client.Name {
		t.Error("two clients of one machine have one name")
	}
}
