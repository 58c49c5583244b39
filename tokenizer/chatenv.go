package tokenizer

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	controlStructures "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// environment is the Jinja that chat templates see: the library's, without what reaches for other
// templates or recurses without a bound, and with what transformers adds for chat templates.
var environment = &exec.Environment{
	Context:           exec.EmptyContext().Update(exec.NewContext(map[string]any{"dict": newDict})),
	Filters:           filters(),
	Tests:             builtins.Tests,
	ControlStructures: statements(),
	Methods:           methods(),
}

// rootTemplate is the name under which the one template is loaded.
const rootTemplate = "template"

// onlyTemplate is a loader of one template and nothing else: no file is ever opened.
type onlyTemplate string

var errOtherTemplate = errors.New("chat templates cannot load other templates")

func (t onlyTemplate) Read(path string) (io.Reader, error) {
	if path != rootTemplate {
		return nil, errOtherTemplate
	}
	return strings.NewReader(string(t)), nil
}

func (t onlyTemplate) Resolve(path string) (string, error) {
	if path != rootTemplate {
		return "", errOtherTemplate
	}
	return path, nil
}

func (t onlyTemplate) Inherit(string) (loaders.Loader, error) { return t, nil }

func filters() *exec.FilterSet {
	set := exec.NewFilterSet(map[string]exec.FilterFunction{}).Update(builtins.Filters)
	for name, f := range map[string]exec.FilterFunction{"tojson": filterToJSON, "items": filterItems, "list": filterList} {
		if err := set.Replace(name, f); err != nil {
			panic(err) // the library no longer has the filter: a mistake of ours
		}
	}
	return set
}

func statements() *exec.ControlStructureSet {
	own := map[string]parser.ControlStructureParser{
		"for": parseFor, "macro": parseMacro, "generation": parseGeneration,
	}
	for _, name := range []string{"break", "call", "continue", "do", "filter", "if", "raw", "set", "with"} {
		own[name] = libraryStatement(name)
	}
	return exec.NewControlStructureSet(own)
}

func libraryStatement(name string) parser.ControlStructureParser {
	p, ok := builtins.ControlStructures.Get(name)
	if !ok {
		panic("no statement " + name)
	}
	return p
}

// parseFor refuses recursive loops, which would only be bounded by their data.
func parseFor(p, args *parser.Parser) (nodes.ControlStructure, error) {
	s, err := libraryStatement("for")(p, args)
	if loop, ok := s.(*controlStructures.ForControlStructure); ok && err == nil && loop.Recursive {
		return nil, args.Error("recursive loops are not supported", nil)
	}
	return s, err
}

// boundedMacro is a macro that may call itself only so deep.
type boundedMacro struct {
	*controlStructures.MacroControlStructure
}

func parseMacro(p, args *parser.Parser) (nodes.ControlStructure, error) {
	s, err := libraryStatement("macro")(p, args)
	if macro, ok := s.(*controlStructures.MacroControlStructure); ok && err == nil {
		return &boundedMacro{macro}, nil
	}
	return s, err
}

func (m *boundedMacro) Execute(r *exec.Renderer, tag *nodes.ControlStructureBlock) error {
	call, err := exec.MacroNodeToFunc(m.Macro, r)
	if err != nil {
		return err
	}
	held, _ := r.Environment.Context.Get(renderKey)
	state := held.(*render)
	r.Environment.Context.Set(m.Name, exec.Macro(func(args *exec.VarArgs) *exec.Value {
		if state.depth == maxMacroDepth {
			return exec.AsValue(fmt.Errorf("macro %s: over %d calls deep", m.Name, maxMacroDepth))
		}
		state.depth++
		defer func() { state.depth-- }()
		return call(args)
	}))
	return nil
}

// generation marks, for training, what the assistant says. Rendering only passes through it.
type generation struct {
	at   *tokens.Token
	body *nodes.Wrapper
}

func parseGeneration(p, args *parser.Parser) (nodes.ControlStructure, error) {
	at := p.Current()
	body, _, err := p.WrapUntil("endgeneration")
	if err != nil {
		return nil, err
	}
	return &generation{at, body}, nil
}

func (g *generation) Position() *tokens.Token { return g.at }
func (g *generation) String() string          { return "generation" }

func (g *generation) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	return r.ExecuteWrapper(g.body)
}
