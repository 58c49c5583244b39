package gguf_test

import (
	"encoding/binary"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/model/gguf"
)

// TestAFileOfTheReferenceLibraryIsRead reads what ggml wrote: values of every kind, 1,536 random numbers in
// each of the types that matter here, and those numbers as ggml reads them back.
func TestAFileOfTheReferenceLibraryIsRead(t *testing.T) {
	b, err := os.ReadFile("testdata/reference.gguf")
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]int64{
		"a.u8": 200, "a.i8": -7, "a.u16": 60000, "a.i16": -300, "a.u32": 4e9, "a.i32": -5, "a.u64": 1 << 40, "a.i64": -1 << 40,
	} {
		if got, err := f.Metadata[key].Int(); err != nil || got != want {
			t.Errorf("%s: %d, %v", key, got, err)
		}
	}
	for key, want := range map[string]float64{"a.f32": float64(float32(0.1)), "a.f64": 0.1} {
		if got, err := f.Metadata[key].Float(); err != nil || got != want {
			t.Errorf("%s: %g, %v", key, got, err)
		}
	}
	if got, err := f.Metadata["a.bool"].Bool(); err != nil || !got {
		t.Errorf("a.bool: %v, %v", got, err)
	}
	if seq, err := f.Metadata["a.strings"].Strings(); err != nil || !slices.Equal(values(seq), []string{"a", "", "café"}) {
		t.Errorf("a.strings: %v", err)
	}
	if seq, err := f.Metadata["a.ints"].Ints(); err != nil || !slices.Equal(values(seq), []int64{-1, 0, 7}) {
		t.Errorf("a.ints: %v", err)
	}
	if seq, err := f.Metadata["a.floats"].Floats(); err != nil || !slices.Equal(values(seq), []float64{1.5, -2}) {
		t.Errorf("a.floats: %v", err)
	}
	for name, c := range map[string]struct {
		kind  gguf.Type
		bytes int
	}{"x": {gguf.F32, 6144}, "f16": {gguf.F16, 3072}, "bf16": {gguf.BF16, 3072}, "q8_0": {gguf.Q8_0, 48 * 34}, "q4_0": {gguf.Q4_0, 48 * 18},
		"q4_K": {gguf.Q4_K, 6 * 144}, "q6_K": {gguf.Q6_K, 6 * 210}, "q4_K.widened": {gguf.F32, 6144}} {
		x := f.Tensors[name]
		if x.Type != c.kind || !slices.Equal(x.Shape, []int{3, 512}) || len(x.Data) != c.bytes {
			t.Errorf("%s: %v %v of %d bytes", name, x.Type, x.Shape, len(x.Data))
		}
	}
	three := f.Tensors["three"]
	if !slices.Equal(three.Shape, []int{4, 3, 2}) {
		t.Fatalf("three: %v", three.Shape)
	}
	for i := range 24 {
		if got := math.Float32frombits(binary.LittleEndian.Uint32(three.Data[4*i:])); got != float32(i) {
			t.Errorf("three[%d] is %g", i, got)
		}
	}
}
