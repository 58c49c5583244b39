package model

import (
	"fmt"
	"path/filepath"

	"github.com/orrery-ai/orrery/tokenizer"
)

// Tokenizer loads the model's tokenizer. A model that has none gives an error that is fs.ErrNotExist: it can
// be run on token ids.
func (m *Model) Tokenizer() (*tokenizer.Tokenizer, error) {
	t, err := m.src.text()
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.name, err)
	}
	return t, nil
}

// ChatTemplate loads what turns conversations into prompts. A model that has none gives
// [tokenizer.ErrNoChatTemplate].
func (m *Model) ChatTemplate() (*tokenizer.ChatTemplate, error) {
	t, err := m.src.chat()
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.name, err)
	}
	return t, nil
}

// folderText is the tokenizer of a folder.
func folderText(f folder, name string) (*tokenizer.Tokenizer, error) {
	const file = "tokenizer.json"
	b, err := f.read(file)
	if err != nil {
		return nil, err
	}
	return tokenizer.Load(b, filepath.Join(name, file))
}

// folderChat is the chat template of a folder, which may be in either of two files.
func folderChat(f folder, name string) (*tokenizer.ChatTemplate, error) {
	config, _ := f.read("tokenizer_config.json")
	template, _ := f.read("chat_template.jinja")
	return tokenizer.LoadChat(config, template, name)
}
