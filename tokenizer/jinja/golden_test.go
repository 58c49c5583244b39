package jinja

import (
	"encoding/json"
	"os"
	"testing"
)

// golden is testdata/snippets.golden.json, which research/make_jinja_goldens.py makes.
func golden(t testing.TB) (variables map[string]any, cases []struct {
	Source string
	Want   *string
}) {
	t.Helper()
	raw, err := os.ReadFile("testdata/snippets.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Variables map[string]json.RawMessage
		Cases     []struct {
			Source string
			Want   *string
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 300 {
		t.Fatalf("only %d cases", len(file.Cases))
	}
	variables = map[string]any{"raise_exception": Func(func([]any) (any, error) { return nil, errRaised })}
	for name, v := range file.Variables {
		variables[name] = v
	}
	return variables, file.Cases
}

func TestSnippetsRenderAsTheReferenceRendersThem(t *testing.T) {
	variables, cases := golden(t)
	for _, c := range cases {
		template, err := Parse(c.Source)
		var got string
		if err == nil {
			got, err = template.Render(variables)
		}
		switch {
		case c.Want == nil && err == nil:
			t.Errorf("%s: %q, want an error", c.Source, got)
		case c.Want != nil && err != nil:
			t.Errorf("%s: %v, want %q", c.Source, err, *c.Want)
		case c.Want != nil && got != *c.Want:
			t.Errorf("%s:\n got %q\nwant %q", c.Source, got, *c.Want)
		}
	}
}
