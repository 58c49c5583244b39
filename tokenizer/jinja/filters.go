package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type filter func(r *run, v any, a arguments) any

var filters map[string]filter

// filterNamed is the filter of a name. (A filter that applies filters would else be part of what makes it.)
func filterNamed(name string) (filter, bool) {
	f, ok := filters[name]
	return f, ok
}

func init() {
	filters = map[string]filter{
		"abs":        func(r *run, v any, a arguments) any { a.none(); return absolute(r, v) },
		"attr":       func(r *run, v any, a arguments) any { return attributeFilter(r, v, a) },
		"capitalize": textFilter(capitalize),
		"count":      func(r *run, v any, a arguments) any { a.none(); return r.length(v) },
		"d":          orDefault,
		"default":    orDefault,
		"dictsort":   dictSort,
		"e":          escapeHTML,
		"escape":     escapeHTML,
		"first":      func(r *run, v any, a arguments) any { a.none(); return end(r, v, 0) },
		"float":      toFloat,
		"format":     func(r *run, v any, a arguments) any { return formatFilter(r, v, a) },
		"indent":     indent,
		"int":        toInt,
		"items":      func(r *run, v any, a arguments) any { a.none(); return entriesOf(r, v) },
		"join":       join,
		"last":       func(r *run, v any, a arguments) any { a.none(); return end(r, v, -1) },
		"length":     func(r *run, v any, a arguments) any { a.none(); return r.length(v) },
		"list":       func(r *run, v any, a arguments) any { a.none(); return copied(r, r.items(v)) },
		"lower":      textFilter(strings.ToLower),
		"map":        mapped,
		"max":        func(r *run, v any, a arguments) any { return extreme(r, v, a, 1) },
		"min":        func(r *run, v any, a arguments) any { return extreme(r, v, a, -1) },
		"reject":     func(r *run, v any, a arguments) any { return selected(r, v, a, false, false) },
		"rejectattr": func(r *run, v any, a arguments) any { return selected(r, v, a, true, false) },
		"replace":    func(r *run, v any, a arguments) any { return replace(r, r.text(v), a) },
		"reverse":    reverse,
		"round":      round,
		"safe":       func(r *run, v any, a arguments) any { a.none(); return r.text(v) },
		"select":     func(r *run, v any, a arguments) any { return selected(r, v, a, false, true) },
		"selectattr": func(r *run, v any, a arguments) any { return selected(r, v, a, true, true) },
		"sort":       sorted,
		"string":     func(r *run, v any, a arguments) any { a.none(); return r.text(v) },
		"sum":        sum,
		"title":      textFilter(titleWords),
		"tojson":     toJSON,
		"trim":       func(r *run, v any, a arguments) any { return strip(r, r.text(v), a, true, true) },
		"unique":     unique,
		"upper":      textFilter(strings.ToUpper),
		"wordcount": func(r *run, v any, a arguments) any {
			a.none()
			return len(r.strings(strings.FieldsSeq(r.text(v))).items)
		},
	}
}

// textFilter is a filter of a text that makes one of about its length.
func textFilter(f func(string) string) filter {
	return func(r *run, v any, a arguments) any {
		a.none()
		s := r.text(v)
		r.spend(len(s))
		return r.made(f(s))
	}
}

func copied(r *run, items []any) *list {
	return r.list(len(items), func(i int) any { return items[i] })
}

func absolute(r *run, v any) any {
	_, f, whole, ok := number(v)
	switch {
	case !ok:
		fail("%s has no absolute value", typeName(v))
	case f < 0:
		return r.arithmetic("*", -1, v)
	case whole:
		return r.arithmetic("+", 0, v)
	}
	return f
}

func attributeFilter(r *run, v any, a arguments) any {
	name := or(a.take(1, "name")[0], "")
	if value, ok := r.attribute(v, name); ok {
		return value
	}
	return undefined{name}
}

// orDefault stands in for what is undefined, and, if its second argument is true, for what counts as false.
func orDefault(_ *run, v any, a arguments) any {
	args := a.take(0, "default_value", "boolean")
	_, missing := v.(undefined)
	if missing || args[1] != nil && truth(*args[1]) && !truth(v) {
		if args[0] == nil {
			return ""
		}
		return *args[0]
	}
	return v
}

func entriesOf(r *run, v any) *list {
	switch v := v.(type) {
	case undefined:
		return &list{}
	case *dict:
		return r.list(len(v.entries), func(i int) any {
			r.spend(2 * itemCost)
			return &list{[]any{v.entries[i].key, v.entries[i].value}, true}
		})
	}
	fail("items: %s is not a mapping", typeName(v))
	return nil
}

func dictSort(r *run, v any, a arguments) any {
	args := a.take(0, "case_sensitive", "by", "reverse")
	folded := args[0] == nil || !truth(*args[0])
	by := map[string]int{"key": 0, "value": 1}
	column, ok := by[or(args[1], "key")]
	if !ok {
		fail("dictsort: by is neither key nor value")
	}
	l := entriesOf(r, v)
	r.sort(l.items, func(item any) any { return item.(*list).items[column] }, folded, args[2] != nil && truth(*args[2]))
	return l
}

// sort sorts items by what of gives of them.
func (r *run) sort(items []any, of func(any) any, folded, backwards bool) {
	key := func(item any) any {
		v := of(item)
		if s, ok := v.(string); ok && folded {
			return r.made(strings.ToLower(s))
		}
		return v
	}
	slices.SortStableFunc(items, func(a, b any) int {
		if backwards {
			a, b = b, a
		}
		return r.order(key(a), key(b))
	})
}

func sorted(r *run, v any, a arguments) any {
	args := a.take(0, "reverse", "case_sensitive", "attribute")
	l := copied(r, r.items(v))
	r.sort(l.items, attributeOf(r, args[2], nil), args[1] == nil || !truth(*args[1]), args[0] != nil && truth(*args[0]))
	return l
}

// attributeOf picks what the attribute argument of a filter names: "a.0.b", or a number.
// otherwise, unless it is nil, stands for what is undefined.
func attributeOf(r *run, argument, otherwise *any) func(any) any {
	if argument == nil || *argument == nil {
		return func(v any) any { return v }
	}
	var path []any
	switch of := (*argument).(type) {
	case int:
		path = []any{of}
	case string:
		r.spendTimes(strings.Count(of, ".")+1, itemCost)
		for part := range strings.SplitSeq(of, ".") {
			if i, err := strconv.Atoi(part); err == nil {
				path = append(path, i)
			} else {
				path = append(path, part)
			}
		}
	default:
		fail("%s does not name an attribute", typeName(of))
	}
	return func(v any) any {
		for _, key := range path {
			r.spend(stepCost)
			item, ok := r.item(v, key)
			if name, isName := key.(string); !ok && isName {
				item, ok = r.attribute(v, name)
			}
			if v = item; !ok {
				v = undefined{"an attribute"}
				if otherwise != nil {
					v = *otherwise
				}
			}
		}
		return v
	}
}

var htmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;")

func escapeHTML(r *run, v any, a arguments) any {
	a.none()
	s := r.text(v)
	r.spendTimes(len(s), len("&amp;"))
	return htmlEscapes.Replace(s)
}

// end is the first (0) or last (-1) item of v.
func end(r *run, v any, i int) any {
	if d, ok := v.(*dict); ok {
		v = &list{items: r.keys(d)}
	}
	if _, ok := v.(undefined); ok {
		return v
	}
	if r.length(v) == 0 {
		return undefined{"an item of what is empty"}
	}
	item, _ := r.item(v, i)
	return item
}

// maxNumber is the longest text that is read as a number.
const maxNumber = 400

// digits is v without the white space around it, if it is a text that may be a number.
func digits(r *run, v any) (string, bool) {
	s, ok := v.(string)
	if !ok || len(s) > maxNumber {
		return "", false
	}
	r.spend(len(s))
	return strings.TrimSpace(s), true
}

func toFloat(r *run, v any, a arguments) any {
	args := a.take(0, "default")
	if _, f, _, ok := number(v); ok {
		return f
	}
	if s, ok := digits(r, v); ok {
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return f
		}
	}
	if args[0] != nil {
		return *args[0]
	}
	return 0.0
}

func toInt(r *run, v any, a arguments) any {
	args := a.take(0, "default", "base")
	i, f, whole, ok := number(v)
	base := or(args[1], 10)
	if s, isText := digits(r, v); isText {
		if base != 0 && (base < 2 || base > 36) {
			fail("int: base %d is not from 2 to 36", base)
		}
		if n, err := strconv.ParseInt(s, base, 64); err == nil {
			i, whole, ok = int(n), true, true
		} else if n, err := strconv.ParseFloat(s, 64); err == nil {
			f, ok = n, true
		}
	}
	switch {
	case ok && whole:
		return i
	case ok && math.Abs(f) < 1<<63:
		return int(f)
	case args[0] != nil:
		return *args[0]
	}
	return 0
}

// indent puts spaces, or a text, before every line but the first, and those that are empty.
func indent(r *run, v any, a arguments) any {
	args := a.take(0, "width", "first", "blank")
	var margin string
	isText := false
	if args[0] != nil {
		margin, isText = (*args[0]).(string)
	}
	if !isText {
		width := max(or(args[0], 4), 0)
		r.spend(width)
		margin = strings.Repeat(" ", width)
	}
	first, blank := args[1] != nil && truth(*args[1]), args[2] != nil && truth(*args[2])
	var b strings.Builder
	i := 0
	for line := range strings.SplitSeq(r.text(v), "\n") {
		if i > 0 {
			r.put(&b, "\n")
		}
		if (i > 0 || first) && (line != "" || blank || i == 0) {
			r.put(&b, margin)
		}
		r.put(&b, line)
		i++
	}
	return b.String()
}

func join(r *run, v any, a arguments) any {
	args := a.take(0, "d", "attribute")
	separator := ""
	if args[0] != nil {
		separator = r.text(*args[0])
	}
	of := attributeOf(r, args[1], nil)
	var b strings.Builder
	for i, item := range r.items(v) {
		if i > 0 {
			r.put(&b, separator)
		}
		r.print(&b, of(item), false)
	}
	return b.String()
}

// mapped is map: an attribute of each item, or what a filter makes of it.
func mapped(r *run, v any, a arguments) any {
	items := r.items(v)
	if len(a.list) == 0 {
		args := a.take(1, "attribute", "default")
		of := attributeOf(r, args[0], args[1])
		return r.list(len(items), func(i int) any { return of(items[i]) })
	}
	f, ok := filterNamed(or(&a.list[0], ""))
	if !ok {
		fail("map: there is no filter %.40s", a.list[0])
	}
	rest := arguments{a.list[1:], a.named}
	return r.list(len(items), func(i int) any {
		r.enter()
		defer r.leave()
		return f(r, items[i], rest)
	})
}

// selected are the items of v, or those with an attribute, of which a test, or else their truth, is want.
func selected(r *run, v any, a arguments, byAttribute, want bool) any {
	of := func(v any) any { return v }
	rest := a
	if byAttribute {
		if len(rest.list) == 0 {
			fail("the attribute is missing")
		}
		of = attributeOf(r, &rest.list[0], nil)
		rest.list = rest.list[1:]
	}
	is := test(func(_ *run, v any, _ arguments) bool { return truth(v) })
	if len(rest.list) > 0 {
		var ok bool
		if is, ok = testNamed(or(&rest.list[0], "")); !ok {
			fail("there is no test %.40s", rest.list[0])
		}
		rest.list = rest.list[1:]
	}
	l := &list{}
	for _, item := range r.items(v) {
		r.spend(stepCost)
		if is(r, of(item), rest) == want {
			r.spend(itemCost)
			l.items = append(l.items, item)
		}
	}
	return l
}

func extreme(r *run, v any, a arguments, sign int) any {
	args := a.take(0, "case_sensitive", "attribute")
	of := attributeOf(r, args[1], nil)
	items := r.items(v)
	if len(items) == 0 {
		return undefined{"an item of what is empty"}
	}
	key := func(item any) any {
		item = of(item)
		if s, ok := item.(string); ok && (args[0] == nil || !truth(*args[0])) {
			return r.made(strings.ToLower(s))
		}
		return item
	}
	best := items[0]
	for _, item := range items[1:] {
		if r.order(key(item), key(best))*sign > 0 {
			best = item
		}
	}
	return best
}

func reverse(r *run, v any, a arguments) any {
	a.none()
	if s, ok := v.(string); ok {
		var b strings.Builder
		r.spend(2 * len(s))
		for s != "" {
			_, n := utf8.DecodeLastRuneInString(s)
			b.WriteString(s[len(s)-n:])
			s = s[:len(s)-n]
		}
		return b.String()
	}
	l := copied(r, r.items(v))
	slices.Reverse(l.items)
	return l
}

func round(_ *run, v any, a arguments) any {
	args := a.take(0, "precision", "method")
	i, f, whole, ok := number(v)
	if !ok {
		fail("round: %s is not a number", typeName(v))
	}
	precision := or(args[0], 0)
	if precision < -300 || precision > 300 {
		fail("round: precision %d is not from -300 to 300", precision)
	}
	scale := math.Pow(10, float64(precision))
	switch method := or(args[1], "common"); method {
	case "common":
		if whole && precision >= 0 {
			return i
		}
		if precision >= 0 {
			f, _ = strconv.ParseFloat(strconv.FormatFloat(f, 'f', precision, 64), 64)
			return f
		}
		return math.RoundToEven(f*scale) / scale
	case "ceil":
		return math.Ceil(f*scale) / scale
	case "floor":
		return math.Floor(f*scale) / scale
	default:
		fail("round: unknown method %.40s", method)
	}
	return nil
}

func sum(r *run, v any, a arguments) any {
	args := a.take(0, "attribute", "start")
	of := attributeOf(r, args[0], nil)
	total := any(0)
	if args[1] != nil {
		total = *args[1]
	}
	for _, item := range r.items(v) {
		r.spend(stepCost)
		total = r.arithmetic("+", total, of(item))
	}
	return total
}

// unique are the items of v of which no equal came before. Texts are equal whatever their case, as Jinja has it.
func unique(r *run, v any, a arguments) any {
	args := a.take(0, "case_sensitive", "attribute")
	of := attributeOf(r, args[1], nil)
	seen := map[any]bool{}
	l := &list{}
	for _, item := range r.items(v) {
		key := of(item)
		if s, ok := key.(string); ok && (args[0] == nil || !truth(*args[0])) {
			key = r.made(strings.ToLower(s))
		}
		if !hashable(key) {
			fail("unique: %s cannot be told from others", typeName(key))
		}
		r.hash(key)
		if r.spend(stepCost); seen[hashed(key)] {
			continue
		}
		r.spend(itemCost + entryCost)
		seen[hashed(key)] = true
		l.items = append(l.items, item)
	}
	return l
}

func capitalize(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return strings.ToUpper(s[:n]) + strings.ToLower(s[n:])
}

// titleWords is the filter title: words begin behind white space, hyphens and opening brackets.
func titleWords(s string) string {
	begin := true
	return strings.Map(func(c rune) rune {
		was := begin
		begin = unicode.IsSpace(c) || strings.ContainsRune("-({[<", c)
		if was {
			return unicode.ToTitle(c)
		}
		return unicode.ToLower(c)
	}, s)
}
