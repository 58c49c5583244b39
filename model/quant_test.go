package model_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
)

// wide is a model whose rows are whole blocks of every format, but those of its o projections, of 64 elements.
var wide = modeltest.Options{Layers: 2, Hidden: 256, Intermediate: 512}

// compareQuantized runs a quantized model: its logits are those of its weights' values, and near those of the weights
// before, by a limit in spreads.
func compareQuantized(t *testing.T, before, m *model.Model, limit float64) {
	t.Helper()
	ids := someIDs(24, m.Config.Vocab)
	want := logits(t, m, reference{}, ids, 24)
	compare(t, logits(t, m, cpuStream(t), ids, 24), want, 1e-3)
	compare(t, logits(t, m, cpuStream(t), ids, 5, 1), want, 1e-3)
	compare(t, want, logits(t, before, reference{}, ids, 24), limit)
}

func TestQuantizedGGUFFilesRunAsTheyLie(t *testing.T) {
	for _, o := range []modeltest.Options{{}, {ModelType: "qwen3", Tied: true, AttentionBias: true}} {
		o.Layers, o.Hidden, o.Intermediate = wide.Layers, wide.Hidden, wide.Intermediate
		dir := t.TempDir()
		if err := modeltest.Write(dir, o); err != nil {
			t.Fatal(err)
		}
		before, err := model.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer before.Close()
		for format, limit := range map[device.Format]float64{device.Q8_0: 0.06, device.Q6_K: 0.2, device.Q4_0: 0.8, device.Q4_K: 0.8} {
			m, err := asGGUF(t, dir, format)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(m.Config.ModelType+" "+format.String(), func(t *testing.T) { compareQuantized(t, before, m, limit) })
			if got, want := m.EmbedBytes(), int64(format.MatrixBytes(m.Config.Vocab, m.Config.Hidden)); got != want {
				t.Errorf("%v: the embedding has %d bytes, want %d", format, got, want)
			}
			st := &recorder{}
			d, err := m.Layers(model.Range{First: 0, End: 1})
			if err != nil {
				t.Fatal(err)
			}
			d.Embed(st, model.NewScratch(&m.Config, 1), []int32{0})
			if st.matrices[0].Format != format {
				t.Errorf("the embedding is given to the device in %v, not in %v", st.matrices[0].Format, format)
			}
		}
	}
}

func TestQuantizedNormsAreRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.gguf")
	if err := modeltest.Write(dir, wide); err != nil {
		t.Fatal(err)
	}
	if err := modeltest.WriteGGUF(path, dir, device.Q8_0); err != nil {
		t.Fatal(err)
	}
	from := "output_norm.weight\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	replace(t, path, from+"\x00", from+"\x08")
	_, err := model.Open(path)
	refused(t, "a norm in Q8_0", err, `"output_norm.weight" is Q8_0; known for vectors are`)
}

// asMLX opens the model in dir as MLX quantizes it. edit changes the files before.
func asMLX(t *testing.T, dir string, o modeltest.MLXOptions, edit func(dir string)) (*model.Model, error) {
	t.Helper()
	to := t.TempDir()
	if err := modeltest.WriteMLX(to, dir, o); err != nil {
		t.Fatal(err)
	}
	edit(to)
	m, err := model.Open(to)
	if err == nil {
		t.Cleanup(func() { m.Close() })
	}
	return m, err
}

func TestModelsQuantizedByMLXRunAsTheyLie(t *testing.T) {
	for name, c := range map[string]struct {
		model modeltest.Options
		how   modeltest.MLXOptions
		limit float64
	}{
		"8 bits":           {wide, modeltest.MLXOptions{Bits: 8, Group: 64, Numbers: device.BF16}, 0.05},
		"4 bits":           {wide, modeltest.MLXOptions{Bits: 4, Group: 32, Numbers: device.F16}, 0.5},
		"mixed":            {modeltest.Options{Layers: 2, Hidden: 128, Intermediate: 128, Heads: 8, ModelType: "qwen2"}, modeltest.MLXOptions{Bits: 4, Group: 64, Numbers: device.F32, Plain: "embed_tokens", Wide: "lm_head"}, 0.5},
		"tied, of qwen3":   {modeltest.Options{Layers: 2, Tied: true, ModelType: "qwen3"}, modeltest.MLXOptions{Bits: 8, Group: 32, Numbers: device.BF16}, 0.05},
		"some with 8 bits": {modeltest.Options{Layers: 2}, modeltest.MLXOptions{Bits: 4, Group: 32, Numbers: device.BF16, Wide: ".v_proj"}, 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := modeltest.Write(dir, c.model); err != nil {
				t.Fatal(err)
			}
			before, err := model.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer before.Close()
			m, err := asMLX(t, dir, c.how, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			compareQuantized(t, before, m, c.limit)
			d, err := m.Layers(model.Range{First: 0, End: m.Config.Layers})
			if err != nil {
				t.Fatal(err)
			}
			var last, all int64
			dev := cpu.New(1)
			defer dev.Close()
			if err := d.Load(context.Background(), dev, func(done, total int64) { last, all = done, total }); err != nil {
				t.Fatal(err)
			}
			defer d.Unload()
			weights := m.RangeBytes(d.Range)
			if last != all || all > weights || float64(all) < 0.9*float64(weights) {
				t.Errorf("%d of %d bytes are made resident; the model has %d", last, all, weights)
			}
		})
	}
}

func TestBadModelsOfMLXAreRefusedByTensor(t *testing.T) {
	dir := t.TempDir()
	if err := modeltest.Write(dir, modeltest.Options{Layers: 1}); err != nil {
		t.Fatal(err)
	}
	in := func(d, file string) string { return filepath.Join(d, file) }
	for name, c := range map[string]struct {
		edit func(dir string)
		want []string
	}{
		"other bits":   {func(d string) { replace(t, in(d, "config.json"), `"bits": 4`, `"bits": 8`) }, []string{"model.safetensors", `.weight"`, "need [", "8 bits"}},
		"other groups": {func(d string) { replace(t, in(d, "config.json"), `"group_size": 32`, `"group_size": 64`) }, []string{`.weight"`, "need ["}},
		"no groups":    {func(d string) { replace(t, in(d, "config.json"), `"group_size": 32`, `"group_size":128`) }, []string{`.weight"`, "not whole groups"}},
		"said to be plain": {func(d string) {
			said := readString(t, in(d, "config.json"))
			put(t, in(d, "config.json"), strings.Replace(said, `"quantization": {`, `"quantization": {"lm_head": false,`, 1))
		}, []string{`"lm_head.weight"`, "is not quantized"}},
		"not said":       {func(d string) { replace(t, in(d, "config.json"), `"quantization"`, `"quantisation"`) }, []string{"model.safetensors", "is U32"}},
		"lost biases":    {func(d string) { replace(t, in(d, "model.safetensors"), "up_proj.biases", "up_proj.biasez") }, []string{`"model.layers.0.mlp.up_proj.weight"`, "biases are missing"}},
		"lost scales":    {func(d string) { replace(t, in(d, "model.safetensors"), "up_proj.scales", "up_proj.scalez") }, []string{`up_proj`}},
		"words as bytes": {func(d string) { replace(t, in(d, "model.safetensors"), `"U32"`, `"I32"`) }, []string{"I32", "not words"}},
	} {
		_, err := asMLX(t, dir, modeltest.MLXOptions{Bits: 4, Group: 32, Numbers: device.BF16}, c.edit)
		refused(t, name, err, c.want...)
	}
}
