package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// jsonStyle is how tojson writes: as Python's json.dumps does, since models were trained on its output.
type jsonStyle struct {
	indent    int // spaces a level; -1 for one line
	item, key string
	ascii     bool
	sorted    bool
}

// maxJSONDepth bounds the nesting that tojson writes.
const maxJSONDepth = 200

// filterToJSON is tojson with the arguments that transformers gives it: ensure_ascii, indent, separators
// and sort_keys. Keys keep their order, and nothing is escaped for HTML.
func filterToJSON(_ *exec.Evaluator, in *exec.Value, args *exec.VarArgs) *exec.Value {
	style, err := parseJSONStyle(args)
	if err != nil {
		return exec.AsValue(fmt.Errorf("tojson: %w", err))
	}
	var b strings.Builder
	if err := style.write(&b, in, 0); err != nil {
		return exec.AsValue(fmt.Errorf("tojson: %w", err))
	}
	return exec.AsSafeValue(b.String())
}

func parseJSONStyle(args *exec.VarArgs) (jsonStyle, error) {
	s := jsonStyle{indent: -1, item: ", ", key: ": "}
	if len(args.Args) > 0 {
		return s, errors.New("arguments must be named")
	}
	if v, ok := args.KwArgs["indent"]; ok && !v.IsNil() {
		if s.indent = v.Integer(); s.indent < 0 || s.indent > 16 {
			return s, fmt.Errorf("indent %d is not from 0 to 16", s.indent)
		}
		s.item = ","
	}
	for name, v := range args.KwArgs {
		switch name {
		case "indent":
		case "ensure_ascii":
			s.ascii = v.IsTrue()
		case "sort_keys":
			s.sorted = v.IsTrue()
		case "separators":
			if v.IsNil() {
				continue
			}
			if !v.IsList() || v.Len() != 2 {
				return s, errors.New("separators must be two strings")
			}
			s.item, s.key = exec.ToValue(v.Index(0).Val).String(), exec.ToValue(v.Index(1).Val).String()
		default:
			return s, fmt.Errorf("unknown argument %s", name)
		}
	}
	return s, nil
}

func (s *jsonStyle) write(b *strings.Builder, v *exec.Value, depth int) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("nested over %d deep", maxJSONDepth)
	}
	if _, ok := v.Interface().(namespace); ok {
		return errors.New("a namespace is not JSON")
	}
	switch {
	case v.IsError():
		return v
	case v.IsNil():
		b.WriteString("null")
	case v.IsBool():
		fmt.Fprint(b, v.Bool())
	case v.IsNumber():
		b.WriteString(v.String())
	case v.IsString():
		s.quote(b, v.String())
	case v.IsList():
		return s.list(b, '[', ']', v.Len(), depth, func(i int) error {
			return s.write(b, exec.ToValue(v.Index(i).Val), depth+1)
		})
	case v.IsDict():
		entries := pairs(v)
		if s.sorted {
			entries = slices.SortedStableFunc(slices.Values(entries), func(a, b *exec.Pair) int {
				return strings.Compare(a.Key.String(), b.Key.String())
			})
		}
		return s.list(b, '{', '}', len(entries), depth, func(i int) error {
			s.quote(b, entries[i].Key.String())
			b.WriteString(s.key)
			return s.write(b, exec.ToValue(entries[i].Value), depth+1)
		})
	default:
		return fmt.Errorf("a %T is not JSON", v.Interface())
	}
	return nil
}

// list writes n items between brackets.
func (s *jsonStyle) list(b *strings.Builder, open, end byte, n, depth int, item func(int) error) error {
	b.WriteByte(open)
	for i := range n {
		if i > 0 {
			b.WriteString(s.item)
		}
		s.newline(b, depth+1)
		if err := item(i); err != nil {
			return err
		}
	}
	if n > 0 {
		s.newline(b, depth)
	}
	b.WriteByte(end)
	return nil
}

func (s *jsonStyle) newline(b *strings.Builder, depth int) {
	if s.indent >= 0 {
		b.WriteByte('\n')
		for range s.indent * depth {
			b.WriteByte(' ')
		}
	}
}

func (s *jsonStyle) quote(b *strings.Builder, text string) {
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r < ' ', s.ascii && r >= 0x7F && r <= 0xFFFF:
			fmt.Fprintf(b, `\u%04x`, r)
		case s.ascii && r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(b, `\u%04x\u%04x`, high, low)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}
