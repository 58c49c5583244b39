package jinja

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A value is nil (none), bool, int, float64, string, *list, *dict, undefined, *namespace, *function or *loop.

// undefined is what a name, attribute or item is that does not exist: it can be tested and written, and nothing else.
type undefined struct{ what string }

// list is a list or a tuple. Lists made from parts of others share their items, which are never changed.
type list struct {
	items []any
	tuple bool
}

// dict is a mapping that keeps the order of its keys and does not change.
type dict struct {
	entries []entry
	index   map[any]int // of entries, by hashed key
}

type entry struct{ key, value any }

// namespace is a set of variables that inner scopes can set.
type namespace struct{ vars map[string]any }

// function is what a template can call. A macro's is made when it is defined.
type function struct {
	name string
	call func(r *run, a arguments) any
}

// Func is a function that a template is given as a variable.
type Func func(args []any) (any, error)

// newDict makes a mapping that has been paid for, of which the last of equal keys counts.
func newDict(size int) *dict { return &dict{index: make(map[any]int, size)} }

func (d *dict) set(key, value any) {
	if i, ok := d.index[hashed(key)]; ok {
		d.entries[i].value = value
		return
	}
	d.index[hashed(key)] = len(d.entries)
	d.entries = append(d.entries, entry{key, value})
}

// find is what d has under a key.
func (r *run) find(d *dict, key any) (any, bool) {
	if !hashable(key) {
		return nil, false
	}
	r.hash(key)
	i, ok := d.index[hashed(key)]
	if !ok {
		return nil, false
	}
	return d.entries[i].value, true
}

// hash pays for looking for a key.
func (r *run) hash(key any) {
	if s, ok := key.(string); ok {
		r.read(s)
	}
}

// hashable is whether v can be a key.
func hashable(v any) bool {
	switch v.(type) {
	case nil, bool, int, float64, string:
		return true
	}
	return false
}

// hashed is v as a key: numbers that are equal are one key.
func hashed(v any) any {
	switch v := v.(type) {
	case bool:
		if v {
			return 1
		}
		return 0
	case float64:
		if i := int(v); float64(i) == v {
			return i
		}
	}
	return v
}

// typeName is what Python calls the type of v.
func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case bool:
		return "a boolean"
	case int:
		return "an integer"
	case float64:
		return "a number"
	case string:
		return "a string"
	case *list:
		if v.tuple {
			return "a tuple"
		}
		return "a list"
	case *dict:
		return "a mapping"
	case undefined:
		return v.what + ", which is undefined"
	case *namespace:
		return "a namespace"
	case *loop:
		return "a loop"
	}
	return "a function"
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case *list:
		return len(v.items) > 0
	case *dict:
		return len(v.entries) > 0
	}
	return true
}

// number is v as a number: an integer, if whole, or a float64.
func number(v any) (i int, f float64, whole, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, 1, true, true
		}
		return 0, 0, true, true
	case int:
		return v, float64(v), true, true
	case float64:
		return 0, v, false, true
	}
	return 0, 0, false, false
}

// text is v as it is written.
func (r *run) text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var b strings.Builder
	r.print(&b, v, false)
	return b.String()
}

// put pays for s and writes it.
func (r *run) put(b *strings.Builder, s string) {
	r.spend(len(s) + 1)
	b.WriteString(s)
}

// print writes v; quoted is how strings are written within lists.
func (r *run) print(b *strings.Builder, v any, quoted bool) {
	r.enter()
	defer r.leave()
	switch v := v.(type) {
	case nil:
		r.put(b, "None")
	case bool:
		r.put(b, map[bool]string{true: "True", false: "False"}[v])
	case int:
		r.put(b, strconv.Itoa(v))
	case float64:
		r.put(b, formatFloat(v))
	case string:
		if quoted {
			r.quote(b, v)
		} else {
			r.put(b, v)
		}
	case *list:
		brackets := "[]"
		if v.tuple {
			brackets = "()"
		}
		r.put(b, brackets[:1])
		for i, item := range v.items {
			if i > 0 {
				r.put(b, ", ")
			}
			r.print(b, item, true)
		}
		if v.tuple && len(v.items) == 1 {
			r.put(b, ",")
		}
		r.put(b, brackets[1:])
	case *dict:
		r.put(b, "{")
		for i, e := range v.entries {
			if i > 0 {
				r.put(b, ", ")
			}
			r.print(b, e.key, true)
			r.put(b, ": ")
			r.print(b, e.value, true)
		}
		r.put(b, "}")
	case undefined:
		if quoted {
			r.put(b, "Undefined")
		}
	case *namespace:
		r.put(b, "<namespace>") // which might hold itself
	case *function:
		r.put(b, "<function "+v.name+">")
	case *loop:
		r.put(b, fmt.Sprintf("<loop %d/%d>", v.at+1, len(v.items)))
	}
}

// quote writes s as Python's repr does.
func (r *run) quote(b *strings.Builder, s string) {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	r.spend(len(s) + 2)
	b.WriteRune(quote)
	for _, c := range s {
		switch {
		case c == quote || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c >= 0x7f && c <= 0xff && !unicode.IsPrint(c):
			r.put(b, fmt.Sprintf(`\x%02x`, c))
		case unicode.IsPrint(c):
			b.WriteRune(c)
		case c <= 0xffff:
			r.put(b, fmt.Sprintf(`\u%04x`, c))
		default:
			r.put(b, fmt.Sprintf(`\U%08x`, c))
		}
	}
	b.WriteRune(quote)
}

// formatFloat is f as Python writes it: the shortest digits that give it back.
func formatFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// equal is whether two values are.
func (r *run) equal(a, b any) bool {
	r.enter()
	defer r.leave()
	if i, f, whole, ok := number(a); ok {
		j, g, both, ok := number(b)
		if whole && both {
			return ok && i == j
		}
		return ok && f == g
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case string:
		s, ok := b.(string)
		if ok && len(a) == len(s) {
			r.read(a)
			return a == s
		}
		return false
	case undefined:
		_, ok := b.(undefined)
		return ok
	case *list:
		l, ok := b.(*list)
		if !ok || l.tuple != a.tuple || len(l.items) != len(a.items) {
			return false
		}
		for i := range a.items {
			if !r.equal(a.items[i], l.items[i]) {
				return false
			}
		}
		return true
	case *dict:
		d, ok := b.(*dict)
		if !ok || len(d.entries) != len(a.entries) {
			return false
		}
		for _, e := range a.entries {
			v, ok := r.find(d, e.key)
			if !ok || !r.equal(e.value, v) {
				return false
			}
		}
		return true
	}
	return a == b
}

// order is how a and b compare: negative if a is less.
func (r *run) order(a, b any) int {
	r.enter()
	defer r.leave()
	if _, f, _, ok := number(a); ok {
		if _, g, _, ok := number(b); ok {
			switch {
			case f < g:
				return -1
			case f > g:
				return 1
			}
			return 0
		}
	}
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			r.spend(min(len(x), len(y)) / readBytes)
			return strings.Compare(x, y)
		}
	case *list:
		if y, ok := b.(*list); ok {
			return slices.CompareFunc(x.items, y.items, r.order)
		}
	}
	fail("%s and %s cannot be ordered", typeName(a), typeName(b))
	return 0
}

// contains is whether item is in v.
func (r *run) contains(v, item any) bool {
	switch v := v.(type) {
	case string:
		s, ok := item.(string)
		if !ok {
			fail("%s cannot be in a string", typeName(item))
		}
		r.read(v)
		return strings.Contains(v, s)
	case *list:
		return slices.ContainsFunc(v.items, func(x any) bool { return r.equal(x, item) })
	case *dict:
		_, ok := r.find(v, item)
		return ok
	case undefined:
		return false
	}
	fail("nothing can be in %s", typeName(v))
	return false
}

// items are what a loop goes over.
func (r *run) items(v any) []any {
	switch v := v.(type) {
	case *list:
		return v.items
	case *dict:
		return r.keys(v)
	case string:
		return r.characters(v)
	case undefined:
		return nil
	}
	fail("%s has no items", typeName(v))
	return nil
}

func (r *run) keys(d *dict) []any {
	r.spendTimes(len(d.entries), itemCost)
	keys := make([]any, len(d.entries))
	for i, e := range d.entries {
		keys[i] = e.key
	}
	return keys
}

func (r *run) characters(s string) []any {
	n := utf8.RuneCountInString(s)
	r.spendTimes(n, itemCost)
	items := make([]any, 0, n)
	for i := range s {
		_, size := utf8.DecodeRuneInString(s[i:])
		items = append(items, s[i:i+size])
	}
	return items
}

// length is how many items v has.
func (r *run) length(v any) int {
	switch v := v.(type) {
	case string:
		r.read(v)
		return utf8.RuneCountInString(v)
	case *list:
		return len(v.items)
	case *dict:
		return len(v.entries)
	case undefined:
		return 0
	}
	fail("%s has no length", typeName(v))
	return 0
}

// list makes a list of n items that make pays for itself.
func (r *run) list(n int, item func(i int) any) *list {
	r.spendTimes(n, itemCost)
	l := &list{items: make([]any, n)}
	for i := range l.items {
		l.items[i] = item(i)
	}
	return l
}

// strings makes a list of what a sequence of parts of a string gives.
func (r *run) strings(parts func(func(string) bool)) *list {
	l := &list{}
	for s := range parts {
		r.spend(itemCost)
		l.items = append(l.items, s)
	}
	return l
}
