package npy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRowsInAnyOrderMakeAFileThatNumPyReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.npy")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		first int
		rows  []float32
	}{{2, []float32{5, 6}}, {0, []float32{1, 2, 3, -4.5}}} {
		if err := w.WriteRows(r.first, r.rows); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if header := string(b[:len(b)-4*6]); len(header)%64 != 0 || header[len(header)-1] != '\n' ||
		!strings.HasPrefix(header[10:], "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }") {
		t.Fatalf("header %q", header)
	}
	rows, cols, data, err := Read(b)
	if err != nil || rows != 3 || cols != 2 || !slices.Equal(data, []float32{1, 2, 3, -4.5, 5, 6}) {
		t.Fatalf("read [%d][%d] %v: %v", rows, cols, data, err)
	}
	for _, n := range []int{0, 7, 9, 40, len(b) - 1} {
		if _, _, _, err := Read(b[:n]); err == nil {
			t.Errorf("the first %d bytes were read as a file", n)
		}
	}
}

func TestRowsThatDoNotFitAreRefused(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "a.npy"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		first, n int
	}{{3, 2}, {-1, 2}, {2, 4}, {0, 3}} {
		if err := w.WriteRows(r.first, make([]float32, r.n)); err == nil {
			t.Errorf("%d elements from row %d were written", r.n, r.first)
		}
	}
}
