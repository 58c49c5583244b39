package jinja

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"
)

// eval is the value of e.
func (r *run) eval(e expr, s *scope) any {
	r.enter()
	defer r.leave()
	return e.eval(r, s)
}

// evalAll are the values of several expressions.
func (r *run) evalAll(es []expr, s *scope) []any {
	r.spendTimes(len(es), itemCost)
	values := make([]any, len(es))
	for i, e := range es {
		values[i] = r.eval(e, s)
	}
	return values
}

func (e *literal) eval(*run, *scope) any { return e.value }

func (e *variable) eval(r *run, s *scope) any {
	if v, ok := r.get(s, e.name); ok {
		return v
	}
	return undefined{e.name}
}

func (e captured) eval(r *run, s *scope) any {
	v, _ := r.get(s, capturedName)
	return v
}

func (e *listOf) eval(r *run, s *scope) any {
	return &list{r.evalAll(e.items, s), e.tuple}
}

func (e *dictOf) eval(r *run, s *scope) any {
	r.spendTimes(len(e.keys), entryCost)
	d := newDict(len(e.keys))
	for i := range e.keys {
		key := r.eval(e.keys[i], s)
		if !hashable(key) {
			fail("%s cannot be a key", typeName(key))
		}
		r.hash(key)
		d.set(key, r.eval(e.values[i], s))
	}
	return d
}

func (e *condition) eval(r *run, s *scope) any {
	switch {
	case truth(r.eval(e.test, s)):
		return r.eval(e.then, s)
	case e.otherwise != nil:
		return r.eval(e.otherwise, s)
	}
	return undefined{"an expression without else"}
}

func (e *either) eval(r *run, s *scope) any {
	left := r.eval(e.left, s)
	if truth(left) == e.when {
		return r.eval(e.right, s)
	}
	return left
}

func (e *negation) eval(r *run, s *scope) any { return !truth(r.eval(e.value, s)) }

func (e *compared) eval(r *run, s *scope) any {
	left := r.eval(e.first, s)
	for _, c := range e.rest {
		right := r.eval(c.with, s)
		if !r.compare(c.op, left, right) {
			return false
		}
		left = right
	}
	return true
}

func (r *run) compare(op string, a, b any) bool {
	switch op {
	case "==":
		return r.equal(a, b)
	case "!=":
		return !r.equal(a, b)
	case "in":
		return r.contains(b, a)
	case "not in":
		return !r.contains(b, a)
	case "<":
		return r.order(a, b) < 0
	case "<=":
		return r.order(a, b) <= 0
	case ">":
		return r.order(a, b) > 0
	}
	return r.order(a, b) >= 0
}

func (e *arithmetic) eval(r *run, s *scope) any {
	left, right := r.eval(e.left, s), r.eval(e.right, s)
	if e.op == "~" {
		return r.concat(r.text(left), r.text(right))
	}
	return r.arithmetic(e.op, left, right)
}

func (r *run) concat(a, b string) string {
	r.spend(len(a) + len(b))
	return a + b
}

func (r *run) arithmetic(op string, left, right any) any {
	switch a := left.(type) {
	case string:
		switch b, ok := right.(string); {
		case op == "+" && ok:
			return r.concat(a, b)
		case op == "%":
			return r.printf(a, right)
		}
	case *list:
		if b, ok := right.(*list); ok && op == "+" && a.tuple == b.tuple {
			r.spendTimes(len(a.items)+len(b.items), itemCost)
			return &list{slices.Concat(a.items, b.items), a.tuple}
		}
	}
	if op == "*" {
		if n, ok := right.(int); ok {
			left, right = n, left
		}
		if n, ok := left.(int); ok {
			switch b := right.(type) {
			case string:
				r.spendTimes(len(b), max(n, 0))
				return strings.Repeat(b, max(n, 0))
			case *list:
				r.spendTimes(len(b.items)*itemCost, max(n, 0))
				return &list{slices.Repeat(b.items, max(n, 0)), b.tuple}
			}
		}
	}
	i, f, whole, ok := number(left)
	j, g, both, ok2 := number(right)
	if !ok || !ok2 {
		fail("%s %s %s is not defined", typeName(left), op, typeName(right))
	}
	if whole && both && op != "/" {
		return integers(op, i, j)
	}
	return floats(op, f, g)
}

var errOverflow = errors.New("a number does not fit 64 bits")

// integers is i op j.
func integers(op string, i, j int) any {
	result, ok := 0, true
	switch op {
	case "+":
		result = i + j
		ok = (result > i) == (j > 0)
	case "-":
		result = i - j
		ok = (result < i) == (j > 0)
	case "*":
		result, ok = multiply(i, j)
	case "//", "%":
		if j == 0 {
			fail("a division by zero")
		}
		if ok = i != math.MinInt || j != -1; !ok {
			break
		}
		quotient, rest := i/j, i%j
		if rest != 0 && (rest < 0) != (j < 0) { // as Python rounds: down
			quotient, rest = quotient-1, rest+j
		}
		if result = quotient; op == "%" {
			result = rest
		}
	case "**":
		if j < 0 {
			return floats(op, float64(i), float64(j))
		}
		if result = 1; i == 0 || i == 1 || i == -1 {
			j = min(j, 2-j%2) // the rest changes nothing
		}
		for ; j > 0 && ok; j-- {
			result, ok = multiply(result, i)
		}
	}
	if !ok {
		panic(failure{errOverflow})
	}
	return result
}

// multiply is the product, and whether it fits.
func multiply(i, j int) (int, bool) {
	high, low := bits.Mul64(magnitude(i), magnitude(j))
	negative := (i < 0) != (j < 0)
	if high != 0 || low > math.MaxInt64 && !(negative && low == 1<<63) {
		return 0, false
	}
	return i * j, true
}

func magnitude(i int) uint64 {
	if i < 0 {
		return -uint64(i)
	}
	return uint64(i)
}

func floats(op string, f, g float64) any {
	switch op {
	case "+":
		return f + g
	case "-":
		return f - g
	case "*":
		return f * g
	case "**":
		return math.Pow(f, g)
	}
	if g == 0 {
		fail("a division by zero")
	}
	switch op {
	case "/":
		return f / g
	case "//":
		return math.Floor(f / g)
	}
	rest := math.Mod(f, g)
	if rest != 0 && (rest < 0) != (g < 0) {
		rest += g
	}
	return rest
}

func (e *signed) eval(r *run, s *scope) any {
	v := r.eval(e.value, s)
	if _, _, _, ok := number(v); !ok {
		fail("%s has no sign", typeName(v))
	}
	if e.negative {
		return r.arithmetic("*", -1, v)
	}
	return v
}

func (e *attribute) eval(r *run, s *scope) any {
	v := r.eval(e.of, s)
	if a, ok := r.attribute(v, e.name); ok {
		return a
	}
	if item, ok := r.item(v, e.name); ok {
		return item
	}
	return undefined{e.name}
}

func (e *subscript) eval(r *run, s *scope) any {
	v, key := r.eval(e.of, s), r.eval(e.key, s)
	if item, ok := r.item(v, key); ok {
		return item
	}
	if name, ok := key.(string); ok {
		if a, ok := r.attribute(v, name); ok {
			return a
		}
		return undefined{name}
	}
	return undefined{"an item"}
}

// attribute is a method or a property of v.
func (r *run) attribute(v any, name string) (any, bool) {
	switch v := v.(type) {
	case undefined:
		fail("%s is undefined", v.what)
	case *namespace:
		value, ok := v.vars[name]
		return value, ok
	case *loop:
		return v.attribute(r, name)
	}
	if m := methodOf(v, name); m != nil {
		return &function{name, func(r *run, a arguments) any { return m(r, v, a) }}, true
	}
	return nil, false
}

// item is what v has under a key or at a position.
func (r *run) item(v, key any) (any, bool) {
	switch v := v.(type) {
	case undefined:
		fail("%s is undefined", v.what)
	case *dict:
		return r.find(v, key)
	case *list:
		i, ok := key.(int)
		if i < 0 {
			i += len(v.items)
		}
		if !ok || i < 0 || i >= len(v.items) {
			return nil, false
		}
		return v.items[i], true
	case string:
		i, ok := key.(int)
		if !ok {
			return nil, false
		}
		r.read(v)
		n := utf8.RuneCountInString(v)
		if i < 0 {
			i += n
		}
		if i < 0 || i >= n {
			return nil, false
		}
		return cut(v, i, i+1), true
	}
	return nil, false
}

// cut is the characters of s from start to stop, which are in it.
func cut(s string, start, stop int) string {
	if utf8.RuneCountInString(s) == len(s) {
		return s[start:stop]
	}
	from, to, i := len(s), len(s), 0
	for at := range s {
		if i == start {
			from = at
		}
		if i == stop {
			to = at
			break
		}
		i++
	}
	return s[from:max(from, to)]
}

func (e *slice) eval(r *run, s *scope) any {
	v := r.eval(e.of, s)
	var bounds [3]*int
	for i, b := range e.bounds {
		if b == nil {
			continue
		}
		switch x := r.eval(b, s).(type) {
		case int:
			bounds[i] = &x
		case nil:
		default:
			fail("%s cannot be the bound of a slice", typeName(x))
		}
	}
	switch v := v.(type) {
	case string:
		start, stop, step := sliceBounds(bounds, r.length(v))
		if step == 1 {
			return cut(v, start, max(start, stop))
		}
		var b strings.Builder
		characters := r.characters(v)
		for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
			r.put(&b, characters[i].(string))
		}
		return b.String()
	case *list:
		start, stop, step := sliceBounds(bounds, len(v.items))
		if step == 1 {
			stop = max(start, stop)
			return &list{v.items[start:stop:stop], v.tuple}
		}
		l := &list{tuple: v.tuple}
		for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
			r.spend(itemCost)
			l.items = append(l.items, v.items[i])
		}
		return l
	case undefined:
		fail("%s is undefined", v.what)
	}
	fail("%s has no slices", typeName(v))
	return nil
}

// sliceBounds are a slice's bounds in a sequence of n items, as Python takes them.
func sliceBounds(bounds [3]*int, n int) (start, stop, step int) {
	step = 1
	if bounds[2] != nil {
		// A step beyond the sequence takes one item, however far it leads.
		if step = min(max(*bounds[2], -n-1), n+1); *bounds[2] == 0 {
			fail("the step of a slice is 0")
		}
	}
	first, last := 0, n
	if step < 0 {
		first, last = -1, n-1
	}
	inside := func(i *int, otherwise int) int {
		switch {
		case i == nil:
			return otherwise
		case *i < 0:
			return max(*i+n, first)
		}
		return min(*i, last)
	}
	if step < 0 {
		return inside(bounds[0], last), inside(bounds[1], first), step
	}
	return inside(bounds[0], first), inside(bounds[1], last), step
}

// arguments are what a function, filter or test is called with.
type arguments struct {
	list  []any
	named []namedValue
}

type namedValue struct {
	name  string
	value any
}

func (r *run) arguments(args []expr, named []namedExpr, s *scope) arguments {
	a := arguments{list: r.evalAll(args, s)}
	r.spendTimes(len(named), itemCost)
	for _, n := range named {
		a.named = append(a.named, namedValue{n.name, r.eval(n.value, s)})
	}
	return a
}

// take puts arguments in the order of names, of which the first want must be there; the others are nil if they are not.
func (a arguments) take(want int, names ...string) []*any {
	if len(a.list) > len(names) {
		fail("%d arguments, the most are %d", len(a.list), len(names))
	}
	taken := make([]*any, len(names))
	for i := range a.list {
		taken[i] = &a.list[i]
	}
	for i, n := range a.named {
		at := slices.Index(names, n.name)
		switch {
		case at < 0:
			fail("unknown argument %.40s", n.name)
		case taken[at] != nil:
			fail("argument %s is given twice", n.name)
		}
		taken[at] = &a.named[i].value
	}
	for i := range want {
		if taken[i] == nil {
			fail("argument %s is missing", names[i])
		}
	}
	return taken
}

// none is that there may be no arguments.
func (a arguments) none() { a.take(0) }

// or is an argument, or what stands for it where it was not given.
func or[T any](v *any, otherwise T) T {
	if v == nil {
		return otherwise
	}
	t, ok := (*v).(T)
	if !ok {
		fail("%s is not what the argument should be", typeName(*v))
	}
	return t
}

func (e *call) eval(r *run, s *scope) any {
	f, ok := r.eval(e.function, s).(*function)
	if !ok {
		fail("line %d: %s is not callable", e.line(), described(e.function))
	}
	a := r.arguments(e.args, e.named, s)
	return f.call(r, a)
}

// described is what e is called in an error.
func described(e expr) string {
	switch e := e.(type) {
	case *variable:
		return e.name
	case *attribute:
		return described(e.of) + "." + e.name
	}
	return fmt.Sprintf("an expression on line %d", e.line())
}

func (e *filtered) eval(r *run, s *scope) any {
	v := r.eval(e.value, s)
	return e.function(r, v, r.arguments(e.args, e.named, s))
}

func (e *tested) eval(r *run, s *scope) any {
	v := r.eval(e.value, s)
	return e.function(r, v, r.arguments(e.args, e.named, s)) != e.not
}
