package random

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/gguf"
)

// config is a small geometry with everything that the architectures have.
func config(kind string, tied bool) []byte {
	return fmt.Appendf(nil, `{"model_type": %q, "num_hidden_layers": 6, "hidden_size": 128, "intermediate_size": 320, "num_attention_heads": 8,
		"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 500, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
		"tie_word_embeddings": %v, "attention_bias": true, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2,
		"moe_intermediate_size": 64, "norm_topk_prob": true}`, kind, tied)
}

func TestAModelOfAnyShapeAndFormatOpensAndStaysFinite(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	for _, kind := range []string{"llama", "qwen3", "qwen3_moe", "mixtral"} {
		for _, format := range []device.Format{device.F32, device.F16, device.BF16} {
			for _, tied := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %v tied %v", kind, format, tied), func(t *testing.T) {
					dir := filepath.Join(t.TempDir(), "new")
					if err := Write(dir, config(kind, tied), format, 3, nil); err != nil {
						t.Fatal(err)
					}
					m, err := model.Open(dir)
					if err != nil {
						t.Fatal(err)
					}
					defer m.Close()
					if rms := logits(t, m, dev); !(rms > 0.1 && rms < 10) {
						t.Errorf("logits have a root mean square of %g", rms)
					}
				})
			}
		}
	}
}

func TestQuantizedModelsOpenAndStayFinite(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	type write func(to string, config []byte, format device.Format, seed uint64, progress func(done, total int64)) error
	for _, c := range []struct {
		to      string
		write   write
		formats []device.Format
	}{
		{"x.gguf", WriteGGUF, []device.Format{device.F32, device.BF16, device.Q8_0, device.Q4_0, device.Q4_K, device.Q6_K}},
		{"folder", Write, []device.Format{device.MLX8, device.MLX4}},
	} {
		for _, format := range c.formats {
			for _, kind := range []string{"llama", "qwen3", "qwen3_moe"} {
				t.Run(fmt.Sprintf("%s %v in %s", kind, format, c.to), func(t *testing.T) {
					to := filepath.Join(t.TempDir(), c.to)
					wide := bytes.ReplaceAll(config(kind, false), []byte(`"hidden_size": 128`), []byte(`"hidden_size": 256`))
					var last, all int64
					if err := c.write(to, wide, format, 3, func(done, total int64) { last, all = done, total }); err != nil {
						t.Fatal(err)
					}
					m, err := model.Open(to)
					if err != nil {
						t.Fatal(err)
					}
					defer m.Close()
					if _, err := m.Tokenizer(); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("its tokenizer: %v", err)
					}
					if weights := m.RangeBytes(model.Range{First: 0, End: m.Config.Layers}); last != all || all != weights {
						t.Errorf("%d of %d bytes were told of, the model has %d", last, all, weights)
					}
					if got, want := m.EmbedBytes(), int64(format.MatrixBytes(500, 256)); got < want || got > want*5/4 {
						t.Errorf("the embedding has %d bytes, in %v it needs %d", got, format, want)
					}
					if rms := logits(t, m, dev); !(rms > 0.1 && rms < 10) {
						t.Errorf("logits have a root mean square of %g", rms)
					}
				})
			}
		}
	}
	to := filepath.Join(t.TempDir(), "x")
	for what, err := range map[string]error{
		"Q8_0 in safetensors": Write(to, config("llama", true), device.Q8_0, 0, nil),
		"MLX8 in GGUF":        WriteGGUF(to, config("llama", true), device.MLX8, 0, nil),
		"half a group":        Write(to, bytes.ReplaceAll(config("llama", true), []byte(`"hidden_size": 128`), []byte(`"hidden_size": 96`)), device.MLX4, 0, nil),
	} {
		if err == nil {
			t.Errorf("%s is written", what)
		}
	}
}

func TestTheMixtureOfFormatsIsLlamaCpps(t *testing.T) {
	for _, tied := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "x.gguf")
		wide := config("llama", tied)
		for small, large := range map[string]string{`"hidden_size": 128`: `"hidden_size": 256`, `"intermediate_size": 320`: `"intermediate_size": 512`,
			`"head_dim": 16`: `"head_dim": 32`, `"num_hidden_layers": 6`: `"num_hidden_layers": 16`} {
			wide = bytes.ReplaceAll(wide, []byte(small), []byte(large))
		}
		if err := WriteQ4KM(path, wide, 3, nil); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := gguf.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		head := "output.weight"
		if tied {
			head = "token_embd.weight"
		}
		fine := map[string]bool{head: true}
		for _, layer := range []int{0, 1, 4, 7, 10, 13, 14, 15} { // as llama-quantize says of the 16 layers of Llama-3.2-1B
			fine[fmt.Sprintf("blk.%d.attn_v.weight", layer)] = true
			fine[fmt.Sprintf("blk.%d.ffn_down.weight", layer)] = true
		}
		for name, tensor := range f.Tensors {
			want := gguf.Q4_K
			switch {
			case fine[name]:
				want = gguf.Q6_K
			case len(tensor.Shape) == 1:
				want = gguf.F32
			}
			if tensor.Type != want {
				t.Errorf("%s is %v, not %v", name, tensor.Type, want)
			}
			delete(fine, name)
		}
		if len(fine) > 0 {
			t.Errorf("there is no %v", fine)
		}
		m, err := model.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		dev := cpu.New(1)
		if rms := logits(t, m, dev); !(rms > 0.1 && rms < 10) {
			t.Errorf("logits have a root mean square of %g", rms)
		}
		if err := errors.Join(dev.Close(), m.Close()); err != nil {
			t.Error(err)
		}
	}
}

// logits runs a few tokens that attend to themselves alone, and gives the root mean square of their logits.
func logits(t *testing.T, m *model.Model, dev device.Device) float64 {
	t.Helper()
	c := &m.Config
	d, err := m.Layers(model.Range{First: 0, End: c.Layers})
	if err != nil {
		t.Fatal(err)
	}
	ids := []int32{1, 77, 499}
	s, st, acc := model.NewScratch(c, len(ids)), dev.NewStream(), attention.NewPartial(1, c.Shape())
	d.Embed(st, s, ids)
	d.Angles(st, s, 0, 0, len(ids))
	for l := range c.Layers {
		d.QKV(st, l, s)
		for row := range ids {
			k := make([]byte, 4*s.K.Cols)
			kv := attention.KV{Format: attention.F32, HeadDim: c.HeadDim, Cap: 1, Len: 1, K: k, V: bytes.Clone(k)}
			st.Append(&kv, 0, s.K.Slice(row, row+1), s.V.Slice(row, row+1))
			acc.Reset()
			st.Attend(acc, s.Q.Slice(row, row+1), 0, c.Shape(), []attention.KV{kv})
			st.Finish(s.Attn.Slice(row, row+1), acc)
		}
		d.AfterAttention(st, l, s)
	}
	out := device.NewTensor(len(ids), c.Vocab)
	d.Logits(st, s, 0, len(ids), out)
	if err := st.Wait(); err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, x := range out.Data {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum / float64(len(out.Data)))
}

func TestTheSameSeedMakesTheSameWeights(t *testing.T) {
	read := func(seed uint64) []byte {
		dir := t.TempDir()
		var last, all int64
		if err := Write(dir, config("llama", true), device.BF16, seed, func(done, total int64) { last, all = done, total }); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		if last != all || all == 0 || all >= int64(len(b)) {
			t.Errorf("%d of %d bytes were told of, the file has %d", last, all, len(b))
		}
		return b
	}
	a, b, other := read(1), read(1), read(2)
	if !bytes.Equal(a, b) {
		t.Error("the same seed makes other weights")
	}
	if bytes.Equal(a, other) {
		t.Error("another seed makes the same weights")
	}
}

func TestPositionsCanBeExtended(t *testing.T) {
	b, err := Extend(config("llama", true), 200000)
	if err != nil {
		t.Fatal(err)
	}
	c, err := model.ParseConfig(b)
	if err != nil || c.MaxPositions != 200000 || c.Layers != 6 {
		t.Errorf("%+v, %v", c, err)
	}
	same, err := Extend(config("llama", true), 0)
	if err != nil || !bytes.Equal(same, config("llama", true)) {
		t.Errorf("%s, %v", same, err)
	}
	for what, n := range map[string]int{"less than nothing": -5, "more than there can be": 1 << 40} {
		if _, err := Extend(config("llama", true), n); err == nil {
			t.Error(what)
		}
	}
}

func TestABadConfigurationLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if err := Write(dir, []byte(`{"model_type": "gpt2"}`), device.BF16, 0, nil); err == nil {
		t.Fatal("an unknown architecture is written")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made")
	}
}
