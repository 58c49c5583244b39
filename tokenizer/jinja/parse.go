package jinja

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	maxTemplate = 128 << 10 // bytes; the largest templates published are under 20 KiB
	maxNesting  = 300       // statements in statements and expressions in expressions
	maxChain    = 500       // operators, calls and the like in a row, each of which is evaluated inside the next
)

// A Template is a parsed template. It does not change, and any number of goroutines may render it.
type Template struct{ body []node }

// Parse reads a template.
func Parse(source string) (t *Template, err error) {
	defer catch(&err)
	if len(source) > maxTemplate {
		fail("%d bytes, the limit is %d", len(source), maxTemplate)
	}
	tokens, err := lex(source)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	body := p.until()
	if p.peek().kind != endOfTemplate {
		p.unexpected("a statement")
	}
	return &Template{body}, nil
}

// parser reads tokens. The methods that read an expression are one for each level of precedence.
type parser struct {
	tokens []token
	at     int
	depth  int
	loops  int // that we are in, in this macro
}

func (p *parser) peek() token { return p.tokens[p.at] }

// after is the token behind the next.
func (p *parser) after() token { return p.tokens[min(p.at+1, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	p.at = min(p.at+1, len(p.tokens)-1)
	return t
}

func (p *parser) fail(format string, args ...any) {
	panic(failure{fmt.Errorf("line %d: "+format, append([]any{p.peek().line}, args...)...)})
}

// unexpected is the error that something else than what is expected follows.
func (p *parser) unexpected(want string) {
	t := p.peek()
	if t.text == "" || t.kind == text {
		p.fail("%v where %s is expected", t.kind, want)
	}
	p.fail("%.40q where %s is expected", t.text, want)
}

func (p *parser) is(k kind, s string) bool { t := p.peek(); return t.kind == k && t.text == s }
func (p *parser) isOp(op string) bool      { return p.is(operator, op) }
func (p *parser) isName(word string) bool  { return p.is(name, word) }

// takeOp is whether op follows, which is then behind; takeName the same for a word.
func (p *parser) takeOp(op string) bool {
	if p.isOp(op) {
		p.next()
		return true
	}
	return false
}

func (p *parser) takeName(word string) bool {
	if p.isName(word) {
		p.next()
		return true
	}
	return false
}

func (p *parser) wantOp(op string) {
	if !p.takeOp(op) {
		p.unexpected(strconv.Quote(op))
	}
}

func (p *parser) wantName() string {
	if p.peek().kind != name {
		p.unexpected("a name")
	}
	return p.next().text
}

func (p *parser) wantEnd() {
	if p.peek().kind != blockEnd {
		p.unexpected("%}")
	}
	p.next()
}

// enter goes one level deeper, leave comes back.
func (p *parser) enter() {
	if p.depth++; p.depth > maxNesting {
		p.fail("nested over %d deep", maxNesting)
	}
}

func (p *parser) leave() { p.depth-- }

// chain counts what is evaluated inside what follows it in a row.
func (p *parser) chain(n *int) {
	if *n++; *n > maxChain {
		p.fail("over %d operators in a row", maxChain)
	}
}

func (p *parser) expression() expr {
	p.enter()
	defer p.leave()
	e := p.or()
	if !p.isName("if") {
		return e
	}
	line := p.next().line
	c := &condition{at: at(line), then: e, test: p.or()}
	if p.takeName("else") {
		c.otherwise = p.expression()
	}
	return c
}

// expressions reads one expression, or several with commas between them, which are a tuple. Without ternary, an "if" that follows is
// left.
func (p *parser) expressions(ternary bool) expr {
	read := p.expression
	if !ternary {
		read = p.or
	}
	first, line := read(), p.peek().line
	if !p.isOp(",") {
		return first
	}
	items := []expr{first}
	for p.takeOp(",") && p.beginsExpression() {
		items = append(items, read())
	}
	return &listOf{at: at(line), items: items, tuple: true}
}

func (p *parser) beginsExpression() bool {
	switch t := p.peek(); t.kind {
	case stringLiteral, intLiteral, floatLiteral:
		return true
	case name:
		return t.text != "if" && t.text != "recursive" && t.text != "in"
	case operator:
		return strings.Contains("([{-+", t.text)
	}
	return false
}

// binary reads operands that read reads, with any of the operators between them, the leftmost of which goes first.
func (p *parser) binary(read func() expr, ops ...string) expr {
	e := read()
	for n := 0; p.peek().kind == operator && slices.Contains(ops, p.peek().text); {
		p.chain(&n)
		op := p.next()
		e = &arithmetic{at: at(op.line), op: op.text, left: e, right: read()}
	}
	return e
}

func (p *parser) or() expr {
	e := p.and()
	for n := 0; p.isName("or"); {
		p.chain(&n)
		e = &either{at: at(p.next().line), left: e, right: p.and(), when: false}
	}
	return e
}

func (p *parser) and() expr {
	e := p.not()
	for n := 0; p.isName("and"); {
		p.chain(&n)
		e = &either{at: at(p.next().line), left: e, right: p.not(), when: true}
	}
	return e
}

func (p *parser) not() expr {
	if !p.isName("not") {
		return p.compare()
	}
	p.enter()
	defer p.leave()
	return &negation{at(p.next().line), p.not()}
}

var comparisons = []string{"==", "!=", "<", "<=", ">", ">="}

func (p *parser) compare() expr {
	first, line := p.sum(), p.peek().line
	var rest []comparison
	for {
		t := p.peek()
		switch {
		case t.kind == operator && slices.Contains(comparisons, t.text):
			p.next()
		case p.isName("in"):
			p.next()
		case p.isName("not") && p.after().kind == name && p.after().text == "in":
			p.next()
			p.next()
			t.text = "not in"
		default:
			if rest == nil {
				return first
			}
			return &compared{at(line), first, rest}
		}
		rest = append(rest, comparison{t.text, p.sum()})
	}
}

func (p *parser) sum() expr     { return p.binary(p.joined, "+", "-") }
func (p *parser) joined() expr  { return p.binary(p.product, "~") }
func (p *parser) product() expr { return p.binary(p.power, "*", "/", "//", "%") }
func (p *parser) power() expr   { return p.binary(func() expr { return p.unary(true) }, "**") }

// unary reads a signed operand with what follows it: filters and tests only if they are the whole operand's.
func (p *parser) unary(filters bool) expr {
	p.enter()
	defer p.leave()
	var e expr
	switch {
	case p.isOp("-"):
		e = &signed{at(p.next().line), p.unary(false), true}
	case p.isOp("+"):
		e = &signed{at(p.next().line), p.unary(false), false}
	default:
		e = p.primary()
	}
	n := 0
	e = p.postfix(e, &n)
	for filters {
		switch {
		case p.isOp("|"):
			p.chain(&n)
			e = p.filter(e)
		case p.isName("is"):
			p.chain(&n)
			e = p.test(e)
		case p.isOp("("):
			p.chain(&n)
			e = p.call(e)
		default:
			return e
		}
	}
	return e
}

func (p *parser) primary() expr {
	t := p.peek()
	switch {
	case t.kind == name:
		p.next()
		switch t.text {
		case "true", "True":
			return &literal{at(t.line), true}
		case "false", "False":
			return &literal{at(t.line), false}
		case "none", "None":
			return &literal{at(t.line), nil}
		}
		return &variable{at(t.line), t.text}
	case t.kind == stringLiteral:
		var s strings.Builder
		for p.peek().kind == stringLiteral {
			s.WriteString(p.next().text)
		}
		return &literal{at(t.line), s.String()}
	case t.kind == intLiteral:
		digits := strings.ReplaceAll(t.text, "_", "")
		base := 10
		if len(digits) > 1 && digits[1] > '9' {
			base = 0
		}
		i, err := strconv.ParseInt(digits, base, 64)
		if err != nil {
			p.fail("%.40s is no integer of 64 bits", t.text)
		}
		p.next()
		return &literal{at(t.line), int(i)}
	case t.kind == floatLiteral:
		f, err := strconv.ParseFloat(strings.ReplaceAll(t.text, "_", ""), 64)
		if err != nil && !math.IsInf(f, 0) {
			p.fail("%.40s is no number", t.text)
		}
		p.next()
		return &literal{at(t.line), f}
	case p.takeOp("("):
		if p.takeOp(")") {
			return &listOf{at: at(t.line), tuple: true}
		}
		e := p.expressions(true)
		p.wantOp(")")
		return e
	case p.takeOp("["):
		return &listOf{at: at(t.line), items: p.items("]")}
	case p.takeOp("{"):
		return p.dict(t.line)
	}
	p.unexpected("an expression")
	return nil
}

// items reads expressions with commas between them, up to what closes them.
func (p *parser) items(closing string) []expr {
	var items []expr
	for !p.takeOp(closing) {
		if len(items) > 0 {
			p.wantOp(",")
			if p.takeOp(closing) {
				break
			}
		}
		items = append(items, p.expression())
	}
	return items
}

func (p *parser) dict(line int) expr {
	d := &dictOf{at: at(line)}
	for !p.takeOp("}") {
		if len(d.keys) > 0 {
			p.wantOp(",")
			if p.takeOp("}") {
				break
			}
		}
		d.keys = append(d.keys, p.expression())
		p.wantOp(":")
		d.values = append(d.values, p.expression())
	}
	return d
}

// postfix reads what picks a part of e, or calls it.
func (p *parser) postfix(e expr, n *int) expr {
	for {
		line := p.peek().line
		switch {
		case p.isOp("."):
			p.next()
			switch t := p.peek(); t.kind {
			case name:
				e = &attribute{at(line), e, p.next().text}
			case intLiteral:
				e = &subscript{at(line), e, p.primary()}
			default:
				p.unexpected("a name")
			}
		case p.takeOp("["):
			e = p.subscript(e, line)
		case p.isOp("("):
			e = p.call(e)
		default:
			return e
		}
		p.chain(n)
	}
}

func (p *parser) subscript(e expr, line int) expr {
	var bounds [3]expr
	for i := range bounds {
		if !p.isOp(":") && !p.isOp("]") {
			bounds[i] = p.expression()
		}
		if i == 0 && p.takeOp("]") {
			if bounds[0] == nil {
				p.fail("nothing between the brackets")
			}
			return &subscript{at(line), e, bounds[0]}
		}
		if i == 2 || !p.takeOp(":") {
			break
		}
	}
	p.wantOp("]")
	return &slice{at(line), e, bounds}
}

// arguments reads what is handed to a function, filter or test, behind its opening bracket.
func (p *parser) arguments() (positional []expr, named []namedExpr) {
	for first := true; !p.takeOp(")"); first = false {
		if !first {
			p.wantOp(",")
			if p.takeOp(")") {
				break
			}
		}
		if p.peek().kind == name && p.after().kind == operator && p.after().text == "=" {
			key := p.next().text
			p.next()
			named = append(named, namedExpr{key, p.expression()})
			continue
		}
		if named != nil {
			p.fail("an argument without a name behind one with a name")
		}
		positional = append(positional, p.expression())
	}
	return positional, named
}

func (p *parser) call(e expr) expr {
	c := &call{at: at(p.next().line), function: e}
	c.args, c.named = p.arguments()
	return c
}

// filter reads a filter behind its bar, and its arguments.
func (p *parser) filter(e expr) expr {
	p.wantOp("|")
	return p.filterName(e)
}

func (p *parser) filterName(e expr) expr {
	f := &filtered{at: at(p.peek().line), value: e, name: p.wantName()}
	var ok bool
	if f.function, ok = filterNamed(f.name); !ok {
		panic(failure{fmt.Errorf("line %d: there is no filter %.40s", f.at, f.name)})
	}
	if p.takeOp("(") {
		f.args, f.named = p.arguments()
	}
	return f
}

func (p *parser) test(e expr) expr {
	line := p.next().line
	not := p.takeName("not")
	t := &tested{at: at(line), value: e, not: not, name: p.wantName()}
	var ok bool
	if t.function, ok = testNamed(t.name); !ok {
		panic(failure{fmt.Errorf("line %d: there is no test %.40s", line, t.name)})
	}
	switch next := p.peek(); {
	case p.takeOp("("):
		t.args, t.named = p.arguments()
	case next.kind == stringLiteral, next.kind == intLiteral, next.kind == floatLiteral, p.isOp("["), p.isOp("{"),
		next.kind == name && !slices.Contains([]string{"else", "or", "and", "if", "is", "in", "not", "recursive"}, next.text):
		n := 0
		t.args = []expr{p.postfix(p.primary(), &n)}
	}
	return t
}
