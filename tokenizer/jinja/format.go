package jinja

import (
	"strconv"
	"strings"
)

// maxWidth bounds the width and the precision that a format asks for.
const maxWidth = 100

// printf is format % values, as Python has it: %s, %r, %d, %i, %x, %X, %f, %e, %g and %%, with flags, width and precision.
func (r *run) printf(format string, values any) string {
	left := []any{values}
	if l, ok := values.(*list); ok && l.tuple {
		left = l.items
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(format, "%")
		r.put(&b, before)
		if !found {
			break
		}
		if after, ok := strings.CutPrefix(rest, "%"); ok {
			r.put(&b, "%")
			format = after
			continue
		}
		s, rest := readSpec(rest)
		if len(left) == 0 {
			fail("a format has more fields than there are values")
		}
		r.field(&b, s, left[0])
		left, format = left[1:], rest
	}
	if _, isMap := values.(*dict); len(left) > 0 && !isMap {
		fail("a format has fewer fields than there are values")
	}
	return b.String()
}

func formatFilter(r *run, v any, a arguments) any {
	if len(a.named) > 0 {
		fail("format: names are not supported")
	}
	return r.printf(r.text(v), &list{a.list, true})
}

// spec is how a value is to be written.
type spec struct {
	left, zero, plus bool
	width, precision int // precision is -1 if none is asked for
	verb             byte
}

// readSpec reads flags, width, precision and verb.
func readSpec(s string) (spec, string) {
	f := spec{precision: -1}
	for s != "" && strings.IndexByte("-0+ #", s[0]) >= 0 {
		switch s[0] {
		case '-':
			f.left = true
		case '0':
			f.zero = true
		case '+':
			f.plus = true
		}
		s = s[1:]
	}
	digits := func() int {
		n := 0
		for s != "" && s[0] >= '0' && s[0] <= '9' && n < maxWidth {
			n = n*10 + int(s[0]-'0')
			s = s[1:]
		}
		if n > maxWidth {
			fail("a format asks for a width or precision of over %d", maxWidth)
		}
		return n
	}
	f.width = digits()
	if strings.HasPrefix(s, ".") {
		s = s[1:]
		f.precision = digits()
	}
	if s == "" {
		fail("a format ends within a field")
	}
	f.verb = s[0]
	return f, s[1:]
}

// field writes v.
func (r *run) field(b *strings.Builder, f spec, v any) {
	r.spend(stepCost + f.width)
	i, x, whole, isNumber := number(v)
	if strings.IndexByte("dixXfFeEgG", f.verb) >= 0 && !isNumber {
		fail("a format asks for a number, not %s", typeName(v))
	}
	var s string
	switch f.verb {
	case 's', 'r':
		var text strings.Builder
		r.print(&text, v, f.verb == 'r')
		if s = text.String(); f.precision >= 0 {
			s = cut(s, 0, min(f.precision, r.length(s)))
		}
	case 'd', 'i':
		if !whole {
			i = toInt(r, x, arguments{}).(int)
		}
		s = strconv.Itoa(i)
	case 'x', 'X':
		if !whole {
			fail("a format asks for an integer, not %s", typeName(v))
		}
		if s = strconv.FormatInt(int64(i), 16); f.verb == 'X' {
			s = strings.ToUpper(s)
		}
	case 'f', 'F', 'e', 'E', 'g', 'G':
		if f.precision < 0 {
			f.precision = 6
		}
		s = strconv.FormatFloat(x, f.verb|0x20, f.precision, 64)
	default:
		fail("a format asks for %%%c, which is not supported", f.verb)
	}
	if f.plus && isNumber && !strings.HasPrefix(s, "-") {
		s = "+" + s
	}
	pad := max(0, f.width-r.length(s))
	switch {
	case f.left:
		s += strings.Repeat(" ", pad)
	case f.zero && isNumber && f.verb != 's' && f.verb != 'r':
		sign := ""
		if s[0] == '-' || s[0] == '+' {
			sign, s = s[:1], s[1:]
		}
		s = sign + strings.Repeat("0", pad) + s
	default:
		s = strings.Repeat(" ", pad) + s
	}
	r.put(b, s)
}

// format is str.format: {}, {0} and {name}, with a width, a precision and a verb behind a colon.
func (r *run) format(s string, a arguments) string {
	var b strings.Builder
	next := 0 // the field of {}
	for {
		at := strings.IndexAny(s, "{}")
		if at < 0 {
			r.put(&b, s)
			return b.String()
		}
		r.put(&b, s[:at])
		rest := s[at+1:]
		if strings.HasPrefix(rest, s[at:at+1]) {
			r.put(&b, s[at:at+1])
			s = rest[1:]
			continue
		}
		field, after, found := strings.Cut(rest, "}")
		if s[at] == '}' || !found {
			fail("format: a bracket stands alone")
		}
		s = after
		key, layout, _ := strings.Cut(field, ":")
		if key == "" {
			key = strconv.Itoa(next)
			next++
		}
		f := spec{precision: -1, verb: 's'}
		if layout != "" {
			if strings.IndexByte("sdxXfFeEgG", layout[len(layout)-1]) < 0 {
				layout += "s"
			}
			var left string
			if f, left = readSpec(layout); left != "" {
				fail("format: %.40q is not supported", layout)
			}
		}
		v := a.field(key)
		if _, isText := v.(string); isText {
			f.left = true
		}
		r.field(&b, f, v)
	}
}

// field is the argument of a position or a name.
func (a arguments) field(key string) any {
	if i, err := strconv.Atoi(key); err == nil {
		if i < 0 || i >= len(a.list) {
			fail("format: there is no value %d", i)
		}
		return a.list[i]
	}
	for _, n := range a.named {
		if n.name == key {
			return n.value
		}
	}
	fail("format: there is no value %.40q", key)
	return nil
}
