package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/plan"
	"github.com/orrery-ai/orrery/recall"
)

// find looks for what --model names.
func (c *planCmd) find() error {
	if c.Model == recall.Name {
		return nil
	}
	if _, err := os.Stat(c.Model); err != nil {
		return fmt.Errorf("--model: %w: name a directory, a file, or %q", err, recall.Name)
	}
	return nil
}

// arch reads the geometry of the model that --model names, and what to call it. Its files are opened if it has no
// config.json, as a GGUF file, or if weights as stored are asked for.
func (c *planCmd) arch(ctx context.Context) (arch *plan.Arch, name string, err error) {
	if c.Model == recall.Name {
		m, err := recall.Open()
		if err != nil {
			return nil, "", err
		}
		defer m.Close()
		arch, err := c.archOf(m)
		return arch, recall.Name, err
	}
	file := c.Model
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		file = filepath.Join(file, "config.json")
	}
	if c.Weights != plan.WeightsStored && !strings.HasSuffix(file, ".gguf") {
		b, err := readInput(ctx, file)
		if err == nil {
			if arch, err = plan.ParseConfig(b); err != nil {
				return nil, "", fmt.Errorf("%s: %w", file, err)
			}
			return arch, modelName(file), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
	}
	m, err := model.Open(c.Model)
	if err != nil {
		return nil, "", err
	}
	defer m.Close()
	arch, err = c.archOf(m)
	return arch, modelName(c.Model), err
}

// archOf is the geometry of a model whose files are there.
func (c *planCmd) archOf(m *model.Model) (*plan.Arch, error) {
	b, err := m.File("config.json")
	if err != nil {
		return nil, err
	}
	arch, err := plan.ParseConfig(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Model, err)
	}
	arch.Stored = &plan.Stored{Embed: m.EmbedBytes(), Head: m.HeadBytes(), HeadIn: m.HeadFormats()}
	for l := range m.Config.Layers {
		s := arch.Stored
		s.Layers, s.Reads, s.ReadIn = append(s.Layers, m.LayerBytes(l)), append(s.Reads, m.ReadBytes(l)), append(s.ReadIn, m.ReadFormats(l))
	}
	return arch, nil
}

// modelName is a file's name without what says that it is a model, or, of a config.json, its folder's.
func modelName(file string) string {
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	if filepath.Base(file) == "config.json" {
		return filepath.Base(filepath.Dir(file))
	}
	return strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".json"), ".gguf")
}
