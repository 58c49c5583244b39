package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// chatConfig is what tokenizer_config.json says about chats.
type chatConfig struct {
	base, withTools string         // templates; empty if there are none
	tokens          map[string]any // bos_token, eos_token, …: every token the file names
}

func parseChatConfig(data []byte) (*chatConfig, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	c := &chatConfig{tokens: map[string]any{}}
	for key, raw := range fields {
		if !strings.HasSuffix(key, "_token") {
			continue
		}
		if token := tokenText(raw); token != "" {
			c.tokens[key] = token
		}
	}
	if raw, ok := fields["chat_template"]; ok {
		if err := c.parseTemplates(raw); err != nil {
			return nil, fmt.Errorf("chat_template: %w", err)
		}
	}
	return c, nil
}

// tokenText reads a token written as a string or as an object with its content. What else there is under
// a name that ends in _token, add_bos_token for one, is no token and gives "".
func tokenText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var token struct{ Content string }
	if json.Unmarshal(raw, &token) == nil {
		return token.Content
	}
	return ""
}

// parseTemplates reads one template, or a list of named ones, of which "default" and "tool_use" are known.
func (c *chatConfig) parseTemplates(raw json.RawMessage) error {
	if json.Unmarshal(raw, &c.base) == nil { // null leaves it empty
		return nil
	}
	var named []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &named); err != nil {
		return errors.New("neither a string nor a list of named templates")
	}
	for _, n := range named {
		switch n.Name {
		case "default":
			c.base = n.Template
		case "tool_use":
			c.withTools = n.Template
		}
	}
	if c.base == "" {
		return errors.New(`no template is named "default"`)
	}
	return nil
}
