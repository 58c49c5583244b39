package tokenizer

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/orrery-ai/orrery/tokenizer/jinja"
)

// Message is one turn of a conversation.
type Message struct {
	Role    string // "system", "user", "assistant" or "tool"
	Content string
}

// ErrNoChatTemplate is what LoadChat returns for a model that has no chat template.
var ErrNoChatTemplate = errors.New("no chat template")

// RaisedError is a template's own refusal of a conversation (raise_exception): roles that do not
// alternate, say. Its message is meant for whoever sent the messages.
type RaisedError struct{ Message string }

func (e *RaisedError) Error() string { return e.Message }

// A ChatTemplate turns conversations into prompts. It does not change, and any number of goroutines may
// use it.
type ChatTemplate struct {
	file      string // where it came from, for errors
	base      *jinja.Template
	withTools *jinja.Template // used instead when tools are given; may be nil
	tokens    map[string]any  // bos_token, eos_token and the like
	now       func() time.Time
}

// LoadChat reads a model's chat template from its chat_template.jinja, if chatTemplateJinja is not empty,
// else from the chat_template of its tokenizer_config.json. name is the folder of those files, for errors.
// A model that has no template gives ErrNoChatTemplate.
func LoadChat(tokenizerConfig, chatTemplateJinja []byte, name string) (*ChatTemplate, error) {
	configFile, jinjaFile := name+"/tokenizer_config.json", name+"/chat_template.jinja"
	c, err := parseChatConfig(tokenizerConfig)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	file := configFile + ": chat_template"
	if len(chatTemplateJinja) > 0 {
		file, c.base, c.withTools = jinjaFile, string(chatTemplateJinja), ""
	}
	if c.base == "" {
		return nil, fmt.Errorf("%s: %w", configFile, ErrNoChatTemplate)
	}
	return c.template(file)
}

// template parses the templates. file is where they came from, for errors.
func (c *chatConfig) template(file string) (*ChatTemplate, error) {
	var err error
	t := &ChatTemplate{file: file, tokens: c.tokens, now: time.Now}
	if t.base, err = jinja.Parse(c.base); err == nil && c.withTools != "" {
		t.withTools, err = jinja.Parse(c.withTools)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.file, err)
	}
	return t, nil
}

// Render is the prompt for messages. addGenerationPrompt opens the assistant's turn. extra are further
// variables: tools, enable_thinking, documents; a json.RawMessage among them, at any depth, keeps the order
// of its keys. A refusal by the template itself is a RaisedError; a template that would use up more time or
// memory than the conversation can need ends with jinja.ErrTooMuch.
func (t *ChatTemplate) Render(messages []Message, addGenerationPrompt bool, extra map[string]any) (string, error) {
	turns := make([]any, len(messages))
	for i, m := range messages {
		turns[i] = jinja.Record([]string{"role", "content"}, m.Role, m.Content)
	}
	vars := maps.Clone(t.tokens)
	maps.Copy(vars, extra)
	vars["raise_exception"] = jinja.Func(raise)
	vars["strftime_now"] = jinja.Func(t.strftimeNow)
	vars["messages"] = turns
	vars["add_generation_prompt"] = addGenerationPrompt

	template := t.base
	if t.withTools != nil && vars["tools"] != nil {
		template = t.withTools
	}
	prompt, err := template.Render(vars)
	var raised *RaisedError
	switch {
	case errors.As(err, &raised):
		return "", fmt.Errorf("%s: %w", t.file, raised)
	case err != nil:
		return "", fmt.Errorf("%s: %w", t.file, err)
	}
	return prompt, nil
}

// raise is raise_exception(message).
func raise(args []any) (any, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("raise_exception: %d arguments, want 1", len(args))
	}
	message, ok := args[0].(string)
	if !ok {
		return nil, errors.New("raise_exception: the message is not a string")
	}
	return nil, &RaisedError{message}
}

// strftimeNow is strftime_now(format).
func (t *ChatTemplate) strftimeNow(args []any) (any, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("strftime_now: %d arguments, want 1", len(args))
	}
	format, ok := args[0].(string)
	if !ok {
		return nil, errors.New("strftime_now: the format is not a string")
	}
	return strftime(t.now(), format)
}
