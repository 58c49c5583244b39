package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
)

// TestFootprintIsWhatTheRuntimeCounts holds the sizes from a config.json against those of the tensors of
// the same model, and against the engine's own sum.
func TestFootprintIsWhatTheRuntimeCounts(t *testing.T) {
	dirs := map[string]string{"recall": "../recall/model"}
	for name, o := range map[string]modeltest.Options{
		"qwen3_moe": {ModelType: "qwen3_moe", Experts: 9, Active: 4, Vocab: 3000}, "mixtral": {ModelType: "mixtral", Tied: true, Hidden: 32, Heads: 2},
		"wider where it has none": {ModelType: "qwen3_moe", Intermediate: 480, Fields: map[string]any{"mlp_only_layers": []int{0, 2}}},
	} {
		dirs[name] = t.TempDir()
		o.Format, o.HeadDim = device.BF16, 32
		if err := modeltest.Write(dirs[name], o); err != nil {
			t.Fatal(err)
		}
	}
	for name, dir := range dirs {
		t.Run(name, func(t *testing.T) { footprintIsCounted(t, dir) })
	}
}

func footprintIsCounted(t *testing.T, dir string) {
	const chunk, block = 1024, 256
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseConfig(b)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer loaded.Close()
	for _, nodes := range []int{1, 3} {
		for kv, format := range map[KV]attention.Format{KVF16: attention.F16, KVQ8: attention.Q8, KVQ4: attention.Q4} {
			got, work := a.Footprint("", WeightsBF16, kv, block, nodes)
			if got.EmbedBytes != loaded.EmbedBytes() || got.HeadBytes != loaded.HeadBytes() || got.Tied != loaded.Config.Tied {
				t.Errorf("embedding and head are %d and %d bytes, want %d and %d", got.EmbedBytes, got.HeadBytes, loaded.EmbedBytes(), loaded.HeadBytes())
			}
			for l := range loaded.Config.Layers {
				if got.LayerBytes[l] != loaded.LayerBytes(l) {
					t.Errorf("layer %d is %d bytes, want %d", l, got.LayerBytes[l], loaded.LayerBytes(l))
				}
				if want := loaded.ReadBytes(l); work.ReadBytes[l] != want {
					t.Errorf("layer %d reads %d bytes, want %d", l, work.ReadBytes[l], want)
				}
				if want := loaded.Config.KVBytesPerToken(format); got.KVBytesPerToken[l] != want {
					t.Errorf("layer %d keeps %d bytes a token, want %d", l, got.KVBytesPerToken[l], want)
				}
			}
			layers := loaded.Config.Layers
			for mode := placement.Mode(0); mode <= placement.Ring; mode++ {
				for _, r := range []placement.Range{{}, {First: 0, End: 1}, {First: 1, End: 2}, {First: layers - 1, End: layers}, {First: 0, End: layers}} {
					for _, s := range [][3]int{{chunk, 8192, 4096}, {chunk, chunk, block}, {chunk, chunk + 1, 0}, {block / 2, 3 * block, block}, {1, 1, 1}} {
						for _, fastest := range []bool{false, true} {
							steps := placement.Steps{Mode: mode, Layers: r, Fastest: fastest, Chunk: s[0], Context: s[1], Tokens: s[2], Sequences: 2}
							if got, want := got.ScratchBytes(steps), engine.Footprint(loaded, format, block, nodes, true).Bytes(steps); got != want {
								t.Errorf("%d nodes: activations of %+v are %d bytes, the engine says %d", nodes, steps, got, want)
							}
						}
					}
				}
			}
		}
	}
}

// edited is a published configuration with fields replaced; nil takes one out.
func edited(t *testing.T, name string, change map[string]any) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../research/configs", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	for k, v := range change {
		if fields[k] = v; v == nil {
			delete(fields, k)
		}
	}
	if b, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBadConfigsNameTheField(t *testing.T) {
	for _, k := range []struct {
		model, field string
		value        any
		want         string
	}{
		{"Llama-3.3-70B", "model_type", nil, "model_type is missing"},
		{"Llama-3.3-70B", "model_type", "gpt2", "gpt2"},
		{"Llama-3.3-70B", "num_hidden_layers", nil, "num_hidden_layers is missing"},
		{"Llama-3.3-70B", "num_hidden_layers", 1 << 20, "num_hidden_layers 1048576"},
		{"Llama-3.3-70B", "hidden_size", -1, "hidden_size -1"},
		{"Llama-3.3-70B", "num_key_value_heads", 7, "num_key_value_heads 7"},
		{"Llama-3.3-70B", "num_attention_heads", 0, "num_attention_heads 0"},
		{"Qwen3-235B-A22B", "num_experts", nil, "num_experts is missing"},
		{"Qwen3-235B-A22B", "num_experts_per_tok", 129, "num_experts_per_tok 129"},
		{"GLM-4.7", "n_routed_experts", 1 << 30, "n_routed_experts"},
		{"GLM-4.7-Flash", "kv_lora_rank", nil, "kv_lora_rank is missing"},
		{"GLM-4.7-Flash", "mlp_layer_types", []string{"dense"}, "mlp_layer_types has 1"},
		{"gpt-oss-120b", "sliding_window", 0, "sliding_window 0"},
		{"gpt-oss-120b", "layer_types", []string{"full_attention"}, "layer_types has 1"},
		{"MiniMax-M2", "vocab_size", "many", "vocab_size"},
	} {
		if _, err := ParseConfig(edited(t, k.model, map[string]any{k.field: k.value})); err == nil || !strings.Contains(err.Error(), k.want) {
			t.Errorf("want %q, got %v", k.want, err)
		}
	}
	for want, change := range map[string]map[string]any{
		"intermediate_size is missing": {"intermediate_size": nil, "mlp_bias": true},
		"parameters, over":             {"num_hidden_layers": 1024, "hidden_size": 1 << 20, "intermediate_size": 1 << 20},
	} {
		if _, err := ParseConfig(edited(t, "Llama-3.3-70B", change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestQuantizedWeightsAreReadInTheirFormat(t *testing.T) {
	a := arch(t, "gpt-oss-120b") // whose experts are in MXFP4, whatever the other matrices are in
	_, w := a.Footprint("", WeightsQ8, KVF16, 256, 3)
	if got, want := w.ReadIn[0]["Q8_0"], WeightsQ8.bytes(a.Layers[0].Dense); got != want {
		t.Errorf("%d bytes of the first layer are in Q8_0, want %d", got, want)
	}
	dense := arch(t, "Llama-3.3-70B")
	_, w = dense.Footprint("", WeightsQ4, KVF16, 256, 3)
	if got, all := w.ReadIn[0]["Q4_0"], w.ReadBytes[0]; got >= all || got < all*99/100 || w.HeadIn["Q4_0"] >= w.HeadRead {
		t.Errorf("%d bytes of %d are in Q4_0, and %d of %d of the head", got, all, w.HeadIn["Q4_0"], w.HeadRead)
	}
	if _, w := dense.Footprint("", WeightsBF16, KVF16, 256, 3); w.ReadIn != nil || w.HeadIn != nil {
		t.Errorf("bf16 is in %v and %v", w.ReadIn, w.HeadIn)
	}
}

func TestLayersDifferWhereTheConfigSaysSo(t *testing.T) {
	parse := func(name string, change map[string]any) *Arch {
		t.Helper()
		a, err := ParseConfig(edited(t, name, change))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	glm := parse("GLM-4.7", nil)
	if glm.Layers[2].Experts != 0 || glm.Layers[3].Experts != 160 {
		t.Error("the first three layers are dense, the others routed")
	}
	qwen := parse("Qwen3-235B-A22B", map[string]any{"mlp_only_layers": []int{5}, "decoder_sparse_step": 2})
	if qwen.Layers[4].Experts != 0 || qwen.Layers[5].Experts != 0 || qwen.Layers[7].Experts != 128 {
		t.Error("every other layer is routed, but the fifth")
	}
	oss := parse("gpt-oss-120b", map[string]any{"layer_types": nil, "quantization_config": nil})
	if oss.Layers[0].Window != 128 || oss.Layers[1].Window != 0 || oss.Layers[0].MXFP4 {
		t.Error("windows alternate; without a quantization_config experts are like the other matrices")
	}
	flash := parse("GLM-4.7-Flash", map[string]any{"q_lora_rank": nil})
	if got, want := parse("GLM-4.7-Flash", nil).Layers[0].Dense-flash.Layers[0].Dense, int64(768*(2048+5120)-2048*5120); got != want {
		t.Errorf("a query of low rank has %d parameters more, want %d", got, want)
	}
	biased := parse("Llama-3.3-70B", map[string]any{"attention_bias": true, "mlp_bias": true})
	if got, want := biased.Layers[0].Kept-parse("Llama-3.3-70B", nil).Layers[0].Kept, int64(2*8192+2*1024+2*28672+8192); got != want {
		t.Errorf("biases are %d parameters, want %d", got, want)
	}
}

func FuzzParseConfig(f *testing.F) {
	files, err := filepath.Glob("../research/configs/*.json")
	if err != nil || len(files) != 11 {
		f.Fatalf("%d configurations, %v", len(files), err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"model_type":"llama","num_hidden_layers":1,"hidden_size":8,"num_attention_heads":1,"vocab_size":9,"mlp_bias":true}`))
	f.Add([]byte(`{"model_type":"mixtral","num_hidden_layers":1000,"hidden_size":1000000,"num_attention_heads":1,"vocab_size":9,
		"num_local_experts":10000,"num_experts_per_tok":1,"intermediate_size":1000000}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseConfig(b)
		if err != nil {
			return
		}
		m, w := a.Footprint("", WeightsQ4, KVQ4, 256, 3)
		if a.Params() < a.Active()-int64(a.Hidden) || m.ScratchBytes(placement.Steps{Layers: placement.Range{First: 0, End: len(a.Layers)}, Chunk: 1024, Context: 2048, Sequences: 1}) <= 0 || len(w.ReadBytes) != len(m.LayerBytes) {
			t.Fatalf("%d parameters, of which a token uses %d", a.Params(), a.Active())
		}
		for l, held := range m.LayerBytes {
			if w.ReadBytes[l] <= 0 || w.ReadBytes[l] > held {
				t.Fatalf("layer %d: %d of %d bytes are read", l, w.ReadBytes[l], held)
			}
		}
	})
}

// TestWeightsAsStoredAreThoseOfTheFiles plans a GGUF file by the bytes that it has.
func TestWeightsAsStoredAreThoseOfTheFiles(t *testing.T) {
	for _, kind := range []string{"qwen2", "qwen3_moe"} {
		for _, format := range []device.Format{0, device.Q8_0} {
			t.Run(fmt.Sprint(kind, " ", format), func(t *testing.T) { weightsAreThoseOfTheFile(t, kind, format) })
		}
	}
}

// weightsAreThoseOfTheFile has matrices in a format, or as they are for 0.
func weightsAreThoseOfTheFile(t *testing.T, kind string, format device.Format) {
	dir := t.TempDir()
	file := filepath.Join(dir, "model.gguf")
	if err := errors.Join(modeltest.Write(dir, modeltest.Options{ModelType: kind}), modeltest.WriteGGUF(file, dir, format)); err != nil {
		t.Fatal(err)
	}
	m, err := model.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := m.File("config.json")
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseConfig(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Make(a, &Cluster{}, Options{Weights: WeightsStored, Context: 100}); err == nil || !strings.Contains(err.Error(), "stored") {
		t.Errorf("without files: %v", err)
	}
	a.Stored = &Stored{Embed: m.EmbedBytes(), Head: m.HeadBytes(), HeadIn: m.HeadFormats()}
	for l := range m.Config.Layers {
		a.Stored.ReadIn = append(a.Stored.ReadIn, m.ReadFormats(l))
		a.Stored.Layers, a.Stored.Reads = append(a.Stored.Layers, m.LayerBytes(l)), append(a.Stored.Reads, m.ReadBytes(l))
	}
	p, w := a.Footprint("", WeightsStored, KVF16, 256, 1)
	if p.EmbedBytes != m.EmbedBytes() || p.HeadBytes != m.HeadBytes() || w.HeadRead != m.HeadBytes() {
		t.Errorf("embedding %d, head %d, read %d; want %d, %d", p.EmbedBytes, p.HeadBytes, w.HeadRead, m.EmbedBytes(), m.HeadBytes())
	}
	if !maps.Equal(w.HeadIn, m.HeadFormats()) {
		t.Errorf("head in %v, want %v", w.HeadIn, m.HeadFormats())
	}
	steps := placement.Steps{Layers: placement.Range{First: 0, End: m.Config.Layers}, Chunk: 64, Context: 100, Sequences: 1}
	if got, want := p.ScratchBytes(steps), engine.Footprint(m, attention.F16, 256, 1, true).Bytes(steps); got != want {
		t.Errorf("activations are %d bytes, the engine says %d", got, want)
	}
	bf16, _ := a.Footprint("", WeightsBF16, KVF16, 256, 1)
	if more := p.ScratchBytes(steps) - bf16.ScratchBytes(steps); (more > 0) != (format != 0) { // numbers of activations
		t.Errorf("activations take %d bytes more than with weights in bf16", more)
	}
	for l := range m.Config.Layers {
		if want := m.ReadFormats(l); !maps.Equal(w.ReadIn[l], want) {
			t.Errorf("layer %d in %v, want %v", l, w.ReadIn[l], want)
		}
		if p.LayerBytes[l] != m.LayerBytes(l) || w.ReadBytes[l] != m.ReadBytes(l) {
			t.Errorf("layer %d: %d bytes, %d read; want %d and %d", l, p.LayerBytes[l], w.ReadBytes[l], m.LayerBytes(l), m.ReadBytes(l))
		}
	}
}
