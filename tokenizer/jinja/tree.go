package jinja

// at is the line where something is.
type at int

// node is a statement, or text between statements.
type node interface {
	run(r *run, s *scope) jump
	line() int
}

// jump is where a statement leads: "" to the next, or "break" or "continue".
type jump string

// expr is an expression.
type expr interface {
	eval(r *run, s *scope) any
	line() int
}

func (a at) line() int { return int(a) }

type (
	literal struct {
		at
		value any
	}
	variable struct {
		at
		name string
	}
	listOf struct {
		at
		items []expr
		tuple bool
	}
	dictOf struct {
		at
		keys, values []expr
	}
	condition struct { // then if test else otherwise, which may be nil
		at
		then, test, otherwise expr
	}
	either struct { // left, or right if left's truth is when
		at
		left, right expr
		when        bool
	}
	negation struct {
		at
		value expr
	}
	compared struct { // first < second < …
		at
		first expr
		rest  []comparison
	}
	comparison struct {
		op   string
		with expr
	}
	arithmetic struct {
		at
		op          string
		left, right expr
	}
	signed struct {
		at
		value    expr
		negative bool
	}
	attribute struct {
		at
		of   expr
		name string
	}
	subscript struct {
		at
		of, key expr
	}
	slice struct {
		at
		of     expr
		bounds [3]expr // start, stop, step; each may be nil
	}
	call struct {
		at
		function expr
		args     []expr
		named    []namedExpr
	}
	filtered struct {
		at
		value    expr
		name     string
		function filter
		args     []expr
		named    []namedExpr
	}
	tested struct {
		at
		value    expr
		name     string
		function test
		args     []expr
		named    []namedExpr
		not      bool
	}
	namedExpr struct {
		name  string
		value expr
	}
	captured struct{ at } // what the body of a statement wrote
)

type (
	data struct {
		at
		text string
	}
	written struct {
		at
		value expr
	}
	leap struct {
		at
		to jump
	}
	ifElse struct {
		at
		tests     []expr
		bodies    [][]node
		otherwise []node
	}
	loopOver struct {
		at
		targets         []string
		over, test      expr // test may be nil
		body, otherwise []node
	}
	set struct { // one name, several, or an attribute of one
		at
		names   []string
		of      string
		value   expr
		capture bool // value is of what body writes
		body    []node
	}
	macro struct {
		at
		name       string
		parameters []parameter
		body       []node
	}
	parameter struct {
		name      string
		otherwise expr // may be nil
	}
	callBlock struct {
		at
		caller macro
		call   *call
	}
	filterBlock struct {
		at
		filter expr
		body   []node
	}
	with struct {
		at
		names  []string
		values []expr
		body   []node
	}
	do struct {
		at
		value expr
	}
)
