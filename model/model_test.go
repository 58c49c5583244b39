package model_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
)

// folder writes a model and lets edit change its files before it is opened.
func folder(t *testing.T, o modeltest.Options, edit func(dir string)) (*model.Model, error) {
	t.Helper()
	dir := t.TempDir()
	if err := modeltest.Write(dir, o); err != nil {
		t.Fatal(err)
	}
	edit(dir)
	m, err := model.Open(dir)
	if err == nil {
		t.Cleanup(func() { m.Close() })
	}
	return m, err
}

func readString(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replace changes text of a file for text of the same length.
func replace(t *testing.T, path, from, to string) {
	t.Helper()
	s := readString(t, path)
	if !strings.Contains(s, from) || len(from) != len(to) {
		t.Fatalf("cannot put %q for %q", to, from)
	}
	put(t, path, strings.Replace(s, from, to, 1))
}

func TestBadFoldersAreRefusedByFileAndTensor(t *testing.T) {
	const index, weights = "model.safetensors.index.json", "model.safetensors"
	sharded := modeltest.Options{Shards: 2}
	for name, c := range map[string]struct {
		options modeltest.Options
		edit    func(dir string)
		want    []string
	}{
		"no config":   {modeltest.Options{}, func(d string) { os.Remove(filepath.Join(d, "config.json")) }, []string{"config.json"}},
		"bad config":  {modeltest.Options{Fields: map[string]any{"head_dim": -2}}, func(string) {}, []string{"config.json", "head_dim"}},
		"no weights":  {modeltest.Options{}, func(d string) { os.Remove(filepath.Join(d, weights)) }, []string{weights}},
		"empty":       {modeltest.Options{}, func(d string) { put(t, filepath.Join(d, weights), "") }, []string{weights}},
		"not a file":  {modeltest.Options{}, func(d string) { os.Remove(filepath.Join(d, weights)); os.Mkdir(filepath.Join(d, weights), 0o755) }, []string{weights}},
		"truncated":   {modeltest.Options{}, func(d string) { os.Truncate(filepath.Join(d, weights), 100_000) }, []string{weights, "tensor", "data_offsets"}},
		"one missing": {modeltest.Options{}, func(d string) { replace(t, filepath.Join(d, weights), "3.mlp.up_proj", "3.mlp.op_proj") }, []string{`"model.layers.3.mlp.up_proj.weight" is missing`}},
		"too many": {modeltest.Options{}, func(d string) {
			replace(t, filepath.Join(d, "config.json"), `"num_hidden_layers": 4`, `"num_hidden_layers": 3`)
		}, []string{weights, `"model.layers.3.`, "no part"}},
		"misshapen": {modeltest.Options{Fields: map[string]any{"head_dim": 8}}, func(string) {}, []string{weights, `self_attn.q_proj.weight" has shape [64 64]`, "[32 64]"}},
		"odd type":  {modeltest.Options{}, func(d string) { replace(t, filepath.Join(d, weights), `"F32"`, `"I32"`) }, []string{weights, "is I32", "BF16, F16, F32"}},
		"bad generation config": {modeltest.Options{}, func(d string) { put(t, filepath.Join(d, "generation_config.json"), `{"eos_token_id":999}`) },
			[]string{"generation_config.json", "eos_token_id 999"}},
		"bad index":   {sharded, func(d string) { put(t, filepath.Join(d, index), `{`) }, []string{index}},
		"empty index": {sharded, func(d string) { put(t, filepath.Join(d, index), `{}`) }, []string{index, "0 shards"}},
		"escaping up": {sharded, func(d string) { put(t, filepath.Join(d, index), `{"weight_map":{"a":"../secret.safetensors"}}`) }, []string{index, `"../secret.safetensors"`}},
		"absolute":    {sharded, func(d string) { put(t, filepath.Join(d, index), `{"weight_map":{"a":"/etc/passwd"}}`) }, []string{index, `"/etc/passwd"`}},
		"nameless":    {sharded, func(d string) { put(t, filepath.Join(d, index), `{"weight_map":{"a":""}}`) }, []string{index, `""`}},
		"the folder":  {sharded, func(d string) { put(t, filepath.Join(d, index), `{"weight_map":{"a":"."}}`) }, []string{"not a file with weights"}},
		"lost shard":  {sharded, func(d string) { os.Remove(filepath.Join(d, "model-00002-of-00002.safetensors")) }, []string{"model-00002-of-00002.safetensors"}},
		"lying index": {sharded, func(d string) {
			put(t, filepath.Join(d, index), `{"weight_map":{"ghost":"model-00001-of-00002.safetensors"}}`)
		},
			[]string{"model-00001-of-00002.safetensors", `"ghost" is missing`}},
	} {
		_, err := folder(t, c.options, c.edit)
		if err == nil {
			t.Errorf("%s: opened", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not name %q", name, err, want)
			}
		}
	}
	if _, err := model.Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing folder gives %v", err)
	}
}

func TestGenerationConfigAddsItsStopTokens(t *testing.T) {
	m, err := folder(t, modeltest.Options{}, func(d string) {
		put(t, filepath.Join(d, "generation_config.json"), `{"eos_token_id":[5,2,7]}`)
	})
	if err != nil || !slices.Equal(m.Config.EOS, []int32{2, 5, 7}) {
		t.Fatalf("stops at %v, %v", m.Config.EOS, err)
	}
}

// addTensor adds a tensor without elements to the header of a file of weights.
func addTensor(t *testing.T, path, name string) {
	t.Helper()
	b := []byte(readString(t, path))
	n := binary.LittleEndian.Uint64(b)
	header := fmt.Sprintf(`{%q:{"dtype":"F32","shape":[0],"data_offsets":[0,0]},%s`, name, b[9:8+n])
	put(t, path, string(binary.LittleEndian.AppendUint64(nil, uint64(len(header))))+header+string(b[8+n:]))
}

func TestTensorsThatTheArchitectureLacksAreRefused(t *testing.T) {
	const bias = "model.layers.0.self_attn.q_proj.bias"
	_, err := folder(t, modeltest.Options{}, func(d string) { addTensor(t, filepath.Join(d, "model.safetensors"), bias) })
	if err == nil || !strings.Contains(err.Error(), bias) {
		t.Errorf("a bias that nothing would add gives %v", err)
	}
	// Old checkpoints keep the rotary frequencies, and tied ones a head.
	if _, err := folder(t, modeltest.Options{Tied: true}, func(d string) {
		addTensor(t, filepath.Join(d, "model.safetensors"), "model.layers.0.self_attn.rotary_emb.inv_freq")
		addTensor(t, filepath.Join(d, "model.safetensors"), "lm_head.weight")
	}); err != nil {
		t.Errorf("a harmless tensor gives %v", err)
	}
}

func TestASingleFileComesBeforeAnIndex(t *testing.T) {
	if _, err := folder(t, modeltest.Options{}, func(d string) {
		put(t, filepath.Join(d, "model.safetensors.index.json"), "left over")
	}); err != nil {
		t.Error(err)
	}
}

func TestFilesOfTheFolderCanBeRead(t *testing.T) {
	m := modeltest.Open(t, modeltest.Options{})
	b, err := m.File("config.json")
	if err != nil || !json.Valid(b) {
		t.Errorf("config.json: %v", err)
	}
	if _, err := m.File("tokenizer.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
}

// embedded is a model's files as strings.
func embedded(t *testing.T, o modeltest.Options) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if err := modeltest.Write(dir, o); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"config.json":       readString(t, filepath.Join(dir, "config.json")),
		"model.safetensors": readString(t, filepath.Join(dir, "model.safetensors")),
	}
}

func TestEmbeddedModelsAreUsedInPlace(t *testing.T) {
	files := embedded(t, modeltest.Options{Format: device.BF16})
	m, err := model.OpenEmbedded("small", files)
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.File("config.json")
	if err != nil || unsafe.StringData(files["config.json"]) != unsafe.SliceData(b) {
		t.Errorf("config.json was copied, or %v", err)
	}
	if _, err := m.File("vocab.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
	st := &recorder{}
	d, err := m.Layers(model.Range{First: 0, End: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := model.NewScratch(&m.Config, 1)
	d.Embed(st, s, []int32{0})
	d.QKV(st, 0, s)
	start := uintptr(unsafe.Pointer(unsafe.StringData(files["model.safetensors"])))
	for _, w := range st.matrices {
		at := uintptr(unsafe.Pointer(unsafe.SliceData(w.Data)))
		if at < start || at >= start+uintptr(len(files["model.safetensors"])) {
			t.Errorf("a matrix [%d][%d] was copied", w.Rows, w.Cols)
		}
	}
	if len(st.matrices) != 4 {
		t.Errorf("%d matrices were used, want 4", len(st.matrices))
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestWeightsAtOddAddressesGiveTheSameLogits(t *testing.T) {
	files := embedded(t, modeltest.Options{Layers: 1})
	ids := []int32{3, 1, 4}
	even, err := model.OpenEmbedded("even", files)
	if err != nil {
		t.Fatal(err)
	}
	shifted := maps.Clone(files)
	b := []byte("x" + files["model.safetensors"])
	shifted["model.safetensors"] = unsafe.String(&b[1], len(b)-1)
	odd, err := model.OpenEmbedded("odd", shifted)
	if err != nil {
		t.Fatal(err)
	}
	st := reference{}
	if !slices.Equal(logits(t, even, st, ids, 3).Data, logits(t, odd, st, ids, 3).Data) {
		t.Error("logits differ")
	}
	rec := &recorder{}
	d, err := odd.Layers(model.Range{First: 0, End: 1})
	if err != nil {
		t.Fatal(err)
	}
	d.Embed(rec, model.NewScratch(&odd.Config, 1), []int32{0})
	if uintptr(unsafe.Pointer(unsafe.SliceData(rec.matrices[0].Data)))%4 != 0 {
		t.Error("a matrix of float32 stayed at an odd address")
	}
}

func TestFingerprintsTellModelsApart(t *testing.T) {
	plain := modeltest.Open(t, modeltest.Options{}).Fingerprint()
	if again := modeltest.Open(t, modeltest.Options{}).Fingerprint(); again != plain {
		t.Error("the same files in another folder have another fingerprint")
	}
	for name, o := range map[string]modeltest.Options{
		"weights alone": {Seed: 1},
		"configuration": {Fields: map[string]any{"rope_theta": 500.0}},
		"format":        {Format: device.BF16},
		"shards":        {Shards: 2},
	} {
		if modeltest.Open(t, o).Fingerprint() == plain {
			t.Errorf("models that differ in %s have one fingerprint", name)
		}
	}
	m, err := folder(t, modeltest.Options{}, func(d string) { put(t, filepath.Join(d, "tokenizer.json"), "{}") })
	if err != nil || m.Fingerprint() == plain {
		t.Errorf("a tokenizer does not change the fingerprint, or %v", err)
	}
}
