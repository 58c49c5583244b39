package jinja

import (
	"strings"
	"unicode"
)

type test func(r *run, v any, a arguments) bool

var tests map[string]test

func testNamed(name string) (test, bool) {
	t, ok := tests[name]
	return t, ok
}

// kindTest is a test of a value alone.
func kindTest(is func(any) bool) test {
	return func(_ *run, v any, a arguments) bool {
		a.none()
		return is(v)
	}
}

// typeTest is whether a value is of a type.
func typeTest[T any]() test {
	return kindTest(func(v any) bool { _, ok := v.(T); return ok })
}

// comparing is a test that compares with its argument.
func comparing(op string) test {
	return func(r *run, v any, a arguments) bool { return r.compare(op, v, *a.take(1, "other")[0]) }
}

func init() {
	tests = map[string]test{
		"boolean":   typeTest[bool](),
		"callable":  typeTest[*function](),
		"defined":   kindTest(func(v any) bool { _, missing := v.(undefined); return !missing }),
		"undefined": typeTest[undefined](),
		"none":      kindTest(func(v any) bool { return v == nil }),
		"true":      kindTest(func(v any) bool { return v == true }),
		"false":     kindTest(func(v any) bool { return v == false }),
		"string":    typeTest[string](),
		"integer":   typeTest[int](),
		"float":     typeTest[float64](),
		"mapping":   typeTest[*dict](),
		"number":    kindTest(func(v any) bool { _, _, _, ok := number(v); return ok }),
		"sequence":  kindTest(isIterable),
		"iterable":  kindTest(isIterable),
		"sameas": func(_ *run, v any, a arguments) bool {
			other := *a.take(1, "other")[0]
			_, missing := v.(undefined)
			return !missing && v == other
		},
		"divisibleby": func(_ *run, v any, a arguments) bool { return remainder(v, or(a.take(1, "num")[0], 0)) == 0 },
		"even":        func(_ *run, v any, a arguments) bool { a.none(); return remainder(v, 2) == 0 },
		"odd":         func(_ *run, v any, a arguments) bool { a.none(); return remainder(v, 2) != 0 },
		"lower":       caseTest(unicode.IsUpper, unicode.IsLower),
		"upper":       caseTest(unicode.IsLower, unicode.IsUpper),
		"in":          comparing("in"),
		"filter":      func(_ *run, v any, a arguments) bool { a.none(); s, _ := v.(string); _, ok := filters[s]; return ok },
		"test":        func(_ *run, v any, a arguments) bool { a.none(); s, _ := v.(string); _, ok := tests[s]; return ok },
	}
	for op, names := range map[string][]string{
		"==": {"eq", "equalto"}, "!=": {"ne"}, "<": {"lt", "lessthan"}, "<=": {"le"}, ">": {"gt", "greaterthan"}, ">=": {"ge"},
	} {
		for _, name := range append(names, op) {
			tests[name] = comparing(op)
		}
	}
}

func isIterable(v any) bool {
	switch v.(type) {
	case string, *list, *dict, undefined:
		return true
	}
	return false
}

func remainder(v any, by int) int {
	i, ok := v.(int)
	if !ok {
		fail("%s is not an integer", typeName(v))
	}
	return integers("%", i, by).(int)
}

// caseTest is whether a text has letters, and none of the wrong case.
func caseTest(wrong, right func(rune) bool) test {
	return func(r *run, v any, a arguments) bool {
		a.none()
		s := r.text(v)
		r.read(s)
		return isCase(s, wrong, right)
	}
}

func isCase(s string, wrong, right func(rune) bool) bool {
	return strings.IndexFunc(s, wrong) < 0 && strings.IndexFunc(s, right) >= 0
}
