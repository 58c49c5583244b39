package plan

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// arch reads one of the published configurations.
func arch(t testing.TB, name string) *Arch {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../research/configs", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseConfig(b)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return a
}

func TestParametersAreThoseOfThePublishedModels(t *testing.T) {
	for name, want := range map[string]struct {
		total, active float64 // billions, as the models' cards have them
		slack         float64 // of active, which cards round to whole billions, some with the embedding
	}{
		"GLM-4.7":         {355, 32, 0.03},
		"MiniMax-M2":      {230, 10, 0.05},
		"Qwen3-235B-A22B": {235, 22, 0.03},
		"Qwen3-30B-A3B":   {30.5, 3.3, 0.1},
		"GLM-4.7-Flash":   {30, 3, 0.2},
		"gpt-oss-120b":    {116.83, 5.13, 0.001},
		"Llama-3.3-70B":   {70.6, 70.6 - 1.05, 0.001},
		"DeepSeek-V3":     {671, 37, 0.02},
		"Llama-3.2-1B":    {1.24, 1.24, 0.01},
	} {
		a := arch(t, name)
		total, active := float64(a.Params())/1e9, float64(a.Active())/1e9
		t.Logf("%-16s %.2f B, of which a token uses %.2f B", name, total, active)
		if math.Abs(total/want.total-1) > 0.01 {
			t.Errorf("%s has %.2f billion parameters, published are %g", name, total, want.total)
		}
		if math.Abs(active/want.active-1) > want.slack {
			t.Errorf("%s uses %.2f billion parameters a token, published are %g", name, active, want.active)
		}
	}
}

func TestKVBytesAToken(t *testing.T) {
	for name, want := range map[string][3]int64{
		"GLM-4.7":         {376832, 376832 * 17 / 32, 376832 * 9 / 32},
		"MiniMax-M2":      {253952, 253952 * 17 / 32, 253952 * 9 / 32},
		"Qwen3-235B-A22B": {192512, 192512 * 17 / 32, 192512 * 9 / 32},
		"Qwen3-30B-A3B":   {98304, 98304 * 17 / 32, 98304 * 9 / 32},
		"GLM-4.7-Flash":   {54144, 54144 * 17 / 32, 54144 * 9 / 32},
		"gpt-oss-120b":    {36864, 36864 * 17 / 32, 36864 * 9 / 32},
		"Llama-3.3-70B":   {327680, 327680 * 17 / 32, 327680 * 9 / 32},
		"DeepSeek-V3":     {70272, 70272 * 17 / 32, 70272 * 9 / 32},
		"Llama-3.2-1B":    {32768, 32768 * 17 / 32, 32768 * 9 / 32},
	} {
		a := arch(t, name)
		for i, f := range []KV{KVF16, KVQ8, KVQ4} {
			if got := a.KVBytesPerToken(f); got != want[i] {
				t.Errorf("%s in %v: %d bytes a token, want %d", name, f, got, want[i])
			}
		}
	}
}

// TestGptOssIsAsLargeAsItsFiles: the published checkpoint, experts in MXFP4 and the rest in BF16, is 65.2 GB.
func TestGptOssIsAsLargeAsItsFiles(t *testing.T) {
	m, _ := arch(t, "gpt-oss-120b").Footprint("", WeightsBF16, KVF16, 256, 1)
	total := m.EmbedBytes + m.HeadBytes
	for _, b := range m.LayerBytes {
		total += b
	}
	if gb := float64(total) / 1e9; math.Abs(gb/65.2-1) > 0.01 {
		t.Errorf("%.2f GB", gb)
	}
	windows := 0
	for _, w := range m.Windows {
		if w == 128 {
			windows++
		}
	}
	if windows != 18 {
		t.Errorf("%d layers have a window", windows)
	}
}

func TestOnlyActiveExpertsAreReadButAllAreHeld(t *testing.T) {
	m, w := arch(t, "MiniMax-M2").Footprint("", WeightsQ4, KVF16, 256, 3)
	expert := int64(3*3072*1536) * 18 / 32
	for l := range m.LayerBytes {
		if held := m.LayerBytes[l] - w.ReadBytes[l]; held != 248*expert {
			t.Fatalf("layer %d holds %d bytes more than a token reads, want 248 experts of %d", l, held, expert)
		}
	}
}
