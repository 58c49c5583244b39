package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
)

// planned parses a command line and plans.
func planned(t *testing.T, args ...string) (*planCmd, error) {
	t.Helper()
	var c struct {
		Plan planCmd `cmd:""`
	}
	parser, err := kong.New(&c, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(append([]string{"plan"}, args...))
	return &c.Plan, err
}

const minimaxConfig, m4Cluster = "../../research/configs/MiniMax-M2.json", "../../research/m4-cluster.yaml"

// TestOneByteDecides offers two nodes exactly what they need, and one of them a byte less.
func TestOneByteDecides(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	c, err := planned(t, "--model", "../../research/configs/GLM-4.7-Flash.json", "--cluster", m4Cluster, "--context", "200000", "--mode", "pipeline")
	if err != nil {
		t.Fatal(err)
	}
	c.Cluster = file
	offer := func(a, b int64) *placement.Refusal {
		t.Helper()
		text := fmt.Sprintf(`
nodes:
  - {name: a, memory: %dB, bandwidth: 546GB/s, flops: 18TFLOPS}
  - {name: b, memory: %dB, bandwidth: 273GB/s, flops: 9TFLOPS}
links: {wire: {latency: 30us, bandwidth: 5GB/s}}
default_link: wire
`, a, b)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := c.make(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Modes) != 1 || r.Modes[0].Fits != r.Fits() {
			t.Fatalf("%d modes were planned", len(r.Modes))
		}
		return r.Modes[0].Refusal
	}
	// Layers are pinned, so that a node that is short cannot hand one to the other.
	if err := c.Layers.UnmarshalText([]byte("a=0-30,b=31-46")); err != nil {
		t.Fatal(err)
	}
	refusal := offer(1, 1)
	a, b := refusal.Rows[0].Needs(), refusal.Rows[1].Needs()
	if refusal = offer(a, b); refusal != nil {
		t.Errorf("with exactly what it needs: %v", refusal)
	}
	if refusal = offer(a, b-1); refusal == nil || refusal.Missing != 1 || refusal.Rows[1].Lacks != 1 {
		t.Errorf("with a byte less on b: %v", refusal)
	}
}

func TestAPlanForSeveralSequencesSaysWhatEachGets(t *testing.T) {
	for sequences, want := range map[string]bool{"1": false, "3": true} {
		c, err := planned(t, "--model", minimaxConfig, "--cluster", m4Cluster, "--context", "20000", "--sequences", sequences)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.make(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		text := planText(r)
		for _, part := range []string{"of " + sequences + " sequences that decode at the same time", "│ each │", "sequences in it"} {
			if strings.Contains(text, part) != want {
				t.Errorf("for %s sequences %q is there: %v\n%s", sequences, part, !want, text)
			}
		}
		var b bytes.Buffer
		if err := writePlanCSV(&b, r); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil || rows[0][8] != "sequences" || rows[1][8] != sequences {
			t.Errorf("%v, %v", rows, err)
		}
	}
}

func TestAPlanThatDoesNotFitIsSaidAndEndsWithStatusOne(t *testing.T) {
	c, err := planned(t, "--model", "../../research/configs/DeepSeek-V3.json", "--cluster", m4Cluster, "--context", "100000")
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text := planText(r)
	for _, want := range []string{"pipeline does not fit", "pooled does not fit", "ring does not fit", "another node", "lacks"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "Predicted") {
		t.Errorf("speeds of what does not fit:\n%s", text)
	}
	var b bytes.Buffer
	if err := c.write(&b, r); !errors.Is(err, errSaidAlready) || b.String() != text {
		t.Errorf("the command ends with %v", err)
	}
}

func TestAPlanIsPrintedInEveryFormat(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "m.svg")
	c, err := planned(t, "--model", minimaxConfig, "--cluster", m4Cluster, "--context", "200000", "--kv", "q8", "--weights", "q5", "--link", "tcp", "--at", "1000,104000", "--plot", picture)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text := planText(r)
	for _, want := range []string{"MiniMax-M2", "q5", "q8", "tcp", "made for contexts of up to 196608", "54-61 (8)", "104000", "pooled decodes faster than pipeline from", "ring does not fit"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text does not say %q:\n%s", want, text)
		}
	}
	var b bytes.Buffer
	if err := writePlan(&b, "csv", r); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 1+2*3 {
		t.Errorf("%d rows of csv, %v", len(rows), err)
	}
	if err := writePlan(&b, "json", r); err != nil || !json.Valid(b.Bytes()) {
		t.Errorf("json: %v", err)
	}
	if err := c.draw(r); err != nil {
		t.Fatal(err)
	}
	if svg, err := os.ReadFile(picture); err != nil || !bytes.Contains(svg, []byte("<svg")) {
		t.Errorf("the picture is %.40q, %v", svg, err)
	}
}

func TestBadPlanFlagsAreNamed(t *testing.T) {
	for _, k := range []struct{ flag, value, want string }{
		{"--kv", "q5", `"q5"`},
		{"--weights", "q7", `"q7"`},
		{"--mode", "auto", `"auto"`},
		{"--layers", "a=5-3", "a=5-3"},
		{"--layers", "a=0-3,a=4-5", "twice"},
		{"--layers", "=0-3", "NODE=FIRST-LAST"},
		{"--plot", "picture.gif", ".gif"},
		{"--link", "pigeon", "pigeon"},
		{"--model", "nothing.json", "nothing.json"},
	} {
		c, err := planned(t, "--model", minimaxConfig, "--cluster", m4Cluster, "--context", "1000", k.flag, k.value)
		if err == nil {
			_, err = c.make(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), k.want) {
			t.Errorf("%s %s: want %q, got %v", k.flag, k.value, k.want, err)
		}
	}
}

func TestAGGUFFileIsPlannedAsItIsStored(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "small-f32.gguf")
	if err := errors.Join(modeltest.Write(dir, modeltest.Options{}), modeltest.WriteGGUF(file, dir, 0)); err != nil {
		t.Fatal(err)
	}
	bytesOf := func(args ...string) (string, int64) {
		t.Helper()
		c, err := planned(t, append(args, "--cluster", m4Cluster, "--context", "4096", "--at", "1000")...)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.make(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(r.Model, " ", r.Weights), r.WeightBytes
	}
	what, size := bytesOf("--model", file)
	if what != "small-f32 stored" {
		t.Errorf("planned %s", what)
	}
	if folder, same := bytesOf("--model", dir, "--weights", "stored"); same != size || folder != filepath.Base(dir)+" stored" {
		t.Errorf("the folder that it was made from: %s, %d bytes, want %d", folder, same, size)
	}
	if home, same := bytesOf("--model", filepath.Dir(file)); same != size || home != filepath.Base(filepath.Dir(file))+" stored" {
		t.Errorf("the folder that it lies in: %s, %d bytes, want %d", home, same, size)
	}
	if what, smaller := bytesOf("--model", file, "--weights", "q4"); what != "small-f32 q4" || smaller >= size/6 {
		t.Errorf("in q4: %s, %d bytes of %d", what, smaller, size)
	}
}

func TestTheModelThatShipsCanBePlanned(t *testing.T) {
	stdout, stderr, status := run(t, exitWithin, "plan", "--model", "recall", "--cluster", m4Cluster, "--context", "32768")
	if status != 0 || !strings.Contains(stdout, "recall (") || !strings.Contains(stdout, "weights as stored") {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
}
