package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// methods are the library's, with those replaced that sort keys, or fail where Python's do not.
func methods() exec.Methods {
	m := builtins.Methods
	m.Dict = exec.NewMethodSet(map[string]exec.Method[map[string]any]{
		"items":  func(_ map[string]any, self *exec.Value, _ *exec.VarArgs) (any, error) { return itemsOf(self), nil },
		"keys":   func(_ map[string]any, self *exec.Value, _ *exec.VarArgs) (any, error) { return column(self, 0), nil },
		"values": func(_ map[string]any, self *exec.Value, _ *exec.VarArgs) (any, error) { return column(self, 1), nil },
		"get":    dictGet,
	})
	strs := map[string]exec.Method[string]{
		"strip":  strip(strings.Trim, strings.TrimFunc),
		"lstrip": strip(strings.TrimLeft, strings.TrimLeftFunc),
		"rstrip": strip(strings.TrimRight, strings.TrimRightFunc),
		"split":  split,

		"replace": replace,
	}
	for _, name := range []string{
		"capitalize", "count", "endswith", "find", "format", "isalnum", "isalpha", "isdigit", "islower", "isnumeric",
		"isspace", "isupper", "join", "lower", "partition", "removeprefix", "removesuffix", "rfind",
		"rpartition", "rsplit", "splitlines", "startswith", "title", "upper",
	} {
		if f, ok := builtins.Methods.Str.Get(name); ok {
			strs[name] = f
		}
	}
	m.Str = exec.NewMethodSet(strs)
	return m
}

// column is the keys (0) or the values (1) of a mapping.
func column(self *exec.Value, i int) list {
	items := itemsOf(self)
	for row := range items {
		items[row] = items[row].(list)[i]
	}
	return items
}

func dictGet(_ map[string]any, self *exec.Value, args *exec.VarArgs) (any, error) {
	if n := len(args.Args); n != 1 && n != 2 {
		return nil, fmt.Errorf("get: %d arguments, want 1 or 2", n)
	}
	for _, p := range pairs(self) {
		if p.Key.EqualValueTo(args.Args[0]) {
			return p.Value.Interface(), nil
		}
	}
	if len(args.Args) == 2 {
		return args.Args[1].Interface(), nil
	}
	return nil, nil
}

// strip makes a method that trims the characters of its argument, or white space if it has none.
func strip(cutset func(string, string) string, class func(string, func(rune) bool) string) exec.Method[string] {
	return func(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
		switch {
		case len(args.Args) > 1:
			return nil, fmt.Errorf("strip: %d arguments, want 0 or 1", len(args.Args))
		case args.First().IsNil():
			return class(self, unicode.IsSpace), nil
		case !args.First().IsString():
			return nil, errors.New("strip: the argument is not a string")
		}
		return cutset(self, args.First().String()), nil
	}
}

// replace is str.replace(old, new, count=-1).
func replace(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
	count := -1
	switch n := len(args.Args); n {
	case 3:
		count = args.Args[2].Integer()
	case 2:
	default:
		return nil, fmt.Errorf("replace: %d arguments, want 2 or 3", n)
	}
	return strings.Replace(self, args.Args[0].String(), args.Args[1].String(), count), nil
}

// split is str.split(sep=None, maxsplit=-1): without a separator, at runs of white space.
func split(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
	sep, most := args.First(), -1
	if v, ok := args.KwArgs["sep"]; ok {
		sep = v
	}
	if len(args.Args) > 1 {
		most = args.Args[1].Integer()
	}
	if v, ok := args.KwArgs["maxsplit"]; ok {
		most = v.Integer()
	}
	var parts []string
	switch {
	case sep.IsNil() && most >= 0:
		return nil, errors.New("split: maxsplit needs a separator here")
	case sep.IsNil():
		parts = strings.Fields(self)
	case !sep.IsString() || sep.String() == "":
		return nil, errors.New("split: the separator is not a string, or is empty")
	case most < 0:
		parts = strings.Split(self, sep.String())
	default:
		parts = strings.SplitN(self, sep.String(), most+1)
	}
	items := make(list, len(parts))
	for i, p := range parts {
		items[i] = p
	}
	return items, nil
}
