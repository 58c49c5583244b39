package metal

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// message is a row of selectors.tsv.
type message struct {
	owner, to, selector string
	arguments           []string
	returns             string
}

func table(t *testing.T) map[string]message {
	t.Helper()
	f, err := os.Open("selectors.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, columns := map[string]message{}, 0
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		cells := strings.Split(s.Text(), "\t")
		if columns == 0 {
			columns = len(cells)
			continue
		}
		if len(cells) != columns {
			t.Fatalf("%q has %d columns, not %d", s.Text(), len(cells), columns)
		}
		m := message{owner: cells[0], to: cells[1], selector: cells[2], returns: cells[4]}
		if cells[3] != "-" {
			m.arguments = strings.Split(cells[3], ",")
		}
		if n := strings.Count(m.selector, ":"); n != len(m.arguments) {
			t.Errorf("%s has %d colons and %d arguments", m.selector, n, len(m.arguments))
		}
		if !strings.HasSuffix(cells[5], ".h") || !strings.Contains(cells[6], ".") {
			t.Errorf("%s names no header or no version: %q, %q", m.selector, cells[5], cells[6])
		}
		key := m.owner + " " + m.selector
		if _, twice := rows[key]; twice {
			t.Errorf("%s is there twice", key)
		}
		rows[key] = m
	}
	return rows
}

// calls is what the package's text says of messages. It is read, not run, so that it is checked on every system.
type calls struct {
	t       *testing.T
	names   map[string]string // selectors by variable
	structs map[string]int    // sizes of structs of 64-bit fields, by name
	used    map[string]bool   // variables
	sent    map[string]message
	methods map[string]string // selectors by the method that sends them
	toClass map[string]bool   // methods that are called on a class
}

// kinds of arguments by the function that makes them; structure is apart.
var kinds = map[string]string{"pointer": "pointer", "word": "object", "integer": "integer", "boolean": "boolean", "block": "block"}

func read(t *testing.T) *calls {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	c := &calls{t: t, names: map[string]string{}, structs: map[string]int{}, used: map[string]bool{}, sent: map[string]message{}, methods: map[string]string{}, toClass: map[string]bool{}}
	var files []*ast.File
	for _, path := range paths {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
		ast.Inspect(f, c.declaration)
	}
	for _, f := range files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				c.function(fn)
			}
		}
	}
	return c
}

// declaration notes selectors and structs.
func (c *calls) declaration(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ValueSpec:
		for i, v := range n.Values {
			call, ok := v.(*ast.CallExpr)
			if !ok || name(call.Fun) != "register" {
				continue
			}
			text, err := strconv.Unquote(call.Args[0].(*ast.BasicLit).Value)
			if err != nil {
				c.t.Fatal(err)
			}
			if len(n.Values) != len(n.Names) {
				c.t.Fatalf("%s is not registered beside its name", text)
			}
			c.names[n.Names[i].Name] = text
		}
	case *ast.TypeSpec:
		fields, ok := n.Type.(*ast.StructType)
		if !ok {
			break
		}
		size := 0
		for _, f := range fields.Fields.List {
			if kind := name(f.Type); kind == "uint64" || kind == "int64" {
				size += 8 * len(f.Names)
			}
		}
		c.structs[n.Name.Name] = size
	}
	return true
}

// name is an identifier's, or "".
func name(e ast.Expr) string {
	if i, ok := e.(*ast.Ident); ok {
		return i.Name
	}
	return ""
}

// function notes what a function sends. Only methods on the objects may, one message each, so that who gets it is known.
func (c *calls) function(fn *ast.FuncDecl) {
	if fn.Name.Name == "send" || fn.Name.Name == "sendFloat" {
		return
	}
	results := map[*ast.CallExpr]string{}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		outer, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if s, ok := outer.Fun.(*ast.SelectorExpr); ok {
			if inner, ok := s.X.(*ast.CallExpr); ok {
				results[inner] = s.Sel.Name
			}
			if made, ok := s.X.(*ast.CompositeLit); ok && len(made.Elts) == 1 { // nsObject{class("NSString")}.alloc()
				if of, ok := made.Elts[0].(*ast.CallExpr); ok && name(of.Fun) == "class" {
					c.toClass[s.Sel.Name] = true
				}
			}
		}
		switch name(outer.Fun) {
		case "send":
			c.message(fn, outer, results[outer])
		case "sendFloat":
			c.message(fn, outer, "double")
		}
		return true
	})
}

// message notes a call of send.
func (c *calls) message(fn *ast.FuncDecl, call *ast.CallExpr, returns string) {
	where := fn.Name.Name
	if fn.Recv == nil {
		c.t.Errorf("%s sends a message and is no method of an object", where)
		return
	}
	receiver := name(fn.Recv.List[0].Type)
	to, ok := call.Args[0].(*ast.SelectorExpr)
	if !ok || name(to.X) != fn.Recv.List[0].Names[0].Name || to.Sel.Name != "object" {
		c.t.Errorf("%s sends to another object than its own", where)
		return
	}
	variable := name(call.Args[1])
	selector, ok := c.names[variable]
	if !ok {
		c.t.Errorf("%s sends what is not registered", where)
		return
	}
	c.used[variable] = true
	m := message{owner: strings.ToUpper(receiver[:2]) + receiver[2:], selector: selector, returns: returns}
	if strings.HasPrefix(receiver, "mtl") {
		m.owner = "MTL" + receiver[3:]
	}
	for _, a := range call.Args[2:] {
		m.arguments = append(m.arguments, c.argument(fn, a))
	}
	c.methods[fn.Name.Name] = selector
	key := m.owner + " " + selector
	if _, twice := c.sent[key]; twice {
		c.t.Errorf("%s is sent in two places", key)
	}
	c.sent[key] = m
}

// argument is the class of an argument; a struct's has its name and size.
func (c *calls) argument(fn *ast.FuncDecl, e ast.Expr) string {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return "an argument of no class"
	}
	made := name(call.Fun)
	if made != "structure" {
		return kinds[made]
	}
	passed := name(call.Args[0].(*ast.CallExpr).Args[0]) // structure(unsafe.Pointer(passed))
	for _, p := range fn.Type.Params.List {
		star, ok := p.Type.(*ast.StarExpr)
		if !ok || !slices.ContainsFunc(p.Names, func(i *ast.Ident) bool { return i.Name == passed }) {
			continue
		}
		s := name(star.X)
		for _, prefix := range []string{"mtl", "ns"} {
			if rest, ok := strings.CutPrefix(s, prefix); ok {
				return "struct:" + strings.ToUpper(prefix) + rest + ":" + strconv.Itoa(c.structs[s])
			}
		}
	}
	return "a struct that is not passed on"
}

func TestEveryMessageIsSentAsApplesHeadersDeclareIt(t *testing.T) {
	rows, c := table(t), read(t)
	if len(c.sent) == 0 {
		t.Fatal("no message is sent")
	}
	for key, m := range c.sent {
		row, ok := rows[key]
		switch {
		case !ok:
			t.Errorf("%s is not in selectors.tsv", key)
		case !slices.Equal(m.arguments, row.arguments):
			t.Errorf("%s is sent with %v; it takes %v", key, m.arguments, row.arguments)
		case m.returns != row.returns:
			t.Errorf("of %s %q is expected; it returns %s", key, m.returns, row.returns)
		}
	}
	for key := range rows {
		if _, ok := c.sent[key]; !ok {
			t.Errorf("%s is in selectors.tsv and is not sent", key)
		}
	}
	for method, selector := range c.methods {
		for _, row := range rows {
			if row.selector == selector && (row.to == "class") != c.toClass[method] {
				t.Errorf("%s is sent to a class: %v; Apple's headers have it for a %s", selector, c.toClass[method], row.to)
			}
		}
	}
	for variable, selector := range c.names {
		if !c.used[variable] {
			t.Errorf("%s is registered and not sent", selector)
		}
	}
}
