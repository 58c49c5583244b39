package model

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/orrery-ai/orrery/internal/ggufnames"
	"github.com/orrery-ai/orrery/model/gguf"
	"github.com/orrery-ai/orrery/tokenizer"
)

const ggufSuffix = ".gguf"

// ggufPath is the GGUF file that path is, or that is the only one in the folder path, if that has no
// config.json; else it is empty.
func ggufPath(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", nil // whoever opens it as a folder says so
	case !info.IsDir():
		if !strings.HasSuffix(path, ggufSuffix) {
			return "", fmt.Errorf("model %s: neither a folder nor a %s file", path, ggufSuffix)
		}
		return path, nil
	}
	if _, err := os.Stat(filepath.Join(path, "config.json")); err == nil {
		return "", nil
	}
	files, err := filepath.Glob(filepath.Join(escapeGlob(path), "*"+ggufSuffix))
	switch {
	case err != nil || len(files) == 0:
		return "", nil
	case len(files) > 1:
		return "", fmt.Errorf("model %s: %d %s files, %s and others: name one", path, len(files), ggufSuffix, filepath.Base(files[0]))
	}
	return files[0], nil
}

// escapeGlob is a path as a pattern that matches it alone.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// ggufSource is a GGUF file, shown as the folder that it was made from.
type ggufSource struct {
	path string
	mappings
	bytes  []byte
	parsed *gguf.File
	closed bool
}

// name is what errors call the file. They begin with the model's own name, which says where it is.
func (g *ggufSource) name() string { return filepath.Base(g.path) }

// header is the parsed file, which is mapped when it is first asked for.
func (g *ggufSource) header() (*gguf.File, error) {
	switch {
	case g.closed:
		return nil, fmt.Errorf("%s: %w", g.name(), fs.ErrClosed)
	case g.parsed != nil:
		return g.parsed, nil
	}
	b, err := g.file(g.path)
	if err != nil {
		return nil, err
	}
	f, err := gguf.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.name(), err)
	}
	g.bytes, g.parsed = b, f
	return f, nil
}

func (g *ggufSource) read(name string) ([]byte, error) {
	if name != "config.json" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f, err := g.header()
	if err != nil {
		return nil, err
	}
	b, err := ggufConfig(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.name(), err)
	}
	return b, nil
}

func (g *ggufSource) open(c *Config) (*weights, error) {
	f, err := g.header()
	if err != nil {
		return nil, err
	}
	name := g.name()
	w := &weights{
		files:   []weightFile{{name: name, size: len(g.bytes), header: f.Header}},
		tensors: make(map[string]storedTensor, len(f.Tensors)), stored: ggufnames.ToGGUF,
	}
	for stored, t := range maps.All(f.Tensors) {
		w.tensors[c.expertName(ggufnames.FromGGUF(stored))] = storedTensor{dtype: t.Type.String(), format: formats[t.Type.String()], shape: t.Shape, data: t.Data, file: name}
	}
	return w, nil
}

func (g *ggufSource) text() (*tokenizer.Tokenizer, error) {
	f, err := g.header()
	if err != nil {
		return nil, err
	}
	return tokenizer.LoadGGUF(f.Metadata, g.name())
}

func (g *ggufSource) chat() (*tokenizer.ChatTemplate, error) {
	f, err := g.header()
	if err != nil {
		return nil, err
	}
	return tokenizer.LoadGGUFChat(f.Metadata, g.name())
}

func (g *ggufSource) close() error {
	g.bytes, g.parsed, g.closed = nil, nil, true
	return g.mappings.close()
}

// errSplit says that a model is spread over several files.
var errSplit = errors.New("the model is split over several files: join them with llama-gguf-split --merge")
