package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/plan"
)

// arch reads the geometry of the model that --model names, and what to call it. Its files are opened if it has no
// config.json, as a GGUF file, or if weights as stored are asked for.
func (c *planCmd) arch() (arch *plan.Arch, name string, err error) {
	file := c.Model
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		file = filepath.Join(file, "config.json")
	}
	if c.Weights != plan.WeightsStored && !strings.HasSuffix(file, ".gguf") {
		b, err := os.ReadFile(file)
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
	b, err := m.File("config.json")
	if err != nil {
		return nil, "", err
	}
	if arch, err = plan.ParseConfig(b); err != nil {
		return nil, "", fmt.Errorf("%s: %w", c.Model, err)
	}
	arch.Stored = &plan.Stored{Embed: m.EmbedBytes(), Head: m.HeadBytes(), HeadIn: m.HeadFormats()}
	for l := range m.Config.Layers {
		s := arch.Stored
		s.Layers, s.Reads, s.ReadIn = append(s.Layers, m.LayerBytes(l)), append(s.Reads, m.ReadBytes(l)), append(s.ReadIn, m.ReadFormats(l))
	}
	return arch, modelName(c.Model), nil
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
