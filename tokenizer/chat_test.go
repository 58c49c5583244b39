package tokenizer

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// chatOf loads source as a model's chat template.
func chatOf(t testing.TB, source string) *ChatTemplate {
	t.Helper()
	c, err := LoadChat([]byte(`{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null}`), []byte(source), "models/m")
	if err != nil {
		t.Fatal(err)
	}
	c.now = func() time.Time { return time.Date(2026, 3, 4, 15, 6, 7, 0, time.UTC) }
	return c
}

func TestPromptsAreTheReferences(t *testing.T) {
	data, err := os.ReadFile("testdata/chat.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Templates map[string]string
		Cases     []struct {
			Name, Template string
			Messages       []Message
			Prompt         bool
			Extra          map[string]json.RawMessage
			Want, Raised   string
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) < 50 {
		t.Fatalf("only %d cases", len(golden.Cases))
	}
	for _, c := range golden.Cases {
		extra := map[string]any{}
		for k, v := range c.Extra {
			extra[k] = v
		}
		got, err := chatOf(t, golden.Templates[c.Template]).Render(c.Messages, c.Prompt, extra)
		var raised *RaisedError
		switch {
		case c.Raised != "":
			if !errors.As(err, &raised) || raised.Message != c.Raised {
				t.Errorf("%s: %v, want the template to raise %q", c.Name, err, c.Raised)
			}
		case err != nil:
			t.Errorf("%s: %v", c.Name, err)
		case got != c.Want:
			t.Errorf("%s:\n got %q\nwant %q", c.Name, got, c.Want)
		}
	}
}

var hello = []Message{{"user", "hello"}}

func TestTemplatesCannotReadFiles(t *testing.T) {
	for _, source := range []string{
		"{% include '/etc/hostname' %}",
		"{% include 'x' ignore missing %}",
		"{% extends '/etc/hostname' %}",
		"{% import '/etc/hostname' as x %}",
		"{% from '/etc/hostname' import x %}",
	} {
		_, err := LoadChat([]byte(`{}`), []byte(source), "models/m")
		if err == nil || !strings.HasPrefix(err.Error(), "models/m/chat_template.jinja: ") {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestRunawayTemplatesEndInAnErrorThatNamesTheFile(t *testing.T) {
	for source, want := range map[string]string{
		"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}":                                       "calls deep",
		"{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ g() }}": "calls deep",
		"{% for i in range(1000000000000) %}{% endfor %}":                                       "more work",
		"{% for i in range(600) %}{% for j in range(600) %}{% endfor %}{% endfor %}":            "more work",
		"{% for i in range(0, 5, 0) %}{% endfor %}":                                             "step",
		"{{ range() }}": "0 arguments",
		"{% for i in range(40) %}{{ messages[0].content }}{% endfor %}": "more work",
		"{{ 1 % 0 }}":              "a division by zero",
		"{{ messages.x.y }}":       "",
		"{{ nothing() }}":          "not callable",
		"{{ 'a' | nofilter }}":     "nofilter",
		"{{ strftime_now('%Q') }}": "directive %Q",
		"{{ strftime_now('%') }}":  "within a directive",
		"{% set n = namespace() %}{% set n.n = n %}{{ n | tojson }}": "a namespace is not JSON",
		"{{ messages | tojson(indent=1000) }}":                       "indent 1000",
		"{{ messages | tojson(colour=1) }}":                          "unknown argument colour",
	} {
		c, err := LoadChat([]byte(`{}`), []byte(source), "models/m")
		if err == nil {
			_, err = c.Render([]Message{{"user", strings.Repeat("x", 2<<20)}}, true, nil)
		}
		if err == nil || !strings.HasPrefix(err.Error(), "models/m/chat_template.jinja: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error about %q", source, err, want)
		}
	}
}

func TestANamespaceThatHoldsItselfCanBeWritten(t *testing.T) {
	got, err := chatOf(t, "{% set n = namespace(a=1) %}{% set n.n = n %}{{ n }}{{ n.a }}").Render(hello, false, nil)
	if err != nil || got != "<namespace>1" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLoadChatChoosesTheTemplate(t *testing.T) {
	tools := map[string]any{"tools": json.RawMessage(`[{"name": "f"}]`)}
	for name, c := range map[string]struct {
		config, jinja string
		extra         map[string]any
		want          string
	}{
		"a string":                 {`{"chat_template": "one"}`, "", nil, "one"},
		"the file goes first":      {`{"chat_template": "one"}`, "two", nil, "two"},
		"default":                  {`{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}`, "", nil, "d"},
		"tool use":                 {`{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}`, "", tools, "t"},
		"the file, with tools":     {`{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}`, "f", tools, "f"},
		"tokens":                   {`{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": true}`, "{{ bos_token }}{{ eos_token }}{{ add_bos_token }}", nil, "<s></s>"},
		"an extra goes over these": {`{"bos_token": "<s>"}`, "{{ bos_token }}", map[string]any{"bos_token": "!"}, "!"},
	} {
		chat, err := LoadChat([]byte(c.config), []byte(c.jinja), "m")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := chat.Render(hello, false, c.extra); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
}

func TestBadChatConfigsAreRefusedByFile(t *testing.T) {
	for name, c := range map[string]struct{ config, jinja, want string }{
		"truncated":     {`{"chat_template": "`, "", "m/tokenizer_config.json: "},
		"a number":      {`{"chat_template": 1}`, "", "m/tokenizer_config.json: chat_template: "},
		"no default":    {`{"chat_template": [{"name": "rag", "template": "x"}]}`, "", "m/tokenizer_config.json: chat_template: "},
		"bad Jinja":     {`{"chat_template": "{% if %}"}`, "", "m/tokenizer_config.json: chat_template: "},
		"open tag":      {`{}`, "{% if x", "m/chat_template.jinja: "},
		"recursive":     {`{}`, "{% for x in messages recursive %}{{ loop(messages) }}{% endfor %}", "m/chat_template.jinja: "},
		"large":         {`{}`, strings.Repeat("x", 1<<20), "m/chat_template.jinja: "},
		"deeply nested": {`{}`, "{{" + strings.Repeat("(", 60<<10), "m/chat_template.jinja: "},
	} {
		if _, err := LoadChat([]byte(c.config), []byte(c.jinja), "m"); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: %d bytes of error", name, len(err.Error()))
		}
	}
	for _, config := range []string{`{}`, `{"chat_template": null}`, `{"chat_template": ""}`} {
		if _, err := LoadChat([]byte(config), nil, "m"); !errors.Is(err, ErrNoChatTemplate) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestExtraVariablesKeepTheirOrder(t *testing.T) {
	c := chatOf(t, "{{ raw | tojson }}{{ map | tojson }}{{ list | tojson }}{{ n }}")
	got, err := c.Render(hello, false, map[string]any{
		"raw":  json.RawMessage(`{"z": 1, "a": [{"y": null, "b": "<'&\u2028>"}]}`),
		"map":  map[string]any{"z": json.RawMessage(`{"b": 1, "a": 2}`), "a": true},
		"list": []any{1, []json.RawMessage{json.RawMessage(`"x"`)}},
		"n":    3,
	})
	want := `{"z": 1, "a": [{"y": null, "b": "<'&` + "\u2028" + `>"}]}{"a": true, "z": {"b": 1, "a": 2}}[1, ["x"]]3`
	if err != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	for _, bad := range []string{`{`, `{"a"`, `[1`, `1 2`, ``, strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20)} {
		_, err := c.Render(hello, false, map[string]any{"raw": json.RawMessage(bad)})
		if err == nil || !strings.Contains(err.Error(), "variable raw") {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// TestLongConversationsAreRendered: what bounds a hostile template must leave room for any conversation.
func TestLongConversationsAreRendered(t *testing.T) {
	data, err := os.ReadFile("testdata/chat.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Templates map[string]string }
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	var short, long []Message
	for i := range 20000 {
		short = append(short, Message{[]string{"user", "assistant"}[i%2], "x"})
	}
	for i := range 8 {
		long = append(long, Message{[]string{"user", "assistant"}[i%2], strings.Repeat("<think>\"\n", 200<<10) + "</think>" + strings.Repeat("é ", 200<<10)})
	}
	tools := json.RawMessage("[" + strings.TrimSuffix(strings.Repeat(`{"name": "f", "parameters": {"a": {"type": "string"}, "b": {}}, "required": ["a"]},`, 1000), ",") + "]")
	for name, source := range golden.Templates {
		for _, messages := range [][]Message{short, long} {
			if _, err := chatOf(t, source).Render(messages, true, map[string]any{"tools": tools}); err != nil {
				t.Errorf("%s, %d messages: %v", name, len(messages), err)
			}
		}
	}
}

func TestGoroutinesShareATemplate(t *testing.T) {
	c := chatOf(t, "{% macro m(x) %}[{{ x }}]{% endmacro %}{% set ns = namespace(n=0) %}{% for x in messages %}{% set ns.n = ns.n + 1 %}{{ m(x.content) }}{{ ns.n }}{% endfor %}")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if got, err := c.Render(hello, false, nil); err != nil || got != "[hello]1" {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzChat(f *testing.F) {
	data, err := os.ReadFile("testdata/chat.golden.json")
	if err != nil {
		f.Fatal(err)
	}
	var golden struct{ Templates map[string]string }
	if err := json.Unmarshal(data, &golden); err != nil {
		f.Fatal(err)
	}
	for _, source := range golden.Templates {
		f.Add(source, "content", `[{"a": 1}]`)
	}
	f.Fuzz(func(t *testing.T, source, content, tools string) {
		c, err := LoadChat([]byte(`{}`), []byte(source), "fuzz")
		if err == nil {
			_, err = c.Render([]Message{{"user", content}, {"assistant", content}}, true, map[string]any{"tools": json.RawMessage(tools)})
		}
		if err != nil && !strings.HasPrefix(err.Error(), "fuzz/") {
			t.Fatalf("%q does not name the file", err)
		}
		if err != nil && strings.Contains(err.Error(), "runtime error") {
			t.Fatal(err)
		}
	})
}
