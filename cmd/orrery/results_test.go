package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/model/modeltest"
)

func TestLogitsAreTheSameOnOneNodeAndOnThree(t *testing.T) {
	dir := t.TempDir()
	if err := modeltest.Write(dir, modeltest.Options{Layers: 5, Vocab: 200}); err != nil {
		t.Fatal(err)
	}
	ids := ""
	for i := range 120 {
		ids += fmt.Sprintf("%d\n", (i*i*7+i)%200)
	}
	path := filepath.Join(dir, "ids.txt")
	write(t, path, []byte(ids))
	logits := func(args ...string) []float32 {
		out := filepath.Join(t.TempDir(), "out.npy")
		_, stderr, status := run(t, longWithin, append([]string{"logits", "--model", dir, "--ids-file", path, "--out", out, "--block", "16", "--chunk", "32"}, args...)...)
		if status != 0 {
			t.Fatalf("%v: status %d: %s", args, status, stderr)
		}
		return readNumPy(t, out, 120, 200)
	}
	want := logits()
	for _, args := range [][]string{
		{"--nodes", "3", "--mode", "pooled", "--decode", "8"},
		{"--nodes", "3", "--mode", "ring", "--switch-at", "40:pipeline,80:pooled"},
	} {
		got := logits(args...)
		if d, s := largestDifference(got, want), spread(want); !(d <= 1e-4*s) {
			t.Errorf("%v: logits differ by %g of their spread", args, d/s)
		}
	}
}

// readNumPy reads a file of float32 in C order.
func readNumPy(t *testing.T, path string, rows, cols int) []float32 {
	t.Helper()
	b := read(t, path)
	if len(b) < 10 || !bytes.HasPrefix(b, []byte("\x93NUMPY\x01\x00")) {
		t.Fatalf("%s is no NumPy file", path)
	}
	n := 10 + int(binary.LittleEndian.Uint16(b[8:]))
	header := string(b[10:n])
	for _, want := range []string{"'descr': '<f4'", "'fortran_order': False", fmt.Sprintf("'shape': (%d, %d)", rows, cols)} {
		if !strings.Contains(header, want) {
			t.Fatalf("%s is not in the header %q", want, header)
		}
	}
	v := make([]float32, rows*cols)
	if err := binary.Read(bytes.NewReader(b[n:]), binary.LittleEndian, v); err != nil {
		t.Fatal(err)
	}
	if rest := len(b) - n - 4*len(v); rest != 0 {
		t.Fatalf("%d bytes follow the logits", rest)
	}
	return v
}

// largestDifference is NaN if anything is.
func largestDifference(a, b []float32) (largest float64) {
	for i := range a {
		largest = max(largest, math.Abs(float64(a[i])-float64(b[i])))
	}
	return largest
}

// spread is the standard deviation.
func spread(v []float32) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range v {
		sum += float64(x)
		squares += float64(x) * float64(x)
	}
	n := float64(len(v))
	return math.Sqrt(squares/n - sum/n*sum/n)
}

func TestTheDemoIsRight(t *testing.T) {
	stdout, stderr, status := run(t, longWithin, "demo", "--context", "2048", "--codes", "2", "--format", "json")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var r demoReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in %.200q", err, stdout)
	}
	if len(r.Nodes) != 3 || len(r.Runs) != 4 || !r.AllRight || !r.SameTokens {
		t.Errorf("%+v", r)
	}
	for _, run := range r.Runs[:3] {
		if len(run.Answers) != 2 || !run.Answers[0].Right || !run.Answers[1].Right {
			t.Errorf("%s: %+v", run.Mode, run.Answers)
		}
	}
	for i, to := range []string{"pooled", "ring", "pipeline"} {
		if s := r.Runs[3].Switches[i]; s.To != to || s.Error != "" {
			t.Errorf("switch %d: %+v", i, s)
		}
	}
}
