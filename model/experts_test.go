package model_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/model/safetensors"
)

// allActive is a model each of whose tokens goes to every expert, so that rounding does not choose others.
var allActive = modeltest.Options{ModelType: "qwen3_moe", Layers: 2, Hidden: 64, Intermediate: 128, Experts: 3, Active: 3}

func TestStackedExpertsAreTheSeparateOnes(t *testing.T) {
	for name, kind := range map[string]string{"qwen3_moe": "qwen3_moe", "mixtral": "mixtral"} {
		t.Run(name, func(t *testing.T) {
			o := allActive
			o.ModelType = kind
			dir := t.TempDir()
			if err := modeltest.Write(dir, o); err != nil {
				t.Fatal(err)
			}
			before, err := model.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer before.Close()
			asOne, err := asMLX(t, dir, modeltest.MLXOptions{Bits: 8, Group: 32, Numbers: device.BF16, Plain: ".gate.weight"}, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			compareQuantized(t, before, asOne, 0.05)
			file, err := asGGUF(t, dir, device.Q8_0)
			if err != nil {
				t.Fatal(err)
			}
			compareQuantized(t, before, file, 0.05)
		})
	}
}

// TestExpertsOfMLXAreWhatTheirNumbersStandFor writes models as mlx-lm converts them, holds names and shapes to what it makes, and logits to those of the
// same numbers in F32.
func TestExpertsOfMLXAreWhatTheirNumbersStandFor(t *testing.T) {
	const hidden, experts, width = 128, 6, 64
	for name, c := range map[string]struct {
		kind  string
		how   modeltest.MLXOptions
		files map[string][]int // some tensors and their shapes
	}{
		"qwen3_moe, 4 bits, the router 8": {"qwen3_moe", modeltest.MLXOptions{Bits: 4, Group: 64, Numbers: device.BF16, Wide: ".mlp.gate."}, map[string][]int{
			"model.layers.0.mlp.gate.weight": {experts, hidden / 4}, "model.layers.0.mlp.gate.scales": {experts, hidden / 64},
			"model.layers.1.mlp.switch_mlp.gate_proj.weight": {experts, width, hidden / 8}, "model.layers.1.mlp.switch_mlp.gate_proj.scales": {experts, width, hidden / 64},
			"model.layers.1.mlp.switch_mlp.up_proj.biases": {experts, width, hidden / 64}, "model.layers.1.mlp.switch_mlp.down_proj.weight": {experts, hidden, width / 8},
			"model.layers.1.mlp.switch_mlp.down_proj.scales": {experts, hidden, width / 64},
		}},
		"qwen3_moe, 8 bits": {"qwen3_moe", modeltest.MLXOptions{Bits: 8, Group: 64, Numbers: device.BF16}, map[string][]int{
			"model.layers.0.mlp.switch_mlp.down_proj.weight": {experts, hidden, width / 4},
		}},
		"mixtral, 4 bits": {"mixtral", modeltest.MLXOptions{Bits: 4, Group: 64, Numbers: device.F16}, map[string][]int{
			"model.layers.0.block_sparse_moe.gate.weight": {experts, hidden / 8}, "model.layers.0.block_sparse_moe.switch_mlp.gate_proj.weight": {experts, 2 * width, hidden / 8},
			"model.layers.1.block_sparse_moe.switch_mlp.down_proj.biases": {experts, hidden, 2 * width / 64}, "model.layers.1.block_sparse_moe.switch_mlp.up_proj.scales": {experts, 2 * width, hidden / 64},
		}},
		"mixtral, 8 bits": {"mixtral", modeltest.MLXOptions{Bits: 8, Group: 32, Numbers: device.BF16}, map[string][]int{
			"model.layers.0.block_sparse_moe.switch_mlp.gate_proj.weight": {experts, 2 * width, hidden / 4},
		}},
		"mixtral, of before experts were stacked": {"mixtral", modeltest.MLXOptions{Bits: 4, Group: 64, Numbers: device.F16, Plain: ".gate.", Separate: true}, map[string][]int{
			"model.layers.0.block_sparse_moe.gate.weight": {experts, hidden}, "model.layers.1.block_sparse_moe.experts.5.w2.weight": {hidden, 2 * width / 8},
			"model.layers.1.block_sparse_moe.experts.0.w1.scales": {2 * width, hidden / 64},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := modeltest.Write(dir, modeltest.Options{ModelType: c.kind, Layers: 2, Hidden: hidden, Intermediate: 2 * width, Heads: 8, Experts: experts}); err != nil {
				t.Fatal(err)
			}
			m, err := asMLX(t, dir, c.how, func(dir string) {
				b, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
				if err != nil {
					t.Fatal(err)
				}
				f, err := safetensors.Parse(b)
				if err != nil {
					t.Fatal(err)
				}
				for tensor, shape := range c.files {
					if got := f.Tensors[tensor]; !slices.Equal(got.Shape, shape) {
						t.Errorf("%s has shape %v, want %v", tensor, got.Shape, shape)
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			c.how.Widened = true
			wide, err := asMLX(t, dir, c.how, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			// A prompt of which no token has two experts that are as good, to within what activations are off by as whole numbers.
			ids := someIDs(25, m.Config.Vocab)[1:]
			compare(t, logits(t, m, cpuStream(t), ids, 24), logits(t, wide, cpuStream(t), ids, 24), 1e-3)
			compare(t, logits(t, m, cpuStream(t), ids, 5, 1), logits(t, wide, reference{}, ids, 24), 1e-3)
		})
	}
}

func TestBadExpertsAreRefusedByTensorAndField(t *testing.T) {
	few := modeltest.Options{ModelType: "qwen3_moe", Layers: 1}
	with := func(field string, v any) modeltest.Options {
		o := few
		o.Fields = map[string]any{field: v}
		return o
	}
	const weights = "model.safetensors"
	for name, c := range map[string]struct {
		options modeltest.Options
		edit    func(dir string)
		want    []string
	}{
		"no experts":       {with("num_experts", nil), nil, []string{"num_experts is missing"}},
		"too many":         {with("num_experts", 1<<20), nil, []string{"num_experts 1048576"}},
		"none of them":     {with("num_experts_per_tok", 0), nil, []string{"num_experts_per_tok 0"}},
		"more than all":    {with("num_experts_per_tok", 7), nil, []string{"num_experts_per_tok 7", "between 1 and 6"}},
		"no width":         {with("moe_intermediate_size", -1), nil, []string{"moe_intermediate_size -1"}},
		"no step":          {with("decoder_sparse_step", 0), nil, []string{"decoder_sparse_step 0"}},
		"no such layer":    {with("mlp_only_layers", []int{1}), nil, []string{"mlp_only_layers[0] 1"}},
		"before the first": {with("mlp_only_layers", []int{-1}), nil, []string{"mlp_only_layers[0] -1"}},
		"windows":          {modeltest.Options{ModelType: "mixtral", Fields: map[string]any{"sliding_window": 4096}}, nil, []string{"sliding_window 4096"}},
		"fewer than said": {few, func(d string) { replace(t, filepath.Join(d, "config.json"), `"num_experts": 6`, `"num_experts": 7`) },
			[]string{`"model.layers.0.mlp.gate.weight" has shape [6 64]`, "[7 64]"}},
		"a lost expert": {few, func(d string) { replace(t, filepath.Join(d, weights), "experts.4.up_proj", "experts.4.op_proj") },
			[]string{`"model.layers.0.mlp.experts.4.up_proj.weight" is missing`}},
		"a lost router": {few, func(d string) { replace(t, filepath.Join(d, weights), "mlp.gate.weight", "mlp.gote.weight") }, []string{`"model.layers.0.mlp.gate.weight" is missing`}},
		"one of another type": {modeltest.Options{ModelType: "qwen3_moe", Layers: 1, Format: device.BF16}, func(d string) { retype(t, filepath.Join(d, weights), "experts.2.down_proj.weight", "F16") },
			[]string{weights, `experts.2.down_proj.weight" is F16`, "BF16", "alike"}},
		"dense, with experts": {few, func(d string) {
			replace(t, filepath.Join(d, "config.json"), `"model_type": "qwen3_moe"`, `"model_type": "qwen3"    `)
		}, []string{`mlp.gate_proj.weight" is missing`}},
	} {
		_, err := folder(t, c.options, func(d string) {
			if c.edit != nil {
				c.edit(d)
			}
		})
		refused(t, name, err, c.want...)
	}
	dir := t.TempDir()
	if err := modeltest.Write(dir, allActive); err != nil {
		t.Fatal(err)
	}
	mlx := modeltest.MLXOptions{Bits: 4, Group: 32, Numbers: device.BF16}
	for name, c := range map[string]struct {
		edit func(dir string)
		want []string
	}{
		"another number of them": {func(d string) { replace(t, filepath.Join(d, "config.json"), `"num_experts": 3`, `"num_experts": 4`) }, []string{weights, `switch_mlp.gate_proj.weight" has shape [3 64 64]`, "[4 64 64]"}},
		"other groups":           {func(d string) { replace(t, filepath.Join(d, "config.json"), `"group_size": 32`, `"group_size": 64`) }, []string{`.weight"`, "need ["}},
		"lost": {func(d string) {
			replace(t, filepath.Join(d, weights), "0.mlp.switch_mlp.up_proj.weight", "0.mlp.switch_mlp.op_proj.weight")
		}, []string{"0.mlp.switch_mlp.up_proj", "weights or the biases are missing"}},
	} {
		_, err := asMLX(t, dir, mlx, c.edit)
		refused(t, name, err, c.want...)
	}
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := modeltest.WriteGGUF(path, dir, 0); err != nil {
		t.Fatal(err)
	}
	replace(t, path, "blk.1.ffn_down_exps.weight", "blk.1.ffn_dawn_exps.weight")
	_, err := model.Open(path)
	refused(t, "lost of a GGUF file", err, `"blk.1.ffn_down_exps.weight" is missing`)
}

// retype changes what a header calls the type of one tensor.
func retype(t *testing.T, path, tensor, to string) {
	t.Helper()
	s := readString(t, path)
	at := strings.Index(s, tensor)
	from := strings.Index(s[at:], `"dtype":"BF16"`) + at
	put(t, path, s[:from]+`"dtype":"`+to+`" `+s[from+len(`"dtype":"BF16"`):])
}

func TestLayersHaveExpertsWhereTheConfigSaysSo(t *testing.T) {
	for want, fields := range map[string]map[string]any{
		"1 1 1 1 1 1": {}, "0 1 0 1 0 1": {"decoder_sparse_step": 2}, "1 0 1 0 1 1": {"mlp_only_layers": []int{3, 1, 3}},
		"0 0 0 1 0 0": {"decoder_sparse_step": 2, "mlp_only_layers": []int{1, 5}},
	} {
		m := modeltest.Open(t, modeltest.Options{ModelType: "qwen3_moe", Layers: 6, Fields: fields})
		var got []string
		for l := range 6 {
			got = append(got, map[bool]string{true: "1", false: "0"}[m.Config.Routed(l)])
		}
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%v: %v, want %s", fields, got, want)
		}
	}
	all := modeltest.Open(t, modeltest.Options{ModelType: "qwen3_moe", Layers: 2, Fields: map[string]any{"intermediate_size": nil}})
	if all.Config.Intermediate != 0 {
		t.Errorf("a model without dense layers has them %d wide", all.Config.Intermediate)
	}
}

func TestAStepReadsTheExpertsOfAToken(t *testing.T) {
	m := modeltest.Open(t, modeltest.Options{ModelType: "qwen3_moe", Layers: 2, Hidden: 64, Intermediate: 96, Experts: 5, Active: 2, Fields: map[string]any{"mlp_only_layers": []int{0}}})
	if got, want := m.ReadBytes(0), m.LayerBytes(0); got != want {
		t.Errorf("a dense layer of %d bytes: %d are read", want, got)
	}
	const expert = 4 * 3 * 64 * 48
	if got, want := m.LayerBytes(1)-m.ReadBytes(1), int64(3*expert); got != want {
		t.Errorf("%d bytes of %d experts are not read, want %d", got, 5, want)
	}
}

func TestWhatAStepReadsIsDividedByFormats(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "model.gguf")
	if err := errors.Join(modeltest.Write(dir, modeltest.Options{ModelType: "qwen3_moe", Layers: 2, Experts: 5, Active: 2, Fields: map[string]any{"mlp_only_layers": []int{0}}}),
		modeltest.WriteGGUF(file, dir, device.Q8_0)); err != nil {
		t.Fatal(err)
	}
	m, err := model.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	sum := func(formats map[string]int64) (n int64) {
		for _, bytes := range formats {
			n += bytes
		}
		return n
	}
	for l := range 2 {
		formats := m.ReadFormats(l)
		if got, want := sum(formats), m.ReadBytes(l); got != want || formats["Q8_0"] <= want/2 || formats["F32"] == 0 || len(formats) != 2 {
			t.Errorf("layer %d: %v, of %d bytes", l, formats, want)
		}
	}
	if got, want := m.HeadFormats(), m.HeadBytes(); sum(got) != want || got["Q8_0"] <= want/2 {
		t.Errorf("head: %v, of %d bytes", got, want)
	}
}

// TestEveryExpertIsMadeResident loads layers, and sees that all bytes of the range are.
func TestEveryExpertIsMadeResident(t *testing.T) {
	m := modeltest.Open(t, modeltest.Options{ModelType: "qwen3_moe", Layers: 2, Vocab: 64})
	d, err := m.Layers(model.Range{First: 0, End: 2})
	if err != nil {
		t.Fatal(err)
	}
	dev := cpu.New(1)
	defer dev.Close()
	var last, all int64
	if err := d.Load(t.Context(), dev, func(done, total int64) { last, all = done, total }); err != nil {
		t.Fatal(err)
	}
	d.Unload()
	const vectors = 4 * (2*(2*64+2*16) + 64) // copied, widened, when layers are bound
	if want := m.RangeBytes(d.Range) - vectors; last != all || all != want {
		t.Errorf("%d of %d bytes were loaded, want %d", last, all, want)
	}
}

// TestFingerprintsTellExpertsApart changes a byte in the middle of a layer's first expert.
func TestFingerprintsTellExpertsApart(t *testing.T) {
	dir := t.TempDir()
	if err := modeltest.Write(dir, allActive); err != nil {
		t.Fatal(err)
	}
	sum := func() [32]byte {
		m, err := model.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		return m.Fingerprint()
	}
	before, path := sum(), filepath.Join(dir, "model.safetensors")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
	var header map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(b[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	at := header["model.layers.0.mlp.experts.0.up_proj.weight"].Offsets
	b[8+n+(at[0]+at[1])/2] ^= 0x40
	put(t, path, string(b))
	if sum() == before {
		t.Error("another expert has the same fingerprint")
	}
}

// TestScratchWithExpertsIsAsLargeAsPlacementCounts counts what is taken.
func TestScratchWithExpertsIsAsLargeAsPlacementCounts(t *testing.T) {
	for _, o := range []modeltest.Options{allActive, {ModelType: "mixtral", Hidden: 32}, {ModelType: "qwen3_moe", Intermediate: 640, Fields: map[string]any{"mlp_only_layers": []int{0}}}} {
		c := modeltest.Open(t, o).Config
		const rows = 7
		taken := 0
		s := model.ScratchIn(func(n int) []float32 { taken += n; return make([]float32, n) }, &c, rows)
		if got, want := int64(4*taken), c.ScratchBytes(rows); got != want {
			t.Errorf("%+v: %d bytes are taken, %d counted", c.Experts, got, want)
		}
		if _, fits := s.Logits(rows, c.Vocab); fits != (c.LogitsBytes(rows, rows) == 0) {
			t.Errorf("%+v: logits fit: %v, and are counted with %d bytes", c.Experts, fits, c.LogitsBytes(rows, rows))
		}
	}
}
