package jinja

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Render runs the template with variables, which are what FromGo takes, or a Func. An error of a Func is handed on.
func (t *Template) Render(vars map[string]any) (string, error) {
	return t.render(vars, workFor)
}

// render is Render with a purse of its own.
func (t *Template) render(vars map[string]any, work func(map[string]any) int) (text string, err error) {
	r := &run{out: new(output)}
	defer func() {
		if err != nil && r.line > 0 {
			text, err = "", fmt.Errorf("line %d: %w", r.line, err)
		}
	}()
	defer catch(&err)
	s := &scope{parent: &scope{vars: globals}}
	values := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		v := vars[name]
		if f, ok := v.(Func); ok {
			v = f.function(name)
		} else if v, err = FromGo(v); err != nil {
			return "", fmt.Errorf("variable %s: %w", name, err)
		}
		values[name] = v
		s.vars = append(s.vars, binding{name, v})
	}
	r.left = work(values)
	r.body(t.body, s)
	return r.out.String(), nil
}

func (f Func) function(name string) *function {
	return &function{name, func(_ *run, a arguments) any {
		if len(a.named) > 0 {
			fail("%s: unknown argument %.40s", name, a.named[0].name)
		}
		v, err := f(a.list)
		if err == nil {
			v, err = FromGo(v)
		}
		if err != nil {
			panic(failure{err})
		}
		return v
	}}
}

// output is what is being written: the prompt, or what a macro, a captured block or a filter block will give.
type output struct{ strings.Builder }

// capture is what f writes.
func (r *run) capture(f func()) string {
	outer := r.out
	r.out = new(output)
	f()
	s := r.out.String()
	r.out = outer
	return s
}

// scope is variables, beside those of the scope around it.
type scope struct {
	vars   []binding
	parent *scope
}

type binding struct {
	name  string
	value any
}

// capturedName is where captured text is found. No template can name it.
const capturedName = " captured"

// get is the variable that name is in s.
func (r *run) get(s *scope, name string) (any, bool) {
	for ; s != nil; s = s.parent {
		r.spend(len(s.vars) / 2)
		for i := range s.vars {
			if s.vars[i].name == name {
				return s.vars[i].value, true
			}
		}
	}
	return nil, false
}

// set sets a variable of s itself.
func (r *run) set(s *scope, name string, v any) {
	for i := range s.vars {
		if s.vars[i].name == name {
			s.vars[i].value = v
			return
		}
	}
	r.spend(entryCost)
	s.vars = append(s.vars, binding{name, v})
}

// inner is a new scope in s.
func (r *run) inner(s *scope) *scope {
	r.spend(entryCost)
	return &scope{parent: s}
}

// unpack sets several variables to the items of v, or one to v.
func (r *run) unpack(s *scope, names []string, v any) {
	if len(names) == 1 {
		r.set(s, names[0], v)
		return
	}
	items := r.items(v)
	if len(items) != len(names) {
		fail("%d items for %d variables", len(items), len(names))
	}
	for i, name := range names {
		r.set(s, name, items[i])
	}
}

// body runs statements.
func (r *run) body(body []node, s *scope) jump {
	r.enter()
	defer r.leave()
	for _, n := range body {
		r.spend(stepCost)
		r.line = n.line()
		if j := n.run(r, s); j != "" {
			return j
		}
	}
	return ""
}

func (r *run) write(s string) {
	r.put(&r.out.Builder, s)
}

func (n *data) run(r *run, _ *scope) jump {
	r.write(n.text)
	return ""
}

func (n *written) run(r *run, s *scope) jump {
	r.print(&r.out.Builder, r.eval(n.value, s), false)
	return ""
}

func (n *do) run(r *run, s *scope) jump {
	r.eval(n.value, s)
	return ""
}

func (n *leap) run(*run, *scope) jump { return n.to }

func (n *ifElse) run(r *run, s *scope) jump {
	for i, test := range n.tests {
		r.line = test.line()
		if truth(r.eval(test, s)) {
			return r.body(n.bodies[i], s)
		}
	}
	return r.body(n.otherwise, s)
}

func (n *set) run(r *run, s *scope) jump {
	in := s
	if n.capture {
		in = r.inner(s)
		text := r.capture(func() { r.body(n.body, in) })
		r.set(in, capturedName, text)
	}
	v := r.eval(n.value, in)
	if n.of == "" {
		r.unpack(s, n.names, v)
		return ""
	}
	held, _ := r.get(s, n.names[0])
	of, ok := held.(*namespace)
	if !ok {
		fail("%s is not a namespace", n.names[0])
	}
	r.spend(entryCost)
	of.vars[n.of] = v
	return ""
}

func (n *with) run(r *run, s *scope) jump {
	in := r.inner(s)
	for i, name := range n.names {
		r.set(in, name, r.eval(n.values[i], s))
	}
	return r.body(n.body, in)
}

func (n *filterBlock) run(r *run, s *scope) jump {
	in := r.inner(s)
	j := jump("")
	text := r.capture(func() { j = r.body(n.body, in) })
	r.set(in, capturedName, text)
	r.print(&r.out.Builder, r.eval(n.filter, in), false)
	return j
}

func (n *macro) run(r *run, s *scope) jump {
	r.set(s, n.name, n.function(s))
	return ""
}

// function is the macro where it was defined, in s.
func (n *macro) function(s *scope) *function {
	names := make([]string, len(n.parameters))
	for i, p := range n.parameters {
		names[i] = p.name
	}
	return &function{n.name, func(r *run, a arguments) any {
		in := r.inner(s)
		given := a
		if caller := slices.IndexFunc(a.named, func(v namedValue) bool { return v.name == "caller" }); caller >= 0 {
			r.set(in, "caller", a.named[caller].value)
			given.named = slices.Delete(slices.Clone(a.named), caller, caller+1)
		}
		if r.macros++; r.macros > maxMacroDepth {
			fail("macro %.40s: over %d calls deep", n.name, maxMacroDepth)
		}
		for i, v := range given.take(0, names...) {
			switch p := n.parameters[i]; {
			case v != nil:
				r.set(in, p.name, *v)
			case p.otherwise != nil:
				r.set(in, p.name, r.eval(p.otherwise, in))
			default:
				r.set(in, p.name, undefined{p.name})
			}
		}
		line := r.line
		text := r.capture(func() { r.body(n.body, in) })
		r.macros, r.line = r.macros-1, line
		return text
	}}
}

func (n *callBlock) run(r *run, s *scope) jump {
	f, ok := r.eval(n.call.function, s).(*function)
	if !ok {
		fail("%s is not callable", described(n.call.function))
	}
	a := r.arguments(n.call.args, n.call.named, s)
	a.named = append(a.named, namedValue{"caller", n.caller.function(s)})
	r.print(&r.out.Builder, f.call(r, a), false)
	return ""
}

// loop is the variable loop.
type loop struct {
	items   []any
	at      int
	changed any // what changed was last asked of; nil at first
}

func (n *loopOver) run(r *run, s *scope) jump {
	items := r.items(r.eval(n.over, s))
	if n.test != nil {
		var chosen []any
		for _, item := range items {
			in := r.inner(s)
			r.unpack(in, n.targets, item)
			if truth(r.eval(n.test, in)) {
				r.spend(itemCost)
				chosen = append(chosen, item)
			}
		}
		items = chosen
	}
	if len(items) == 0 {
		return r.body(n.otherwise, r.inner(s))
	}
	l := &loop{items: items}
	for i, item := range items {
		l.at = i
		in := r.inner(s)
		r.unpack(in, n.targets, item)
		r.set(in, "loop", l)
		if r.body(n.body, in) == "break" {
			break
		}
	}
	return ""
}

func (l *loop) attribute(r *run, name string) (any, bool) {
	neighbour := func(i int) any {
		if i < 0 || i >= len(l.items) {
			return undefined{"loop." + name}
		}
		return l.items[i]
	}
	switch name {
	case "index":
		return l.at + 1, true
	case "index0":
		return l.at, true
	case "revindex":
		return len(l.items) - l.at, true
	case "revindex0":
		return len(l.items) - l.at - 1, true
	case "first":
		return l.at == 0, true
	case "last":
		return l.at == len(l.items)-1, true
	case "length":
		return len(l.items), true
	case "depth": // of recursion, which there is none of
		return 1, true
	case "depth0":
		return 0, true
	case "previtem":
		return neighbour(l.at - 1), true
	case "nextitem":
		return neighbour(l.at + 1), true
	case "cycle":
		return &function{name, func(_ *run, a arguments) any {
			if len(a.list) == 0 {
				fail("cycle: no arguments")
			}
			return a.list[l.at%len(a.list)]
		}}, true
	case "changed":
		return &function{name, func(r *run, a arguments) any {
			now := &list{items: a.list}
			before, ok := l.changed.(*list)
			l.changed = now
			return !ok || !r.equal(before, now)
		}}, true
	}
	return nil, false
}
