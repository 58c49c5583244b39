package npy

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
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
	header := 10 + int(binary.LittleEndian.Uint16(b[8:]))
	if header%64 != 0 || string(b[:8]) != "\x93NUMPY\x01\x00" || b[header-1] != '\n' ||
		!strings.HasPrefix(string(b[10:]), "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }") {
		t.Fatalf("header %q", b[:header])
	}
	for i, want := range []float32{1, 2, 3, -4.5, 5, 6} {
		if got := math.Float32frombits(binary.LittleEndian.Uint32(b[header+4*i:])); got != want {
			t.Errorf("element %d is %v, want %v", i, got, want)
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
