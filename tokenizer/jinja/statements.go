package jinja

import "slices"

// until reads nodes up to a statement that is one of the words, whose {% and word are then behind, or to the end of the template if
// there are none.
func (p *parser) until(words ...string) []node {
	p.enter()
	defer p.leave()
	var body []node
	for {
		t := p.peek()
		switch t.kind {
		case text:
			p.next()
			body = append(body, &data{at(t.line), t.text})
		case outputBegin:
			p.next()
			e := p.expressions(true)
			if p.peek().kind != outputEnd {
				p.unexpected("}}")
			}
			p.next()
			body = append(body, &written{at(t.line), e})
		case blockBegin:
			if word := p.after(); word.kind == name && slices.Contains(words, word.text) {
				p.next()
				return body
			}
			p.next()
			body = append(body, p.statement())
		default:
			if len(words) > 0 {
				p.unexpected("{% " + words[len(words)-1] + " %}")
			}
			return body
		}
	}
}

// block reads the body of a statement and its end.
func (p *parser) block(end string) []node {
	p.wantEnd()
	body := p.until(end)
	p.next()
	p.wantEnd()
	return body
}

func (p *parser) statement() node {
	line := p.peek().line
	switch word := p.wantName(); word {
	case "if":
		return p.ifStatement(line)
	case "for":
		return p.forStatement(line)
	case "set":
		return p.setStatement(line)
	case "macro":
		m := &macro{at: at(line), name: p.wantName(), parameters: p.parameters()}
		m.body = p.functionBody("endmacro")
		return m
	case "call":
		m := macro{at: at(line), name: "caller"}
		if p.isOp("(") {
			m.parameters = p.parameters()
		}
		c, ok := p.expression().(*call)
		if !ok {
			p.fail("call needs a call")
		}
		m.body = p.functionBody("endcall")
		return &callBlock{at(line), m, c}
	case "filter":
		s := &filterBlock{at: at(line), filter: p.filters(p.filterName(captured{}))}
		s.body = p.block("endfilter")
		return s
	case "with":
		w := &with{at: at(line)}
		for p.peek().kind != blockEnd {
			if len(w.names) > 0 {
				p.wantOp(",")
			}
			w.names = append(w.names, p.wantName())
			p.wantOp("=")
			w.values = append(w.values, p.expression())
		}
		w.body = p.block("endwith")
		return w
	case "do":
		e := p.expressions(true)
		p.wantEnd()
		return &do{at(line), e}
	case "generation": // marks, for training, what the assistant says
		return &with{at: at(line), body: p.block("endgeneration")}
	case "break", "continue":
		if p.loops == 0 {
			p.fail("%s outside a loop", word)
		}
		p.wantEnd()
		return &leap{at(line), jump(word)}
	case "include", "import", "from", "extends", "block":
		p.fail("%s: a template cannot use other templates", word)
	default:
		p.fail("there is no statement %.40s", word)
	}
	return nil
}

// filters reads the filters behind e.
func (p *parser) filters(e expr) expr {
	for n := 0; p.isOp("|"); {
		p.chain(&n)
		e = p.filter(e)
	}
	return e
}

func (p *parser) ifStatement(line int) node {
	s := &ifElse{at: at(line)}
	for {
		s.tests = append(s.tests, p.expressions(true))
		p.wantEnd()
		s.bodies = append(s.bodies, p.until("elif", "else", "endif"))
		switch p.next().text {
		case "else":
			s.otherwise = p.block("endif")
			return s
		case "endif":
			p.wantEnd()
			return s
		}
	}
}

func (p *parser) forStatement(line int) node {
	f := &loopOver{at: at(line), targets: p.names()}
	if !p.takeName("in") {
		p.unexpected("in")
	}
	f.over = p.expressions(false)
	if p.takeName("if") {
		f.test = p.expression()
	}
	if p.isName("recursive") {
		p.fail("recursive loops are not supported")
	}
	p.wantEnd()
	p.loops++
	f.body = p.until("else", "endfor")
	p.loops--
	if p.next().text == "else" {
		f.otherwise = p.block("endfor")
		return f
	}
	p.wantEnd()
	return f
}

// names reads the variables that a loop sets, with or without brackets around them.
func (p *parser) names() []string {
	bracket := p.takeOp("(")
	names := []string{p.wantName()}
	for p.takeOp(",") && p.peek().kind == name && !p.isName("in") {
		names = append(names, p.next().text)
	}
	if bracket {
		p.wantOp(")")
	}
	return names
}

func (p *parser) setStatement(line int) node {
	s := &set{at: at(line), names: []string{p.wantName()}}
	switch {
	case p.takeOp("."):
		s.of = p.wantName()
	case p.isOp(","):
		for p.takeOp(",") && p.peek().kind == name {
			s.names = append(s.names, p.next().text)
		}
	}
	if p.takeOp("=") {
		s.value = p.expressions(true)
		p.wantEnd()
		return s
	}
	if len(s.names) > 1 {
		p.unexpected(`"="`)
	}
	s.value = p.filters(captured{})
	s.capture = true
	s.body = p.block("endset")
	return s
}

// parameters reads what a macro takes, in brackets.
func (p *parser) parameters() []parameter {
	var parameters []parameter
	p.wantOp("(")
	for !p.takeOp(")") {
		if len(parameters) > 0 {
			p.wantOp(",")
			if p.takeOp(")") {
				break
			}
		}
		to := parameter{name: p.wantName()}
		if p.takeOp("=") {
			to.otherwise = p.expression()
		}
		parameters = append(parameters, to)
	}
	return parameters
}

func (p *parser) functionBody(end string) []node {
	loops := p.loops
	p.loops = 0
	body := p.block(end)
	p.loops = loops
	return body
}
