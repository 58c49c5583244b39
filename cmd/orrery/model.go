package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/recall"
)

// modelFlags choose what is loaded, and how.
type modelFlags struct {
	Model   string    `help:"Directory of a model in Hugging Face layout, or a GGUF file, which every node has, or \"recall\", the one that comes with Orrery (default: ${default})." default:"recall" placeholder:"DIR|FILE"`
	Mode    autoFlag  `help:"Parallelism mode: pipeline, pooled or ring, or auto, which chooses and changes it." default:"pipeline"`
	Context countFlag `help:"Tokens that the sequence may reach, for which memory is kept (default: what the command needs)." placeholder:"N"`
	Chunk   countFlag `help:"Tokens that a node computes at a time in prefill." default:"1024"`
	Block   countFlag `help:"Tokens of a KV block." default:"256"`
}

func (f *modelFlags) options(kv kvFlag, context int) orrery.LoadOptions {
	if f.Context > 0 {
		context = int(f.Context)
	}
	return orrery.LoadOptions{Mode: orrery.Mode(f.Mode), Context: context, Chunk: int(f.Chunk), BlockTokens: int(f.Block), KV: orrery.KVFormat(kv)}
}

// ref is the model's reference. A path is made absolute; a bare name stays one, which every node looks for in
// its own --data-dir, and this command in the working directory.
func (f *modelFlags) ref() (string, error) {
	if f.Model == recall.Name {
		return f.Model, nil
	}
	path, err := filepath.Abs(f.Model)
	if err != nil {
		return "", err
	}
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("model %s: no such file or directory: --model is a path, the same on every node, or a name in the working directory and in "+
			"each node's --data-dir, or %q", f.Model, recall.Name)
	case err != nil:
		return "", fmt.Errorf("model %s: %w", f.Model, err)
	case filepath.Base(f.Model) == f.Model:
		return f.Model, nil
	}
	return path, nil
}
