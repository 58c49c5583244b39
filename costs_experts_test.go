package orrery

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
)

// TestAllExpertsAreHeldAndThoseInUseAreRead holds what is placed against the file, and what a step is predicted to read and to compute against the
// geometry.
func TestAllExpertsAreHeldAndThoseInUseAreRead(t *testing.T) {
	const layers, hidden, heads, kv, width, experts, active, vocab = 3, 64, 64, 32, 48, 6, 2, 256
	dir := t.TempDir()
	if err := modeltest.Write(dir, modeltest.Options{ModelType: "qwen3_moe", Layers: layers, Fields: map[string]any{"mlp_only_layers": []int{0}}}); err != nil {
		t.Fatal(err)
	}
	f, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	header := 8 + int64(b[0]) + int64(b[1])<<8 + int64(b[2])<<16
	held := f.EmbedBytes() + f.HeadBytes()
	for l := range layers {
		held += f.LayerBytes(l)
	}
	if want := int64(len(b)) - header; held != want {
		t.Errorf("%d bytes are placed, the file has %d", held, want)
	}
	w := workOf(f, KVF16)
	for l := range layers {
		matrices, idle := float64(hidden*(2*heads+2*kv)), int64(0)
		if l == 0 {
			matrices += 3 * hidden * 96
		} else {
			matrices += hidden*experts + active*3*hidden*width
			idle = 4 * (experts - active) * 3 * hidden * width
		}
		if got := f.LayerBytes(l) - w.ReadBytes[l]; got != idle {
			t.Errorf("layer %d: %d bytes are not read in a step, want %d", l, got, idle)
		}
		if got := w.ReadIn[l]["F32"]; got != w.ReadBytes[l] {
			t.Errorf("layer %d: %d bytes of F32 are read, of %d", l, got, w.ReadBytes[l])
		}
		if got := w.TokenFLOPs[l]; got != 2*matrices {
			t.Errorf("layer %d: %g operations a token, want %g", l, got, 2*matrices)
		}
	}
	m := &Model{files: f}
	m.opts.KV = KVF16
	read := f.HeadBytes()
	for l := range layers {
		read += f.ReadBytes(l)
	}
	if got, want := m.StepBytes(100), read+100*layers*2*2*2*16; got != want {
		t.Errorf("a step reads %d bytes, want %d", got, want)
	}
}
