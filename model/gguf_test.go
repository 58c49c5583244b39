package model_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
)

// asGGUF opens the model in dir as a GGUF file.
func asGGUF(t *testing.T, dir string, format device.Format, further ...modeltest.GGUFPair) (*model.Model, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := modeltest.WriteGGUF(path, dir, format, further...); err != nil {
		t.Fatal(err)
	}
	m, err := model.Open(path)
	if err == nil {
		t.Cleanup(func() { m.Close() })
	}
	return m, err
}

func TestLogitsOfGGUFFilesEqualTransformers(t *testing.T) {
	for _, g := range modeltest.Goldens(t, goldenDir) {
		t.Run(g.Name, func(t *testing.T) {
			m, err := asGGUF(t, g.Dir(t), 0)
			if err != nil {
				t.Fatal(err)
			}
			ids, want := g.IDs(t), g.Logits(t)
			compare(t, logits(t, m, reference{exact: true}, ids, 40, 1), want, 3e-6)
			compare(t, logits(t, m, cpuStream(t), ids, 40, 1), want, 1e-3)
		})
	}
}

func TestAModelIsTheSameAsAFolderAndAsAGGUFFile(t *testing.T) {
	for name, o := range map[string]modeltest.Options{
		"llama": {}, "llama with biases": {AttentionBias: true, Tied: true, KVHeads: 1},
		"qwen2": {ModelType: "qwen2"}, "qwen3": {ModelType: "qwen3", Shards: 2, HeadDim: 32},
		"qwen3_moe": {ModelType: "qwen3_moe", Layers: 3, Fields: map[string]any{"mlp_only_layers": []int{1}}}, "mixtral": {ModelType: "mixtral", Layers: 2},
		"weights of experts that are not normalized": {ModelType: "qwen3_moe", Layers: 1, Fields: map[string]any{"norm_topk_prob": false}},
		"stretched": {Fields: map[string]any{"rope_scaling": map[string]any{"type": "linear", "factor": 4}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := modeltest.Write(dir, o); err != nil {
				t.Fatal(err)
			}
			folder, err := model.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer folder.Close()
			file, err := asGGUF(t, dir, 0)
			if err != nil {
				t.Fatal(err)
			}
			want := folder.Config
			want.Rope.Interleaved = want.ModelType == "llama" || want.ModelType == "mixtral"
			if got := file.Config; !reflect.DeepEqual(got, want) {
				t.Errorf("configuration: %+v, want %+v", got, want)
			}
			r := model.Range{First: 0, End: want.Layers}
			if got, want := file.RangeBytes(r), folder.RangeBytes(r); got != want {
				t.Errorf("%d bytes of weights, want %d", got, want)
			}
			ids, st := someIDs(20, want.Vocab), reference{exact: true}
			compare(t, logits(t, file, st, ids, 20), logits(t, folder, st, ids, 20), 1e-6)
			if file.Fingerprint() == folder.Fingerprint() {
				t.Error("both have one fingerprint, though keys of one are no use to the other")
			}
		})
	}
}

func TestBadGGUFFilesAreRefusedByKeyAndTensor(t *testing.T) {
	pair := func(key string, value any) modeltest.GGUFPair { return modeltest.GGUFPair{Key: key, Value: value} }
	for name, c := range map[string]struct {
		options modeltest.Options
		further modeltest.GGUFPair
		want    []string
	}{
		"mixture":         {modeltest.Options{ModelType: "qwen2"}, pair("qwen2.expert_count", uint32(8)), []string{"model.gguf", `"qwen2.expert_count"`, "8 experts"}},
		"no experts":      {modeltest.Options{}, pair("llama.expert_count", uint32(8)), []string{"num_experts_per_tok is missing"}},
		"shared experts":  {modeltest.Options{ModelType: "qwen3_moe"}, pair("qwen3moe.expert_shared_count", uint32(1)), []string{`"qwen3moe.expert_shared_count"`, "1"}},
		"sigmoid":         {modeltest.Options{ModelType: "qwen3_moe"}, pair("qwen3moe.expert_gating_func", uint32(2)), []string{`"qwen3moe.expert_gating_func"`, "2"}},
		"scaled weights":  {modeltest.Options{ModelType: "qwen3_moe"}, pair("qwen3moe.expert_weights_scale", float32(2.5)), []string{`"qwen3moe.expert_weights_scale"`, "2.5"}},
		"gating as text":  {modeltest.Options{ModelType: "mixtral"}, pair("llama.expert_gating_func", "soft"), []string{`"llama.expert_gating_func"`, "string"}},
		"unknown stretch": {modeltest.Options{}, pair("llama.rope.scaling.type", "yarn"), []string{`"llama.rope.scaling.type"`, "yarn"}},
		"number as text":  {modeltest.Options{}, pair("llama.rope.scaling.type", uint32(2)), []string{`"llama.rope.scaling.type"`, "uint32"}},
		"no factor":       {modeltest.Options{}, pair("llama.rope.scaling.type", "linear"), []string{"factor is missing"}},
		"windows":         {modeltest.Options{}, pair("llama.attention.sliding_window", uint32(64)), []string{`"llama.attention.sliding_window"`}},
		"split":           {modeltest.Options{}, pair("split.count", uint16(3)), []string{`"split.count"`, "join"}},
		"stop token":      {modeltest.Options{}, pair("tokenizer.ggml.eot_token_id", uint32(1e6)), []string{"eos_token_id 1000000"}},
		"no stop token":   {modeltest.Options{}, pair("tokenizer.ggml.eot_token_id", int32(-1)), []string{"eos_token_id -1"}},
	} {
		dir := t.TempDir()
		if err := modeltest.Write(dir, c.options); err != nil {
			t.Fatal(err)
		}
		_, err := asGGUF(t, dir, 0, c.further)
		refused(t, name, err, c.want...)
	}
}

// refused holds an error to what it must name.
func refused(t *testing.T, name string, err error, wants ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: opened", name)
		return
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v does not name %q", name, err, want)
		}
	}
}

func TestAnswersEndWhereTheFileOrItsVocabularySays(t *testing.T) {
	pair := func(key string, value any) modeltest.GGUFPair { return modeltest.GGUFPair{Key: key, Value: value} }
	dir := t.TempDir()
	if err := modeltest.Write(dir, modeltest.Options{Layers: 1, Fields: map[string]any{"eos_token_id": 2}}); err != nil {
		t.Fatal(err)
	}
	tokens := pair("tokenizer.ggml.tokens", []string{"a", "<|eot_id|>", "<|end_of_text|>", "<|im_end|>"})
	for name, c := range map[string]struct {
		further []modeltest.GGUFPair
		want    []int32
	}{
		"alone":         {nil, []int32{2}},
		"by its name":   {[]modeltest.GGUFPair{tokens}, []int32{2, 1, 3}},
		"by its key":    {[]modeltest.GGUFPair{tokens, pair("tokenizer.ggml.eot_token_id", uint32(1)), pair("tokenizer.ggml.eom_token_id", uint32(2))}, []int32{2, 1}},
		"no vocabulary": {[]modeltest.GGUFPair{pair("tokenizer.ggml.tokens", uint32(7))}, []int32{2}},
	} {
		m, err := asGGUF(t, dir, 0, c.further...)
		if err != nil || !slices.Equal(m.Config.EOS, c.want) {
			t.Errorf("%s: stops at %v, %v; want %v", name, m.Config.EOS, err, c.want)
		}
	}
}

func TestDamagedGGUFFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := modeltest.Write(dir, modeltest.Options{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "some.gguf")
	for name, c := range map[string]struct {
		from, to string
		want     []string
	}{
		"architecture":     {"llama", "lhama", []string{"some.gguf", `"general.architecture"`, `"lhama"`, "qwen2"}},
		"misnamed tensor":  {"blk.3.ffn_up", "blk.3.ffn_op", []string{`"blk.3.ffn_up.weight" is missing`}},
		"another layer":    {"blk.0.ffn_up", "blk.8.ffn_up", []string{`"blk.0.ffn_up.weight" is missing`}},
		"misnamed key":     {"llama.block_count", "llama.clock_count", []string{"num_hidden_layers is missing"}},
		"no embedding":     {"token_embd", "token_ambd", []string{"vocab_size is missing"}},
		"bad tensor":       {"attn_q.weight\x02\x00\x00\x00\x40", "attn_q.weight\x02\x00\x00\x00\x20", []string{"some.gguf", `"blk.0.attn_q.weight" has shape [64 32]`}},
		"unknown type":     {"ffn_up.weight\x02\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x60\x00\x00\x00\x00\x00\x00\x00\x00", "ffn_up.weight\x02\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x60\x00\x00\x00\x00\x00\x00\x00\x1f", []string{`"blk.0.ffn_up.weight" is type 31`}},
		"a strange tensor": {"blk.0.ffn_norm.weight", "blk.0.ffn_gorm.weight", []string{"is missing"}},
	} {
		if err := modeltest.WriteGGUF(path, dir, 0); err != nil {
			t.Fatal(err)
		}
		replace(t, path, c.from, c.to)
		_, err := model.Open(path)
		refused(t, name, err, c.want...)
	}
	if err := modeltest.WriteGGUF(path, dir, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 100_000); err != nil {
		t.Fatal(err)
	}
	_, err := model.Open(path)
	refused(t, "cut off", err, "some.gguf", "tensor")
	put(t, path, "")
	_, err = model.Open(path)
	refused(t, "empty", err, "some.gguf")
}

func TestAFolderWithOneGGUFFileIsThatFile(t *testing.T) {
	dir, home := t.TempDir(), filepath.Join(t.TempDir(), "a[b]*")
	if err := errors.Join(modeltest.Write(dir, modeltest.Options{}), os.Mkdir(home, 0o755), modeltest.WriteGGUF(filepath.Join(home, "x.gguf"), dir, 0)); err != nil {
		t.Fatal(err)
	}
	m, err := model.Open(home)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.File("tokenizer.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
	if _, err := m.Tokenizer(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing tokenizer gives %v", err)
	}
	if err := errors.Join(m.Close(), modeltest.WriteGGUF(filepath.Join(home, "y.gguf"), dir, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Tokenizer(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("the tokenizer of a closed model gives %v", err)
	}
	_, err = model.Open(home)
	refused(t, "two files", err, home, "2 .gguf files", "name one")
	other := filepath.Join(home, "y.bin")
	put(t, other, "?")
	_, err = model.Open(other)
	refused(t, "another file", err, other, ".gguf")
}

// FuzzOpenGGUF opens any bytes as a model: it is refused, or its configuration and weights fit each other.
func FuzzOpenGGUF(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "seed.gguf")
	for _, o := range []modeltest.Options{{Layers: 1, Hidden: 8, Heads: 1, KVHeads: 1, HeadDim: 8, Intermediate: 8, Vocab: 4}, {Layers: 1, Hidden: 32, Heads: 1, KVHeads: 1, HeadDim: 4, Intermediate: 32, Vocab: 4, ModelType: "qwen3", Tied: true}} {
		if err := errors.Join(modeltest.Write(dir, o), modeltest.WriteGGUF(path, dir, device.Q8_0)); err != nil {
			f.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	file := filepath.Join(dir, "fuzzed.gguf")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := model.Open(file)
		if err != nil {
			return
		}
		defer m.Close()
		d, err := m.Layers(model.Range{First: 0, End: m.Config.Layers})
		if err != nil {
			t.Fatal(err)
		}
		st, s := &recorder{}, model.NewScratch(&m.Config, 1)
		d.Embed(st, s, []int32{0})
		for l := range m.Config.Layers {
			d.QKV(st, l, s)
			d.AfterAttention(st, l, s)
		}
		for _, w := range st.matrices {
			if err := w.Check(); err != nil {
				t.Errorf("a matrix [%d][%d] in %v: %v", w.Rows, w.Cols, w.Format, err)
			}
		}
	})
}
