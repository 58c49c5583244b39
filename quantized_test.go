package orrery_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/tokenizer"
)

// TestTheEmbeddedModelAnswersFromQuantizedFiles makes GGUF files and an MLX folder of it, with its vocabulary and chat
// template, and lets three nodes answer from them in every mode.
func TestTheEmbeddedModelAnswersFromQuantizedFiles(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	const from = "recall/model"
	dir := t.TempDir()
	further, err := modeltest.Vocabulary(filepath.Join(from, "tokenizer.json"), "qwen2", "", "<|im_end|>")
	if err != nil {
		t.Fatal(err)
	}
	further = append(further, modeltest.GGUFPair{Key: "tokenizer.chat_template", Value: chatTemplate(t, filepath.Join(from, "tokenizer_config.json"))})
	files := map[string]string{}
	for name, format := range map[string]device.Format{"bf16": 0, "q8_0": device.Q8_0, "q4_k": device.Q4_K} {
		files[name] = filepath.Join(dir, name+".gguf")
		if err := modeltest.WriteGGUF(files[name], from, format, further...); err != nil {
			t.Fatal(err)
		}
	}
	files["mlx 8"] = filepath.Join(dir, "mlx")
	if err := os.Mkdir(files["mlx 8"], 0o755); err != nil {
		t.Fatal(err)
	}
	if err := modeltest.WriteMLX(files["mlx 8"], from, modeltest.MLXOptions{Bits: 8, Group: 64, Numbers: device.BF16}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(files["mlx 8"], name), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := startNodes(t, 1e10, 2e10, 1.5e10)[0]
	for name, file := range files {
		m, err := c.Load(ctx, file, orrery.LoadOptions{Context: 512, BlockTokens: 16, Chunk: 32})
		if err != nil {
			t.Fatal(err)
		}
		chat, err := m.RenderChat([]tokenizer.Message{{Role: "user", Content: "What is the secret code of the amber falcon?"}})
		if err != nil || chat != question {
			t.Fatalf("%s: the question becomes %q, %v", name, chat, err)
		}
		for _, mode := range []orrery.Mode{orrery.Pipeline, orrery.Pooled, orrery.Ring} {
			g, err := m.Generate(ctx, document+chat, orrery.GenerateOptions{MaxTokens: 64, Mode: mode})
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			for token, err := range g.Tokens() {
				if err != nil {
					t.Fatal(err)
				}
				said += token.Text
			}
			if want := "The secret code of the amber falcon is 48213."; said != want {
				t.Errorf("%s, %v: %q, want %q", name, mode, said, want)
			}
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

func chatTemplate(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Template string `json:"chat_template"`
	}
	if err := json.Unmarshal(b, &c); err != nil || c.Template == "" {
		t.Fatalf("%s: %v", file, err)
	}
	return c.Template
}
