package tokenizer

import (
	"errors"
	"fmt"

	"github.com/orrery-ai/orrery/model/gguf"
)

// LoadGGUFChat reads the chat template of a GGUF file. name is the file, for errors. A model that has none gives
// ErrNoChatTemplate.
func LoadGGUFChat(metadata map[string]gguf.Value, name string) (*ChatTemplate, error) {
	const key = "tokenizer.chat_template"
	c := chatConfig{tokens: map[string]any{}}
	for part, to := range map[string]*string{key: &c.base, key + ".tool_use": &c.withTools} {
		v, ok := metadata[part]
		if !ok {
			continue
		}
		var err error
		if *to, err = v.Text(); err != nil {
			return nil, fmt.Errorf("%s: key %q: %w", name, part, err)
		}
	}
	m := ggufMetadata{metadata}
	if c.base == "" {
		return nil, fmt.Errorf("%s: %w", name, ErrNoChatTemplate)
	}
	v, err := m.vocab()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for part, ids := range map[string]string{
		"bos_token": "bos_token_id", "eos_token": "eos_token_id", "unk_token": "unknown_token_id", "pad_token": "padding_token_id",
	} {
		id, err := m.token(ids)
		if err == nil && int(id) >= len(v.tokens) {
			err = ggufKey(ids, errors.New("no token has this id"))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if id >= 0 {
			c.tokens[part] = v.tokens[id]
		}
	}
	return c.template(name + ": " + key)
}
