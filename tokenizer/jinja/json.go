package jinja

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// jsonStyle is how tojson writes: as Python's json.dumps does, since models were trained on its output.
type jsonStyle struct {
	indent    int // spaces a level; -1 for one line
	item, key string
	ascii     bool
	sorted    bool
}

// maxJSONIndent bounds the spaces of a level.
const maxJSONIndent = 16

// toJSON is tojson with the arguments that transformers gives it: ensure_ascii, indent, separators and sort_keys. Keys keep their
// order, and nothing is escaped for HTML.
func toJSON(r *run, v any, a arguments) any {
	args := a.take(0, "ensure_ascii", "indent", "separators", "sort_keys")
	s := jsonStyle{indent: -1, item: ", ", key: ": "}
	s.ascii = args[0] != nil && truth(*args[0])
	if args[1] != nil && *args[1] != nil {
		if s.indent = or(args[1], 0); s.indent < 0 || s.indent > maxJSONIndent {
			fail("tojson: indent %d is not from 0 to %d", s.indent, maxJSONIndent)
		}
		s.item = ","
	}
	if args[2] != nil && *args[2] != nil {
		l := or(args[2], &list{})
		if len(l.items) != 2 {
			fail("tojson: separators must be two strings")
		}
		s.item, s.key = or(&l.items[0], ""), or(&l.items[1], "")
	}
	s.sorted = args[3] != nil && truth(*args[3])
	var b strings.Builder
	s.write(r, &b, v, 0)
	return b.String()
}

func (s *jsonStyle) write(r *run, b *strings.Builder, v any, depth int) {
	r.enter()
	defer r.leave()
	switch v := v.(type) {
	case nil:
		r.put(b, "null")
	case bool:
		r.put(b, strconv.FormatBool(v))
	case int:
		r.put(b, strconv.Itoa(v))
	case float64:
		switch {
		case math.IsInf(v, 1):
			r.put(b, "Infinity")
		case math.IsInf(v, -1):
			r.put(b, "-Infinity")
		case math.IsNaN(v):
			r.put(b, "NaN")
		default:
			r.put(b, formatFloat(v))
		}
	case string:
		s.quote(r, b, v)
	case *list:
		s.list(r, b, "[]", len(v.items), depth, func(i int) { s.write(r, b, v.items[i], depth+1) })
	case *dict:
		entries := v.entries
		if s.sorted {
			r.spendTimes(len(entries), itemCost)
			entries = slices.SortedStableFunc(slices.Values(entries), func(a, b entry) int { return r.order(a.key, b.key) })
		}
		s.list(r, b, "{}", len(entries), depth, func(i int) {
			s.quote(r, b, jsonKey(r, entries[i].key))
			r.put(b, s.key)
			s.write(r, b, entries[i].value, depth+1)
		})
	default:
		fail("tojson: %s is not JSON", typeName(v))
	}
}

// jsonKey is how a key that is no string is written.
func jsonKey(r *run, key any) string {
	switch key := key.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(key)
	}
	return r.text(key)
}

// list writes n items between brackets.
func (s *jsonStyle) list(r *run, b *strings.Builder, brackets string, n, depth int, item func(int)) {
	r.put(b, brackets[:1])
	for i := range n {
		if i > 0 {
			r.put(b, s.item)
		}
		s.newline(r, b, depth+1)
		item(i)
	}
	if n > 0 {
		s.newline(r, b, depth)
	}
	r.put(b, brackets[1:])
}

func (s *jsonStyle) newline(r *run, b *strings.Builder, depth int) {
	if s.indent >= 0 {
		r.put(b, "\n"+strings.Repeat(" ", s.indent*depth))
	}
}

func (s *jsonStyle) quote(r *run, b *strings.Builder, text string) {
	r.spend(len(text) + 2)
	b.WriteByte('"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\b':
			b.WriteString(`\b`)
		case c == '\f':
			b.WriteString(`\f`)
		case c < ' ', s.ascii && c >= 0x7F && c <= 0xFFFF:
			r.put(b, fmt.Sprintf(`\u%04x`, c))
		case s.ascii && c > 0xFFFF:
			high, low := utf16.EncodeRune(c)
			r.put(b, fmt.Sprintf(`\u%04x\u%04x`, high, low))
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
}
