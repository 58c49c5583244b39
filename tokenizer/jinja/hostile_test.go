package jinja

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

var errRaised = errors.New("raised")

// hostile are templates that ask for all time or memory, with the error that each must end in, besides ErrTooMuch.
var hostile = map[string]string{
	"{{ 'a' * 20000000000 }}":                      "",
	"{{ 20000000000 * 'a' }}":                      "",
	"{{ [1] * 9223372036854775807 }}":              "",
	"{{ ('abc' * 9223372036854775807) | length }}": "",
	"{% for a in range(1000000) %}{% for b in range(1000000) %}{% endfor %}{% endfor %}":                                                              "",
	"{% for i in range(9223372036854775807) %}{% endfor %}":                                                                                           "",
	"{% for i in range(0, -9223372036854775808, -1) %}{% endfor %}":                                                                                   "64 bits",
	"{% for a in range(600) %}{% for b in range(600) %}x{% endfor %}{% endfor %}":                                                                     "",
	"{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}":                                                                                         "",
	"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}":                                                                                                 "calls deep",
	"{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}":                                                           "calls deep",
	"{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}":                                                      "",
	"{% macro f(n) %}{{ n }}{% endmacro %}{% for i in range(64) %}{{ f(f(f(f(f('x' * 1000000))))) }}{% endfor %}":                                     "",
	"{% set n = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}":                                              "",
	"{% set n = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}":                                              "",
	"{% set n = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set n.s = n.s.replace('a', n.s) %}{% endfor %}":                                  "",
	"{% set n = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set n.s = n.s | join(n.s) %}{% endfor %}":                                        "",
	"{% set n = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set n.s = '%s%s' % (n.s, n.s) %}{% endfor %}":                                    "",
	"{% set n = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set n.s = '{}{}'.format(n.s, n.s) %}{% endfor %}":                                "",
	"{% set n = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set n.s %}{{ n.s }}{{ n.s }}{% endset %}{% endfor %}":                            "",
	"{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = n.l + n.l %}{% endfor %}":                                                     "",
	"{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}":                                           "",
	"{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l | tojson }}":                                  "",
	"{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l == [n.l, 1] }}":                               "ok",
	"{% set n = namespace(l=[1], m=[1]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% set n.m = [n.m, n.m] %}{% endfor %}{{ n.l == n.m }}":   "",
	"{% set n = namespace(l=[1], m=[1]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% set n.m = [n.m, n.m] %}{% endfor %}{{ n.l < n.m }}":    "",
	"{% set n = namespace(l=[1], m=[1]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% set n.m = [n.m, n.m] %}{% endfor %}{{ n.l in [n.m] }}": "",
	"{% set n = namespace(l={'a': 1}) %}{% for i in range(99) %}{% set n.l = {'a': n.l, 'b': n.l} %}{% endfor %}{{ n.l.get('a') }}":                   "",
	"{% set n = namespace(l=[1]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}":                                              "deep",
	"{% set l = [] %}{% do l.append(l) %}{{ l }}":                                                                                                     "deep",
	"{% set l = [] %}{% do l.append(l) %}{{ l | tojson }}":                                                                                            "deep",
	"{% set l = [] %}{% do l.append(l) %}{{ l == [l] }}":                                                                                              "deep",
	"{% set l = [1] %}{% for i in range(99999) %}{% for x in l %}{% do l.append(x) %}{% endfor %}{% endfor %}":                                        "",
	"{{ '%999999999d' % 1 }}":                                                                                        "width",
	"{{ '%.999999999f' % 1 }}":                                                                                       "width",
	"{{ '{:999999999}'.format(1) }}":                                                                                 "width",
	"{{ 'a' | indent(20000000000, true) }}":                                                                          "",
	"{{ ('a\n' * 1000000) | indent('x' * 1000000) }}":                                                                "",
	"{{ ('a\n' * 9000) | indent(1000) }}":                                                                            "",
	"{{ messages | tojson(indent=1000) }}":                                                                           "indent 1000",
	"{{ range(99999) | join('x' * 9999) }}":                                                                          "",
	"{{ ('x' * 9999).join('y' * 9999) }}":                                                                            "",
	"{{ ('x' * 900000) | list | length }}":                                                                           "",
	"{{ ('x ' * 900000).split() | length }}":                                                                         "",
	"{{ ('x ' * 900000).split('x') | length }}":                                                                      "",
	"{{ ('x ' * 900000).rsplit('x') | length }}":                                                                     "",
	"{{ ('x\n' * 900000).splitlines() | length }}":                                                                   "",
	"{{ ('x' * 90000).replace('', 'y' * 90000) }}":                                                                   "",
	"{{ ('<' * 2000000) | escape | length }}":                                                                        "",
	"{{ ('x' * 1000000)[::-1] }}":                                                                                    "",
	"{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{{ s[500000] }}{% endfor %}":                              "",
	"{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{{ s.find('y') }}{% endfor %}":                            "",
	"{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{{ 'y' in s }}{% endfor %}":                               "",
	"{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{{ s.strip('y') }}{% endfor %}":                           "",
	"{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{{ s == s ~ '' }}{% endfor %}":                            "",
	"{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{{ {s: 1}[s] }}{{ {s: 1}.get(s) }}{% endfor %}":           "",
	"{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{{ s | int }}{% endfor %}":                                "",
	"{% set s = '9' * 1000000 %}{% for i in range(99999) %}{{ s | float }}{% endfor %}":                              "",
	"{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{{ s.isalpha() }}{% endfor %}":                            "",
	"{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{{ s.partition('y')[0][0] }}{% endfor %}":                 "",
	"{% set s = '.' * 1000000 %}{% for i in range(99999) %}{{ [1] | map(attribute=s) | list | length }}{% endfor %}": "",
	"{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{{ [s, s] | sort | length }}{% endfor %}":                 "",
	"{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{{ [s, s] | unique | length }}{% endfor %}":               "",
	"{% set s = 'x' * 1000000 %}{% for i in range(99999) %}{{ strftime_now(s) | length }}{% endfor %}":               "",
	"{% for i in range(99999) %}{{ range(99999) | sort | length }}{% endfor %}":                                      "",
	"{% for i in range(99999) %}{{ range(9999) | map('string') | join | length }}{% endfor %}":                       "",
	"{% filter upper %}{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}{% endfilter %}":                       "",
	"{% set x %}{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}{% endset %}":                                 "",
	"{{ 2 ** 9223372036854775807 }}":                                                                                 "64 bits",
	"{{ 1 ** 9223372036854775807 }}":                                                                                 "ok",
	"{{ 10 | round(999999999) }}":                                                                                    "precision",
	"{{ -9223372036854775807 - 9 }}":                                                                                 "64 bits",
	"{{ (-9223372036854775807 - 1) // -1 }}":                                                                         "64 bits",
	"{{ 'abc'[::9223372036854775807] ~ 'abc'[::-9223372036854775807] }}":                                             "ok",
	"{{ [1, 2][9223372036854775807] }}":                                                                              "ok",
	"{{ [1, 2][-9223372036854775807:] }}":                                                                            "ok",
	"{{ 1 % 0 }}":                                                                                                    "division by zero",
	strings.Repeat("{% for i in range(9) %}", 100) + strings.Repeat("{% endfor %}", 100):                             "",
	strings.Repeat("{{ 'x' * 100000 }}", 7000):                                                                       "",
	strings.Repeat("{% set x = 1 %}{% if x %}", 500):                                                                 "deep",
	"{{ " + strings.Repeat("not ", 30000) + "x }}":                                                                   "deep",
	"{{ " + strings.Repeat("-", 100000) + "1 }}":                                                                     "deep",
	"{{ " + strings.Repeat("(", 60000) + strings.Repeat(")", 60000) + " }}":                                          "deep",
	"{{ " + strings.Repeat("[", 60000) + strings.Repeat("]", 60000) + " }}":                                          "deep",
	"{{ " + strings.Repeat("{1:", 30000) + strings.Repeat("}", 30000) + " }}":                                        "deep",
	"{{ " + strings.Repeat("x[", 30000) + strings.Repeat("]", 30000) + " }}":                                         "deep",
	"{{ " + strings.Repeat("x(", 30000) + strings.Repeat(")", 30000) + " }}":                                         "deep",
	"{{ " + strings.Repeat("x|f(", 20000) + strings.Repeat(")", 20000) + " }}":                                       "there is no filter",
	"{{ " + strings.Repeat("x|join(", 10000) + strings.Repeat(")", 10000) + " }}":                                    "deep",
	"{{ x" + strings.Repeat("+1", 50000) + " }}":                                                                     "in a row",
	"{{ x" + strings.Repeat("|trim", 20000) + " }}":                                                                  "in a row",
	"{{ x" + strings.Repeat(".x", 50000) + " }}":                                                                     "in a row",
	"{{ x" + strings.Repeat("()", 50000) + " }}":                                                                     "in a row",
	"{{ x" + strings.Repeat(" or x", 20000) + " }}":                                                                  "in a row",
	"{{ x" + strings.Repeat(" if x else x", 10000) + " }}":                                                           "deep",
	"{{ 1" + strings.Repeat(" == 1", 20000) + " }}":                                                                  "ok",
	strings.Repeat("{#", 60000):                                                                                      "no end",
	strings.Repeat("{% raw %}", 10000):                                                                               "endraw",
	strings.Repeat("{%$", 40000):                                                                                     "no meaning",
	"{% raw %}" + strings.Repeat("{% ", 40000):                                                                       "endraw",
	strings.Repeat(" ", 120000) + "{%- if x %}":                                                                      "endif",
	strings.Repeat("x", maxTemplate+1):                                                                               "limit",
}

// TestHostileTemplatesEndInAnErrorAndTakeLittleMemory holds each to the memory that all it allocates, live or not, takes.
func TestHostileTemplatesEndInAnErrorAndTakeLittleMemory(t *testing.T) {
	const most = 64 << 20
	for source, want := range hostile {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		template, err := Parse(source)
		if err == nil {
			_, err = template.Render(map[string]any{
				"messages":     []any{Record([]string{"role", "content"}, "user", "hello")},
				"strftime_now": Func(func(args []any) (any, error) { return args[0], nil }),
			})
		}
		runtime.ReadMemStats(&after)
		switch {
		case want == "ok":
			if err != nil {
				t.Errorf("%.80s: %v", source, err)
			}
		case want == "" && !errors.Is(err, ErrTooMuch):
			t.Errorf("%.80s: %v, want %v", source, err, ErrTooMuch)
		case err == nil || !strings.Contains(err.Error(), want):
			t.Errorf("%.80s: %v, want an error about %q", source, err, want)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > most {
			t.Errorf("%.80s: %d MiB", source, took>>20)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%.80s: an error of %d bytes", source, len(err.Error()))
		}
	}
}

// TestABoundedRenderingEndsAtTheSamePlace: a bound that moved with the machine would refuse on one node what another takes.
func TestABoundedRenderingEndsAtTheSamePlace(t *testing.T) {
	const source = "{% set n = namespace(i=0) %}{% for i in range(200000) %}{% set n.i = i %}{{ probe(i) }}{% endfor %}"
	template, err := Parse(source)
	if err != nil {
		t.Fatal(err)
	}
	var last [2]any
	for i := range last {
		_, err = template.Render(map[string]any{"probe": Func(func(args []any) (any, error) { last[i] = args[0]; return "", nil })})
		if !errors.Is(err, ErrTooMuch) {
			t.Fatal(err)
		}
	}
	if last[0] != last[1] || last[0] == nil {
		t.Errorf("it ended at %v and at %v", last[0], last[1])
	}
}

func FuzzTemplate(f *testing.F) {
	variables, cases := golden(f)
	for _, c := range cases {
		f.Add(c.Source)
	}
	for source := range hostile {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		template, err := Parse(source)
		if err == nil {
			_, err = template.render(variables, func(map[string]any) int { return 1 << 18 }) // little, so that many are tried
		}
		if err != nil && strings.Contains(err.Error(), internalMistake) {
			t.Fatal(err)
		}
	})
}
