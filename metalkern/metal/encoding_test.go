package metal

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// encoded is what the Objective-C runtime says of a method, "v32@0:8^v16Q24", as a row of selectors.tsv would have it: but for the names of structs,
// which it does not always know, so all are "struct:?".
func encoded(text string) (returns string, arguments []string, err error) {
	var all []string
	for rest := text; rest != ""; rest = strings.TrimLeft(rest, "0123456789") {
		var class string
		if class, rest, err = encodedType(rest); err != nil {
			return "", nil, fmt.Errorf("%q: %w", text, err)
		}
		all = append(all, class)
	}
	if len(all) < 3 || all[1] != "object" || all[2] != "selector" {
		return "", nil, fmt.Errorf("%q is not a method's", text)
	}
	return all[0], all[3:], nil
}

var encodings = map[byte]string{'v': "void", '#': "object", ':': "selector", '*': "pointer", 'B': "boolean", 'd': "double", 'q': "integer", 'Q': "integer", 'l': "integer", 'L': "integer"}

func encodedType(s string) (class, rest string, err error) {
	s = strings.TrimLeft(s, "rnNoORVA") // const, oneway and the like
	if s == "" {
		return "", "", fmt.Errorf("a type is missing")
	}
	switch s[0] {
	case '@':
		if strings.HasPrefix(s, "@?") {
			return "block", s[2:], nil
		}
		return "object", s[1:], nil
	case '^':
		_, rest, err = encodedType(s[1:])
		return "pointer", rest, err
	case '{':
		name, fields, ok := strings.Cut(s[1:], "=")
		if !ok || strings.ContainsAny(name, "{}") {
			return "", "", fmt.Errorf("a struct without fields at %q", s)
		}
		size := 0
		for fields != "" && fields[0] != '}' {
			if class, fields, err = encodedType(fields); err != nil {
				return "", "", err
			}
			if class != "integer" {
				return "", "", fmt.Errorf("a field that is no integer at %q", s)
			}
			size += 8
		}
		if fields == "" {
			return "", "", fmt.Errorf("a struct without end at %q", s)
		}
		return "struct:?:" + strconv.Itoa(size), fields[1:], nil
	}
	if class, ok := encodings[s[0]]; ok {
		return class, s[1:], nil
	}
	return "", "", fmt.Errorf("an unknown type at %q", s)
}

func TestMethodsAreReadAsTheRuntimeWritesThem(t *testing.T) {
	for text, want := range map[string][]string{
		"v16@0:8":                          {"void"},
		"Vv16@0:8":                         {"void"},
		"@24@0:8r*16":                      {"object", "pointer"},
		"d16@0:8":                          {"double"},
		"B40@0:8{?=qqq}16":                 {"boolean", "struct:?:24"},
		"v64@0:8{?=QQQ}16{?=QQQ}40":        {"void", "struct:?:24", "struct:?:24"},
		"@48@0:8^v16Q24Q32@?40":            {"object", "pointer", "integer", "integer", "block"},
		"@40@0:8@16@24^@32":                {"object", "object", "object", "pointer"},
		"v40@0:8r^@16Q24Q32":               {"void", "pointer", "integer", "integer"},
		"v40@0:8^{Thing=QQ}16@24q32":       {"void", "pointer", "object", "integer"},
		"v28@0:8B16Q20":                    {"void", "boolean", "integer"},
		"{_NSRange=QQ}32@0:8{_NSRange=QQ}": {"struct:?:16", "struct:?:16"},
	} {
		returns, arguments, err := encoded(text)
		if err != nil || returns != want[0] || !slices.Equal(arguments, want[1:]) {
			t.Errorf("%s is %s, %v, %v", text, returns, arguments, err)
		}
	}
	for _, text := range []string{"", "v", "v16@0", "v16:0@8", "v16@0:8{?=QQ", "v16@0:8{?}", "v16@0:8!", "v16@0:8^"} {
		if _, _, err := encoded(text); err == nil {
			t.Errorf("%q is taken for a method", text)
		}
	}
}
