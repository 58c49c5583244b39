package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// method is a method of a string, list or mapping.
type method func(r *run, self any, a arguments) any

// methodOf is the method of v that has a name, or nil.
func methodOf(v any, name string) method {
	switch v.(type) {
	case string:
		return stringMethods[name]
	case *list:
		return listMethods[name]
	case *dict:
		return dictMethods[name]
	}
	return nil
}

var dictMethods = map[string]method{
	"items": func(r *run, self any, a arguments) any { a.none(); return entriesOf(r, self) },
	"keys":  func(r *run, self any, a arguments) any { a.none(); return &list{items: r.keys(self.(*dict))} },
	"values": func(r *run, self any, a arguments) any {
		a.none()
		entries := self.(*dict).entries
		return r.list(len(entries), func(i int) any { return entries[i].value })
	},
	"get": func(r *run, self any, a arguments) any {
		args := a.take(1, "key", "default")
		if v, ok := r.find(self.(*dict), *args[0]); ok {
			return v
		}
		if args[1] == nil {
			return nil
		}
		return *args[1]
	},
}

var listMethods = map[string]method{
	"append": func(r *run, self any, a arguments) any {
		l := self.(*list)
		if l.tuple {
			fail("a tuple cannot be changed")
		}
		r.spend(itemCost)
		l.items = append(l.items, *a.take(1, "object")[0])
		return nil
	},
	"count": func(r *run, self any, a arguments) any {
		n, want := 0, *a.take(1, "value")[0]
		for _, item := range self.(*list).items {
			if r.equal(item, want) {
				n++
			}
		}
		return n
	},
	"index": func(r *run, self any, a arguments) any {
		want := *a.take(1, "value")[0]
		for i, item := range self.(*list).items {
			if r.equal(item, want) {
				return i
			}
		}
		fail("index: no item is equal")
		return nil
	},
}

var stringMethods map[string]method

func init() {
	stringMethods = map[string]method{
		"capitalize": textMethod(capitalize),
		"count": func(r *run, self any, a arguments) any {
			return strings.Count(searched(r, self), or(a.take(1, "sub")[0], ""))
		},
		"endswith":   affix(strings.HasSuffix),
		"startswith": affix(strings.HasPrefix),
		"find": func(r *run, self any, a arguments) any {
			s := searched(r, self)
			return position(s, strings.Index(s, or(a.take(1, "sub")[0], "")))
		},
		"rfind": func(r *run, self any, a arguments) any {
			s := searched(r, self)
			return position(s, strings.LastIndex(s, or(a.take(1, "sub")[0], "")))
		},
		"format":  func(r *run, self any, a arguments) any { return r.format(self.(string), a) },
		"isalnum": classMethod(func(c rune) bool { return unicode.IsLetter(c) || unicode.IsNumber(c) }),
		"isalpha": classMethod(unicode.IsLetter),
		"isdigit": classMethod(unicode.IsDigit),
		"islower": func(r *run, self any, a arguments) any {
			a.none()
			return isCase(searched(r, self), unicode.IsUpper, unicode.IsLower)
		},
		"isupper": func(r *run, self any, a arguments) any {
			a.none()
			return isCase(searched(r, self), unicode.IsLower, unicode.IsUpper)
		},
		"isnumeric": classMethod(unicode.IsNumber),
		"isspace":   classMethod(unicode.IsSpace),
		"join": func(r *run, self any, a arguments) any {
			var b strings.Builder
			for i, item := range r.items(*a.take(1, "iterable")[0]) {
				if i > 0 {
					r.put(&b, self.(string))
				}
				r.put(&b, or(&item, ""))
			}
			return b.String()
		},
		"lower":      textMethod(strings.ToLower),
		"upper":      textMethod(strings.ToUpper),
		"title":      textMethod(title),
		"strip":      func(r *run, self any, a arguments) any { return strip(r, self.(string), a, true, true) },
		"lstrip":     func(r *run, self any, a arguments) any { return strip(r, self.(string), a, true, false) },
		"rstrip":     func(r *run, self any, a arguments) any { return strip(r, self.(string), a, false, true) },
		"partition":  partition(strings.Index, false),
		"rpartition": partition(strings.LastIndex, true),
		"removeprefix": func(r *run, self any, a arguments) any {
			return strings.TrimPrefix(searched(r, self), or(a.take(1, "prefix")[0], ""))
		},
		"removesuffix": func(r *run, self any, a arguments) any {
			return strings.TrimSuffix(searched(r, self), or(a.take(1, "suffix")[0], ""))
		},
		"replace": func(r *run, self any, a arguments) any { return replace(r, self.(string), a) },
		"split":   func(r *run, self any, a arguments) any { return split(r, self.(string), a) },
		"rsplit":  func(r *run, self any, a arguments) any { return rsplit(r, self.(string), a) },
		"splitlines": func(r *run, self any, a arguments) any {
			keep := a.take(0, "keepends")[0]
			return r.strings(func(yield func(string) bool) { lines(searched(r, self), keep != nil && truth(*keep), yield) })
		},
	}
}

// searched is self, whose every byte will be looked at.
func searched(r *run, self any) string {
	r.read(self.(string))
	return self.(string)
}

func textMethod(f func(string) string) method {
	filter := textFilter(f)
	return func(r *run, self any, a arguments) any { return filter(r, self, a) }
}

// classMethod is whether a string has characters, all of a class.
func classMethod(class func(rune) bool) method {
	return func(r *run, self any, a arguments) any {
		a.none()
		s := searched(r, self)
		return s != "" && strings.IndexFunc(s, func(c rune) bool { return !class(c) }) < 0
	}
}

// position is the number of characters before a byte of s; -1 stays.
func position(s string, at int) int {
	if at < 0 {
		return at
	}
	return utf8.RuneCountInString(s[:at])
}

// affix is startswith or endswith, of one string or any of a tuple.
func affix(has func(s, affix string) bool) method {
	return func(r *run, self any, a arguments) any {
		any := *a.take(1, "affix")[0]
		if l, ok := any.(*list); ok && l.tuple {
			for i := range l.items {
				r.spend(stepCost)
				if has(searched(r, self), or(&l.items[i], "")) {
					return true
				}
			}
			return false
		}
		return has(searched(r, self), or(&any, ""))
	}
}

// strip trims the characters of its argument, or white space if it has none.
func strip(r *run, s string, a arguments, left, right bool) any {
	r.read(s)
	class := unicode.IsSpace
	if chars := a.take(0, "chars")[0]; chars != nil && *chars != nil {
		of := or(chars, "")
		class = func(c rune) bool {
			r.spend(1 + len(of)/readBytes)
			return strings.ContainsRune(of, c)
		}
	}
	if left {
		s = strings.TrimLeftFunc(s, class)
	}
	if right {
		s = strings.TrimRightFunc(s, class)
	}
	return s
}

// replace is str.replace(old, new, count=-1).
func replace(r *run, s string, a arguments) any {
	args := a.take(2, "old", "new", "count")
	old, to, most := r.text(*args[0]), r.text(*args[1]), -1
	if args[2] != nil && *args[2] != nil {
		most = or(args[2], -1)
	}
	r.read(s)
	n := strings.Count(s, old)
	if most >= 0 {
		n = min(n, most)
	}
	r.spend(len(s))
	r.spendTimes(n, len(to)+1)
	return strings.Replace(s, old, to, n)
}

// separator is what a string is to be split at, "" for white space, and at most how often, -1 for always.
func separator(a arguments) (sep string, most int) {
	args := a.take(0, "sep", "maxsplit")
	if args[0] != nil && *args[0] != nil {
		if sep = or(args[0], ""); sep == "" {
			fail("split: the separator is empty")
		}
	}
	return sep, or(args[1], -1)
}

// split is str.split(sep=None, maxsplit=-1): without a separator, at runs of white space.
func split(r *run, s string, a arguments) any {
	sep, most := separator(a)
	r.read(s)
	return r.strings(func(yield func(string) bool) {
		if sep == "" {
			s = strings.TrimLeftFunc(s, unicode.IsSpace)
		}
		for n := 0; n != most; n++ {
			at, size := strings.Index(s, sep), len(sep)
			if sep == "" {
				at = strings.IndexFunc(s, unicode.IsSpace)
				size = len(s[max(at, 0):]) - len(strings.TrimLeftFunc(s[max(at, 0):], unicode.IsSpace))
			}
			if at < 0 {
				break
			}
			yield(s[:at])
			s = s[at+size:]
		}
		if s != "" || sep != "" {
			yield(s)
		}
	})
}

// rsplit is split from the end.
func rsplit(r *run, s string, a arguments) any {
	sep, most := separator(a)
	r.read(s)
	l := r.strings(func(yield func(string) bool) {
		if sep == "" {
			s = strings.TrimRightFunc(s, unicode.IsSpace)
		}
		for n := 0; n != most; n++ {
			at := strings.LastIndex(s, sep)
			rest := s[:max(at, 0)]
			if sep == "" {
				at = strings.LastIndexFunc(s, unicode.IsSpace)
				rest = strings.TrimRightFunc(s[:max(at, 0)], unicode.IsSpace)
			}
			if at < 0 {
				break
			}
			after := s[at:]
			if sep == "" {
				_, size := utf8.DecodeRuneInString(after)
				after = after[size:]
			} else {
				after = after[len(sep):]
			}
			yield(after)
			s = rest
		}
		if s != "" || sep != "" {
			yield(s)
		}
	})
	for i, j := 0, len(l.items)-1; i < j; i, j = i+1, j-1 {
		l.items[i], l.items[j] = l.items[j], l.items[i]
	}
	return l
}

// lines are those of s, with or without what ends them.
func lines(s string, keep bool, yield func(string) bool) {
	for s != "" {
		at := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if at < 0 {
			yield(s)
			return
		}
		_, size := utf8.DecodeRuneInString(s[at:])
		if strings.HasPrefix(s[at:], "\r\n") {
			size = 2
		}
		if keep {
			yield(s[:at+size])
		} else {
			yield(s[:at])
		}
		s = s[at+size:]
	}
}

func partition(index func(s, sep string) int, atEnd bool) method {
	return func(r *run, self any, a arguments) any {
		s, sep := searched(r, self), or(a.take(1, "sep")[0], "")
		if sep == "" {
			fail("partition: the separator is empty")
		}
		r.spend(3 * itemCost)
		switch at := index(s, sep); {
		case at >= 0:
			return &list{[]any{s[:at], sep, s[at+len(sep):]}, true}
		case atEnd:
			return &list{[]any{"", "", s}, true}
		}
		return &list{[]any{s, "", ""}, true}
	}
}

// title is str.title: a word is a run of letters.
func title(s string) string {
	inside := false
	return strings.Map(func(c rune) rune {
		was := inside
		inside = unicode.IsLetter(c)
		if was {
			return unicode.ToLower(c)
		}
		return unicode.ToTitle(c)
	}, s)
}
