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
	Model   modelFlag `help:"Directory of a model in Hugging Face layout, or a GGUF file, which every node has, or \"recall\", the one that comes with Orrery (default: ${default})." default:"recall" placeholder:"DIR|FILE"`
	Mode    autoFlag  `help:"Parallelism mode: pipeline, pooled or ring, or auto, which chooses and changes it." default:"pipeline"`
	Context countFlag `help:"Tokens that the sequence may reach, for which memory is kept (default: what the command needs)." placeholder:"N"`
	Chunk   chunkFlag `help:"Tokens that a node computes at a time in prefill." default:"1024"`
	Block   blockFlag `help:"Tokens of a KV block." default:"256"`
}

func (f *modelFlags) options(kv kvFlag, context int) orrery.LoadOptions {
	if f.Context > 0 {
		context = int(f.Context)
	}
	return orrery.LoadOptions{Mode: orrery.Mode(f.Mode), Context: context, Chunk: int(f.Chunk), BlockTokens: int(f.Block), KV: orrery.KVFormat(kv)}
}

// modelFlag is the model that is loaded.
type modelFlag struct {
	name string // as it was given
	ref  string // as nodes find it, once it is found here
}

// UnmarshalText takes the name.
func (m *modelFlag) UnmarshalText(b []byte) error {
	m.name = string(b)
	return nil
}

// find looks for the model. A path is made absolute; a bare name stays one, which every node looks for in
// its own --data-dir, and this command in the working directory.
func (m *modelFlag) find() error {
	if m.ref = m.name; m.name == recall.Name {
		return nil
	}
	path, err := filepath.Abs(m.name)
	if err != nil {
		return err
	}
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("model %s: no such file or directory: --model is a path, the same on every node, or a name in the working directory and in "+
			"each node's --data-dir, or %q", m.name, recall.Name)
	case err != nil:
		return fmt.Errorf("model %s: %w", m.name, err)
	case filepath.Base(m.name) != m.name:
		m.ref = path
	}
	return nil
}
