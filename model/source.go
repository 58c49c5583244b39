package model

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/orrery-ai/orrery/tokenizer"
)

// maxSmallFile bounds the files that are read whole: configurations, indexes, tokenizers.
const maxSmallFile = 64 << 20

// source is where a model's files come from. What it hands out stays valid until close, and is
// never written.
type source interface {
	// read returns a whole small file; a missing one gives an error that is fs.ErrNotExist.
	read(name string) ([]byte, error)
	// open returns the tensors of a model of that geometry, without reading them.
	open(c *Config) (*weights, error)
	// text returns the tokenizer, and chat the template; without one the error is fs.ErrNotExist, or
	// tokenizer.ErrNoChatTemplate.
	text() (*tokenizer.Tokenizer, error)
	chat() (*tokenizer.ChatTemplate, error)
	// places is the files that weights lie in, as they lie in memory.
	places() [][]byte
	// forget lets go of the pages of weights that were read so far. They are read again when they are needed.
	forget()
	close() error
}

// folder is a source in Hugging Face layout.
type folder interface {
	read(name string) ([]byte, error)
	// weights returns a file of any size, without reading it.
	weights(name string) ([]byte, error)
}

// dirSource is a folder. Weights are mapped into memory.
type dirSource struct {
	dir string
	mappings
}

func (d *dirSource) open(*Config) (*weights, error)         { return openWeights(d) }
func (d *dirSource) text() (*tokenizer.Tokenizer, error)    { return folderText(d, d.dir) }
func (d *dirSource) chat() (*tokenizer.ChatTemplate, error) { return folderChat(d, d.dir) }

func (d *dirSource) read(name string) ([]byte, error) {
	path := filepath.Join(d.dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSmallFile {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes", path, maxSmallFile)
	}
	return os.ReadFile(path)
}

func (d *dirSource) weights(name string) ([]byte, error) {
	return d.file(filepath.Join(d.dir, name))
}

// embeddedSource is files that are part of the program: name to content, as go:embed fills a string.
type embeddedSource struct {
	name  string
	files map[string]string
}

func (e embeddedSource) open(*Config) (*weights, error)         { return openWeights(e) }
func (e embeddedSource) text() (*tokenizer.Tokenizer, error)    { return folderText(e, e.name) }
func (e embeddedSource) chat() (*tokenizer.ChatTemplate, error) { return folderChat(e, e.name) }

func (e embeddedSource) places() [][]byte {
	var all [][]byte
	for _, s := range e.files {
		all = append(all, bytesOf(s))
	}
	return all
}

func (embeddedSource) forget() {}

func (e embeddedSource) read(name string) ([]byte, error) {
	s, ok := e.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return bytesOf(s), nil
}

func (e embeddedSource) weights(name string) ([]byte, error) { return e.read(name) }

func (embeddedSource) close() error { return nil }

// bytesOf is the bytes of s, which must not be written.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
