package model

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

// base is the least that a config.json can say.
func base() map[string]any {
	return map[string]any{
		"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96,
		"num_attention_heads": 4, "vocab_size": 256,
	}
}

func parse(t *testing.T, fields map[string]any) (Config, error) {
	t.Helper()
	all := base()
	for k, v := range fields {
		all[k] = v
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return ParseConfig(b)
}

func TestMissingFieldsTakeTheFamilysDefaults(t *testing.T) {
	llama, err := parse(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		ModelType: "llama", Layers: 2, Hidden: 64, Intermediate: 96, Heads: 4, KVHeads: 4, HeadDim: 16, Vocab: 256,
		MaxPositions: 2048, NormEps: 1e-6, Rope: Rope{Type: "default", Theta: 10000}, EOS: []int32{2},
	}
	if !reflect.DeepEqual(llama, want) {
		t.Errorf("llama: got %+v, want %+v", llama, want)
	}
	qwen, err := parse(t, map[string]any{"model_type": "qwen3", "num_attention_heads": 64})
	if err != nil {
		t.Fatal(err)
	}
	want.ModelType, want.Heads, want.KVHeads, want.HeadDim = "qwen3", 64, 32, 128
	want.MaxPositions, want.EOS, want.QKNorm = 32768, nil, true
	if !reflect.DeepEqual(qwen, want) {
		t.Errorf("qwen3: got %+v, want %+v", qwen, want)
	}
	if s := qwen.Shape(); s.Group() != 2 || s.Scale != float32(1/math.Sqrt(128)) {
		t.Errorf("qwen3 attends with %+v", s)
	}
}

func TestEverySpellingOfRopeIsRead(t *testing.T) {
	llama3 := map[string]any{"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
	with := func(name, kind string, theta any) map[string]any {
		m := map[string]any{name: kind, "rope_theta": theta}
		for k, v := range llama3 {
			m[k] = v
		}
		return m
	}
	stretched := Rope{Type: "llama3", Theta: 5e5, Factor: 8, LowFreq: 1, HighFreq: 4, OriginalMaxPositions: 8192}
	for name, c := range map[string]struct {
		fields map[string]any
		want   Rope
	}{
		"theta alone":      {map[string]any{"rope_theta": 1000000}, Rope{Type: "default", Theta: 1e6}},
		"null scaling":     {map[string]any{"rope_theta": 1e6, "rope_scaling": nil}, Rope{Type: "default", Theta: 1e6}},
		"old type":         {map[string]any{"rope_scaling": map[string]any{"type": "linear", "factor": 4}}, Rope{Type: "linear", Theta: 10000, Factor: 4}},
		"old rope_type":    {map[string]any{"rope_theta": 5e5, "rope_scaling": with("rope_type", "llama3", nil)}, stretched},
		"new":              {map[string]any{"rope_parameters": with("rope_type", "llama3", 5e5)}, stretched},
		"inner theta wins": {map[string]any{"rope_theta": 7, "rope_parameters": with("rope_type", "llama3", 5e5)}, stretched},
		"factors": {map[string]any{"rope_scaling": map[string]any{"rope_type": "factors", "factors": []int{1, 1, 1, 1, 2, 4, 8, 8}}},
			Rope{Type: "factors", Theta: 10000, Factors: []float64{1, 1, 1, 1, 2, 4, 8, 8}}},
		"neighbours":        {map[string]any{"rope_interleave": true}, Rope{Type: "default", Theta: 10000, Interleaved: true}},
		"rope_scaling wins": {map[string]any{"rope_theta": 5e5, "rope_scaling": with("type", "llama3", nil), "rope_parameters": map[string]any{"rope_type": "default"}}, stretched},
	} {
		got, err := parse(t, c.fields)
		if err != nil || !reflect.DeepEqual(got.Rope, c.want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got.Rope, err, c.want)
		}
	}
}

func TestBadConfigsAreRefusedByField(t *testing.T) {
	rope := func(kv ...any) map[string]any {
		m := map[string]any{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return map[string]any{"rope_scaling": m}
	}
	type fields = map[string]any
	for _, c := range []struct {
		fields fields
		want   string
	}{
		{fields{"model_type": nil}, "model_type is missing; known are llama, mixtral, qwen2, qwen3, qwen3_moe"},
		{fields{"model_type": "mamba"}, `model_type "mamba" is unknown; known are llama, mixtral, qwen2, qwen3, qwen3_moe`},
		{fields{"num_hidden_layers": 0}, "num_hidden_layers 0"},
		{fields{"num_hidden_layers": -3}, "num_hidden_layers -3"},
		{fields{"num_hidden_layers": 1 << 40}, "num_hidden_layers"},
		{fields{"hidden_size": nil}, "hidden_size is missing"},
		{fields{"hidden_size": "64"}, "hidden_size"},
		{fields{"hidden_size": 1 << 30}, "hidden_size"},
		{fields{"hidden_size": 66}, "num_attention_heads 4 does not divide hidden_size 66"},
		{fields{"hidden_size": 2}, "num_attention_heads 4 does not divide hidden_size 2"},
		{fields{"intermediate_size": 1.5}, "intermediate_size"},
		{fields{"num_attention_heads": 1 << 20}, "num_attention_heads"},
		{fields{"num_key_value_heads": 3}, "num_key_value_heads 3 does not divide"},
		{fields{"num_key_value_heads": 8}, "num_key_value_heads 8 does not divide"},
		{fields{"num_key_value_heads": 0}, "num_key_value_heads 0"},
		{fields{"head_dim": 15}, "head_dim 15 is odd"},
		{fields{"head_dim": 1 << 20}, "head_dim"},
		{fields{"vocab_size": 1 << 31}, "vocab_size"},
		{fields{"max_position_embeddings": -1}, "max_position_embeddings"},
		{fields{"rms_norm_eps": 0}, "rms_norm_eps"},
		{fields{"rms_norm_eps": 1e-60}, "rms_norm_eps 1e-60"},
		{fields{"hidden_act": "gelu"}, `hidden_act "gelu"`},
		{fields{"eos_token_id": "</s>"}, "eos_token_id"},
		{fields{"eos_token_id": []int{1, 256}}, "eos_token_id 256"},
		{fields{"eos_token_id": make([]int, 65)}, "eos_token_id has 65"},
		{fields{"rope_theta": -1}, "rope_theta"},
		{fields{"rope_theta": 1e300}, "rope_theta"},
		{fields{"rope_scaling": 4}, "rope"},
		{fields{"rope_scaling": fields{"type": "yarn", "factor": 4}}, `rope_scaling: rope_type "yarn" is unknown; known are default, factors, linear, llama3`},
		{fields{"rope_parameters": fields{"full_attention": fields{"rope_theta": 1e6}}}, `"full_attention"`},
		{fields{"rope_parameters": fields{"rope_type": "linear"}}, "rope_parameters: factor is missing"},
		{fields{"rope_parameters": fields{"partial_rotary_factor": 0.5}}, "partial_rotary_factor"},
		{rope("factor", 0), "factor 0"},
		{rope("factor", 1e-310), "factor 1e-310"},
		{rope("low_freq_factor", nil), "low_freq_factor is missing"},
		{rope("high_freq_factor", 1), "not below high_freq_factor"},
		{rope("original_max_position_embeddings", nil), "original_max_position_embeddings is missing"},
		{fields{"rope_scaling": fields{"rope_type": "factors", "factors": []int{1, 1}}}, "rope_scaling: 2 factors for 8 pairs"},
		{fields{"rope_scaling": fields{"rope_type": "factors", "factors": []int{1, 1, 1, 0, 1, 1, 1, 1}}}, "factors[3] 0"},
		{fields{"rope_scaling": fields{"rope_type": "factors", "factors": []float64{1, 1, 1, 1, 1, 1, 1, 1e-310}}}, "factors[7] 1e-310"},
		{fields{"partial_rotary_factor": 0.5}, "partial_rotary_factor"},
		{fields{"use_sliding_window": true}, "use_sliding_window"},
		{fields{"layer_types": []string{"full_attention", "sliding_attention"}}, "layer_types[1]"},
		{fields{"quantization": 4}, "quantization:"},
		{fields{"quantization": fields{"bits": 4}}, "quantization: group_size"},
		{fields{"quantization": fields{"bits": 4, "group_size": 48}}, "quantization: group_size"},
		{fields{"quantization": fields{"bits": 3, "group_size": 64}}, "quantization: bits: known are 4 and 8"},
		{fields{"quantization": fields{"bits": 4, "group_size": 32, "mode": "mxfp4"}}, `quantization: mode "mxfp4"`},
		{fields{"quantization": fields{"bits": 4, "group_size": 32, "lm_head": fields{"bits": 6, "group_size": 32}}}, `quantization: "lm_head": bits`},
		{fields{"quantization_config": fields{"quant_method": "fp8"}}, "quantization_config:"},
		{fields{"model_type": "qwen3", "num_key_value_heads": 2, "mlp_bias": true}, "mlp_bias"},
	} {
		if _, err := parse(t, c.fields); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want an error with %q", c.fields, err, c.want)
		}
	}
	if _, err := ParseConfig([]byte(`[]`)); err == nil {
		t.Error("a list passed for a config.json")
	}
}

func TestEOSIsATokenOrAList(t *testing.T) {
	for _, c := range []struct {
		in   any
		want []int32
	}{{7, []int32{7}}, {[]int{7, 9}, []int32{7, 9}}, {[]int{}, []int32{}}, {nil, []int32{2}}} {
		got, err := parse(t, map[string]any{"eos_token_id": c.in})
		if err != nil || fmt.Sprint(got.EOS) != fmt.Sprint(c.want) {
			t.Errorf("%v: got %v, %v", c.in, got.EOS, err)
		}
	}
}

func TestQuantizationIsReadWithWhatDiffersFromIt(t *testing.T) {
	field := map[string]any{"bits": 4, "group_size": 64, "mode": "affine", "quant_method": "other", "lm_head": map[string]any{"bits": 8, "group_size": 32},
		"model.embed_tokens": false, "model.layers.0.mlp.up_proj": true}
	c, err := parse(t, map[string]any{"quantization": field, "quantization_config": field})
	want := Quantization{AffineParts{4, 64}, map[string]AffineParts{"lm_head": {8, 32}, "model.embed_tokens": {}}}
	if err != nil || !reflect.DeepEqual(c.Quantization, want) {
		t.Errorf("got %+v, %v; want %+v", c.Quantization, err, want)
	}
}

func TestFactorsSlowPairsDown(t *testing.T) {
	r := Rope{Type: "factors", Theta: 10000, Factors: []float64{1, 4}}
	if got := r.Frequencies(4); got[0] != 1 || math.Abs(got[1]-0.01/4) > 1e-15 {
		t.Errorf("got %v", got)
	}
}

func TestQwen2HasBiasesOnQKAndVAlone(t *testing.T) {
	for _, said := range []bool{false, true} {
		c, err := parse(t, map[string]any{"model_type": "qwen2", "num_key_value_heads": 2, "attention_bias": said})
		if err != nil || !c.QKVBias || c.OBias {
			t.Errorf("attention_bias %v: %+v, %v", said, c, err)
		}
	}
}

// TestLlama3StretchesLowFrequenciesOnly holds the formula to what Llama 3.1's own gives.
func TestLlama3StretchesLowFrequenciesOnly(t *testing.T) {
	r := Rope{Type: "llama3", Theta: 5e5, Factor: 8, LowFreq: 1, HighFreq: 4, OriginalMaxPositions: 8192}
	plain := Rope{Type: "default", Theta: 5e5}
	got, full := r.Frequencies(128), plain.Frequencies(128)
	for i := range got {
		wavelength := 2 * math.Pi / full[i]
		var want float64
		switch {
		case wavelength < 8192.0/4:
			want = full[i]
		case wavelength > 8192.0/1:
			want = full[i] / 8
		default:
			smooth := (8192/wavelength - 1) / (4 - 1)
			want = (1-smooth)*full[i]/8 + smooth*full[i]
		}
		if math.Abs(got[i]-want) > 1e-15 {
			t.Errorf("frequency %d is %g, want %g", i, got[i], want)
		}
	}
	if got[0] != 1 || got[63] != full[63]/8 {
		t.Errorf("the ends are %g and %g", got[0], got[63])
	}
}

func FuzzParseConfig(f *testing.F) {
	b, err := json.Marshal(base())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"model_type":"qwen3","num_hidden_layers":1,"hidden_size":8,"intermediate_size":8,"num_attention_heads":32,"vocab_size":9,
		"eos_token_id":[1,2],"rope_parameters":{"rope_type":"llama3","factor":2,"low_freq_factor":1,"high_freq_factor":2,"original_max_position_embeddings":4}}`))
	f.Add([]byte(`{"model_type":"qwen3_moe","num_hidden_layers":3,"hidden_size":8,"num_attention_heads":4,"vocab_size":9,"num_experts":4,"num_experts_per_tok":2,
		"moe_intermediate_size":8,"decoder_sparse_step":2,"mlp_only_layers":[1,2],"intermediate_size":8}`))
	f.Add([]byte(`{"model_type":"llama","num_hidden_layers":1,"hidden_size":8,"intermediate_size":8,"num_attention_heads":1,"vocab_size":9,
		"rope_scaling":{"type":"linear","factor":1e-310}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseConfig(b)
		if err != nil {
			return
		}
		if c.Heads%c.KVHeads != 0 || c.HeadDim%2 != 0 || c.ScratchBytes(1) <= 0 || c.KVBytesPerToken(1) <= 0 {
			t.Fatalf("passed %+v", c)
		}
		dense, routed := false, false
		for l := range c.Layers {
			dense, routed = dense || !c.Routed(l), routed || c.Routed(l)
		}
		if dense != (c.Intermediate > 0) || routed && (c.Experts.Active < 1 || c.Experts.Active > c.Experts.Count || c.Experts.Width < 1) {
			t.Fatalf("passed %+v", c)
		}
		for _, x := range c.Rope.Frequencies(c.HeadDim) {
			if !(x > 0) || math.IsInf(x, 0) {
				t.Fatalf("frequency %g of %+v", x, c.Rope)
			}
		}
	})
}
