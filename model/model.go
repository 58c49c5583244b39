package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Model is a model's files, open for reading. Its methods may be called from any goroutine.
type Model struct {
	Config  Config
	name    string
	src     source
	weights *weights
	settled settled

	fingerprint [32]byte
}

// Open opens the model in a folder, or in a GGUF file: one that path names, or the only one in a folder
// without config.json. Weights are mapped, not read. Errors name the file, and the field or the tensor in it.
func Open(path string) (*Model, error) {
	file, err := ggufPath(path)
	switch {
	case err != nil:
		return nil, err
	case file != "":
		return open(path, &ggufSource{path: file})
	}
	return open(path, &dirSource{dir: path})
}

// OpenEmbedded opens a model whose files are part of the program: file name to content, as go:embed
// fills strings. Nothing is copied: the bytes of the strings, which are read-only, are the weights.
func OpenEmbedded(name string, files map[string]string) (*Model, error) {
	return open(name, embeddedSource{name, files})
}

// Mapped says whether the weights lie in files that are mapped into memory, not in the program.
func (m *Model) Mapped() bool {
	_, part := m.src.(embeddedSource)
	return !part
}

func open(name string, src source) (*Model, error) {
	m := &Model{name: name, src: src}
	if err := m.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("model %s: %w", name, err), src.close())
	}
	return m, nil
}

func (m *Model) load() error {
	b, err := m.src.read("config.json")
	if err != nil {
		return err
	}
	if m.Config, err = ParseConfig(b); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	if err := m.addGenerationEOS(); err != nil {
		return fmt.Errorf("generation_config.json: %w", err)
	}
	if m.weights, err = m.src.open(&m.Config); err != nil {
		return err
	}
	if err := m.weights.joinAffine(&m.Config.Quantization); err != nil {
		return err
	}
	if err := m.weights.splitExperts(&m.Config); err != nil {
		return err
	}
	if err := m.weights.check(&m.Config); err != nil {
		return err
	}
	if err := m.takeFingerprint(b); err != nil {
		return err
	}
	m.src.forget() // a node pays for the pages of its own layers only
	return nil
}

// addGenerationEOS adds the tokens that end an answer by generation_config.json, where there is one:
// chat models often name theirs only there.
func (m *Model) addGenerationEOS() error {
	b, err := m.src.read("generation_config.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var g struct {
		EOS tokenList `json:"eos_token_id"`
	}
	if err := json.Unmarshal(b, &g); err != nil {
		return err
	}
	all := slices.Clone(m.Config.EOS)
	for _, id := range g.EOS {
		if !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return m.Config.setEOS(all)
}

// Name is the folder or the file, or the embedded model's name.
func (m *Model) Name() string { return m.name }

// File returns another of the model's files. A GGUF file has config.json only: what its metadata amount to. The
// bytes must not be written and are valid until Close. A missing file gives an error that is fs.ErrNotExist.
func (m *Model) File(name string) ([]byte, error) {
	b, err := m.src.read(name)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.name, err)
	}
	return b, nil
}

// Close gives the weights back. No Decoder of the model may be used afterwards.
func (m *Model) Close() error {
	if err := m.src.close(); err != nil {
		return fmt.Errorf("model %s: %w", m.name, err)
	}
	return nil
}
