package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const m4Scale = "../../research/m4-scale.yaml"

// simulated parses a command line and simulates.
func simulated(t *testing.T, args ...string) (*planCmd, error) {
	t.Helper()
	c, err := planned(t, append([]string{"--simulate", "--model", minimaxConfig, "--cluster", m4Scale, "--context", "200000"}, args...)...)
	if err != nil {
		return c, err
	}
	return c, c.simulateFlags.check()
}

func TestASimulationIsPrintedInEveryFormat(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "s.svg")
	c, err := simulated(t, "--counts", "1,2,4,16,64", "--contexts", "100000,200000", "--steps", "3", "--seed", "5", "--plot", picture)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.simulate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var text, b bytes.Buffer
	if err := c.writeSimulation(&text, s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MiniMax-M2", "q4", "made for contexts of up to 196608", "pooled at 100000 tokens", "pooled at 200000 tokens", "tree of", "jitter of 3 µs", "2.0% of the nodes take 1.50 times as long",
		"3 steps, seed 5", "Too little memory with 1 node.", "pooled with a star stops at", "owner's port", "ring at 200000 tokens: too little memory", "lanes between all pairs"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text does not say %q:\n%s", want, text.String())
		}
	}
	if err := writeScaling(&b, "csv", s); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 1+2*4*3 || rows[0][len(rows[0])-1] != "jitter seconds" {
		t.Errorf("%d rows of csv, %v", len(rows), err)
	}
	if err := writeScaling(&b, "json", s); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Series []struct {
			Mode   string
			Points []struct {
				Nodes int
				Waits map[string]float64 `json:"waits_seconds"`
			}
		}
		Lanes struct {
			Most int `json:"most_nodes_that_fit_with_present_lanes"`
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Series) != 10 || got.Series[1].Points[0].Nodes != 2 || got.Series[1].Points[0].Waits["KV read"] == 0 || got.Lanes.Most != 64 {
		t.Errorf("json: %+v", got)
	}
	if svg, err := os.ReadFile(picture); err != nil || !bytes.Contains(svg, []byte("<svg")) {
		t.Errorf("the picture is %.40q, %v", svg, err)
	}
}

func TestASimulationThatFitsNowhereEndsWithStatusOne(t *testing.T) {
	c, err := simulated(t, "--counts", "1", "--calm")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.simulate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.writeSimulation(&b, s); !errors.Is(err, errSaidAlready) || !strings.Contains(b.String(), "pooled at 200000 tokens: too little memory on all") {
		t.Errorf("the command ends with %v and says\n%s", err, b.String())
	}
}

func TestASimulationCanBeInterrupted(t *testing.T) {
	c, err := simulated(t)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx, slog.Default()); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

func TestBadSimulationFlagsAreNamed(t *testing.T) {
	for _, k := range []struct{ flag, value, want string }{
		{"--counts", "4,x", `"x"`},
		{"--counts", "0", "1 or more"},
		{"--counts", "2000", "2000 nodes"},
		{"--contexts", "300000", "300000"},
		{"--steps", "-5", "1 or more"},
		{"--seed", "-1", "seed"},
		{"--layers", "studio=0-3", "layers"},
		{"--plot", "picture.gif", ".gif"},
		{"--link", "pigeon", "pigeon"},
	} {
		c, err := simulated(t, k.flag+"="+k.value)
		if err == nil {
			_, err = c.simulate(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), k.want) {
			t.Errorf("%s %s: want %q, got %v", k.flag, k.value, k.want, err)
		}
	}
	for flag, value := range map[string]string{"counts": "2", "contexts": "1000", "steps": "5", "seed": "2"} {
		c, err := planned(t, "--model", minimaxConfig, "--cluster", m4Scale, "--context", "1000", "--"+flag, value)
		if err == nil {
			err = c.Run(t.Context(), slog.Default())
		}
		if err == nil || !strings.Contains(err.Error(), "--"+flag) || !strings.Contains(err.Error(), "--simulate") {
			t.Errorf("--%s without --simulate gives %v", flag, err)
		}
	}
}
