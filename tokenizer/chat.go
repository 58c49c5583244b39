package tokenizer

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
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
	base      *exec.Template
	withTools *exec.Template // used instead when tools are given; may be nil
	tokens    map[string]any // bos_token, eos_token and the like
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
	if t.base, err = parseTemplate(c.base); err == nil && c.withTools != "" {
		t.withTools, err = parseTemplate(c.withTools)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.file, err)
	}
	return t, nil
}

// Render is the prompt for messages. addGenerationPrompt opens the assistant's turn. extra are further
// variables: tools, enable_thinking, documents; a json.RawMessage among them, at any depth, keeps the order
// of its keys. A refusal by the template itself is a RaisedError.
func (t *ChatTemplate) Render(messages []Message, addGenerationPrompt bool, extra map[string]any) (prompt string, err error) {
	defer func() {
		// The interpreter panics on some mistakes of a template, such as a remainder by zero.
		if p := recover(); p != nil {
			prompt, err = "", fmt.Errorf("%s: %v", t.file, p)
		}
	}()
	turns := make(list, len(messages))
	for i, m := range messages {
		turns[i] = dictOf([]string{"role", "content"}, []any{m.Role, m.Content})
	}
	r := &render{now: t.now}
	data := maps.Clone(t.tokens)
	for k, v := range extra {
		if data[k], err = toTemplate(v); err != nil {
			return "", fmt.Errorf("%s: variable %s: %w", t.file, k, err)
		}
	}
	maps.Copy(data, r.functions())
	data["messages"] = turns
	data["add_generation_prompt"] = addGenerationPrompt

	template := t.base
	if t.withTools != nil && data["tools"] != nil {
		template = t.withTools
	}
	err = template.Execute(&r.out, exec.NewContext(data))
	switch {
	case r.raised != nil:
		return "", fmt.Errorf("%s: %w", t.file, r.raised)
	case err != nil:
		return "", fmt.Errorf("%s: %w", t.file, err)
	}
	return r.out.String(), nil
}

// maxTemplate is the largest template, in bytes; the largest published are under 20 KiB. With maxBrackets it
// bounds the parser's stack.
const maxTemplate = 128 << 10

func parseTemplate(source string) (t *exec.Template, err error) {
	if len(source) > maxTemplate {
		return nil, fmt.Errorf("%d bytes, the limit is %d", len(source), maxTemplate)
	}
	defer func() {
		if p := recover(); p != nil {
			t, err = nil, fmt.Errorf("%v", p)
		}
	}()
	c := config.New()
	c.TrimBlocks = true // with lstripBlocks what templates of this kind are written for
	if source, err = lstripBlocks(source); err != nil {
		return nil, err
	}
	t, err = exec.NewTemplate(rootTemplate, c, onlyTemplate(source), environment)
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // without the whole template in its message
	}
	return t, err
}
