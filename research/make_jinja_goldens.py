"""Makes tokenizer/jinja/testdata/snippets.golden.json: what the reference renders of small templates.

    python3 -m pip install jinja2==3.1.6
    python3 research/make_jinja_goldens.py

Each is for one rule of the language; null stands for an error. The environment is the one of
make_chat_goldens.py. The output does not depend on time or chance.
"""

import json
import pathlib

from make_chat_goldens import environment

OUT = pathlib.Path(__file__).parent.parent / "tokenizer" / "jinja" / "testdata" / "snippets.golden.json"

VARIABLES = {
    "s": "Hello, wörld!\n",
    "words": "  the quick\tbrown \n fox  ",
    "l": [3, 1, 2],
    "strs": ["b", "A", "c", "a"],
    "d": {"b": 1, "a": {"x": [1, None, True, 0.5]}, "items": "not a method?", "B": "x"},
    "people": [{"name": "Ann", "age": 30, "tag": {"t": 1}}, {"name": "bob", "age": 4}, {"name": "Cid", "age": 30, "tag": {"t": 2}}],
    "n": 7,
    "f": 2.5,
    "t": True,
    "nothing": None,
    "empty": [],
    "quotes": ["it's", 'say "x"', "both ' and \"", "tab\t\\\u200b\u00e9\x07"],
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2
(1 + 2) * 3
7 // 2 ~ ' ' ~ -7 // 2 ~ ' ' ~ 7 % -3 ~ ' ' ~ -7 % 3
7.5 // 2 ~ ' ' ~ -7.5 % 2
2 ** 3 ** 2
2 ** -1
2 ** 0.5
-2 ** 2
1 / 0
1 // 0
5 % 0
1.0 % 0
1e3 ~ ' ' ~ 1.5e-7 ~ ' ' ~ 1e16 ~ ' ' ~ 123456789.125 ~ ' ' ~ 1e22
0x1F + 0b11 + 0o17 + 1_000
'a' + 1
1 + 'a'
'a' ~ 1 ~ none ~ true ~ 1.0 ~ missing
'ab' * 3
3 * 'ab'
[1, 2] * 2
2 * [1]
'x' * -1
[1] + [2, 3]
(1, 2) + (3,)
[1] + (2,)
none + 1
missing + 1
true + true
not 1
not not 0
not none and true
1 and 2
0 or 'x'
'' or [] or none
1 < 2 < 3
3 > 2 > 2
1 == 1.0
1 == true
'1' == 1
[1, 2] == [1, 2]
[1] == (1,)
{'a': 1} == {'a': 1.0}
'a' < 'b'
'a' < 1
[1, 2] < [1, 3]
none == none
missing == missing
missing == none
missing != 1
2 in l
'ell' in s
'a' in d
'zz' not in d
1 in 'abc'
1 in missing
1 in none
not 1 in l
1 if true else 2
1 if false
'a' if n > 5 else 'b' if n > 3 else 'c'
('a' if f else 'b') ~ 'c'
s
s | trim
words
words.split()
words.split(none, 1)
words.split(' ')
words.split('q', 1)
'a,b,,c'.split(',')
'a,b,c'.rsplit(',', 1)
'a b  c '.rsplit()
'a b  c '.rsplit(none, 1)
''.split()
''.split(',')
'abc'.split('')
'a\nb\r\nc\n'.splitlines()
'a\nb'.splitlines(true)
s[0] ~ s[-1] ~ s[8]
s[99]
s[2:5] ~ '|' ~ s[:-3] ~ '|' ~ s[-3:] ~ '|' ~ s[::2] ~ '|' ~ s[::-1]
s[5:2]
l[1:] ~ l[:1] ~ l[::-1] ~ l[-2:] ~ l[5:] ~ l[::2] ~ l[-1:0:-1]
l[::0]
l[none:2]
l['a']
l[-3] ~ l[2]
l[3]
l.0
d.b ~ d['b'] ~ d.a.x ~ d['a']['x'][1]
d['items']
d.items() | list
d.keys() | list
d.values() | list
d.get('b') ~ d.get('zz') ~ d.get('zz', 5) ~ d.get('zz', none) ~ d.get('zz', '')
d.missing
d.missing.more
d.missing['more']
missing
missing.x
missing()
none.x
none.x.y
nothing is none
n.x
n()
'abc'.nomethod()
d
[d, l, none, true, 1.0, 'x', (1,), (), [], {}]
quotes
quotes | string
people | tojson
d | tojson
d | tojson(indent=2)
d | tojson(sort_keys=true)
quotes | tojson(ensure_ascii=true)
l | tojson(separators=(',', ':'))
missing | tojson
{'a': 1, 2: 'b', none: 3, true: 4}
{'a': 1, 2: 'b', none: 3, true: 4} | tojson
{'a': 1, 'a': 2}
{[1]: 2}
{'a': 1}.a
(1, 2)
1, 2
(1)
()
'con' 'cat' "enated"
'esc \' \" \\ \n \t \x41 \u00e9 \q \101'
"it's"
n is defined
missing is defined
missing is undefined
d.zz is defined
n is number and f is number and t is number
n is integer ~ f is integer ~ t is integer ~ f is float
'a' is string ~ l is string ~ none is string
d is mapping ~ l is mapping
l is sequence ~ d is sequence ~ 's' is sequence ~ n is sequence
l is iterable ~ n is iterable ~ none is iterable
t is boolean ~ n is boolean
t is true ~ t is false ~ n is true
n is odd ~ n is even ~ n is divisibleby 7 ~ n is divisibleby(2)
n is eq 7 ~ n is equalto(8) ~ n is ne 7 ~ n is gt 3 ~ n is lt 3 ~ n is ge 7 ~ n is le 6
n is in l
2 is in l
none is sameas none
t is sameas true
'abc' is lower ~ 'ABC' is upper ~ 'Abc' is lower ~ '12' is upper
n is not none
not n is none
n is nosuchtest
n | nosuchfilter
l is defined and l | length > 2
l | length + 1
-l | length
'a' ~ l | join
l | first ~ l | last
empty | first
empty | last is defined
s | first ~ s | last
s | length
d | length ~ d | count
n | length
missing | length
none | length
l | sort
l | sort(reverse=true)
strs | sort
strs | sort(case_sensitive=true)
people | sort(attribute='age') | map(attribute='name') | list
[1, 'a'] | sort
strs | unique | list
strs | map('upper') | list
strs | map('upper') | join('-')
people | map(attribute='tag.t') | list
people | map(attribute='tag.t', default=0) | list
people | map(attribute='name') | map('lower') | list
strs | map('nosuch') | list
strs | map('replace', 'a', 'z') | list
people | selectattr('tag') | map(attribute='name') | join(', ')
people | rejectattr('tag', 'defined') | list
people | selectattr('age', 'gt', 10) | list | length
people | selectattr('age', '==', 4) | list
l | select('odd') | list
l | reject('odd') | list
[0, 1, '', 'x'] | select | list
[0, 1, '', 'x'] | reject | list
l | join(', ')
people | join('/', attribute='name')
[1, none, 'a'] | join
l | sum
people | sum(attribute='age')
l | max ~ l | min
strs | max ~ strs | min
empty | max
l | reverse | list
s | reverse
'abc' | upper ~ 'ABC' | lower ~ 'hello wORLD' | title ~ 'hELLO' | capitalize
"it's a-b (c)" | title
"it's a-b (c)".title()
'hELLO wORLD'.capitalize()
'hello'.upper() ~ 'HeLLo'.lower()
missing | default('x') ~ none | default('x') ~ '' | default('x', true) ~ none | default('y', boolean=true) ~ missing | d
'a-b-c' | replace('-', '+') ~ 'a-b-c' | replace('-', '+', 1)
'a-b-c'.replace('-', '+') ~ 'a-b-c'.replace('-', '', 1)
'abc'.replace('', '-')
'line1\nline2\n\nline3' | indent
'line1\nline2' | indent(2, true)
'line1\n\nline2' | indent(2, blank=true)
'line1\nline2' | indent('> ')
'  x ' | trim ~ '|'
'xxaxx' | trim('x')
'xxaxx'.strip('x') ~ 'xxaxx'.lstrip('x') ~ 'xxaxx'.rstrip('x')
' a '.strip() ~ '|' ~ ' a '.lstrip() ~ '|' ~ ' a '.rstrip() ~ '|'
'abc'.startswith('a') ~ 'abc'.endswith('c') ~ 'abc'.startswith(('x', 'a'))
'abcb'.find('b') ~ 'abcb'.rfind('b') ~ 'abc'.find('z') ~ 'wörld'.find('r')
'abcb'.count('b') ~ 'abc'.count('')
'a=b=c'.partition('=') ~ 'a=b=c'.rpartition('=') ~ 'abc'.partition('=') ~ 'abc'.rpartition('=')
'abc'.removeprefix('a') ~ 'abc'.removesuffix('c')
'abc'.isalpha() ~ 'a1'.isalnum() ~ '1'.isdigit() ~ ' '.isspace() ~ ''.isdigit() ~ 'a'.islower() ~ 'A'.isupper()
'-'.join(strs)
'-'.join(l)
'{} and {}'.format(1, 'x')
'{1} {0} {k}'.format('a', 'b', k='c')
'{:.2f}|{:5}|{:5}|{:05d}'.format(3.14159, 'ab', 42, 7)
'{{}}'.format()
'{}'.format()
'%s %d %.2f %5s|%-5s|%05d %x %%' | format('a', 3, 2.5, 'b', 'c', 42, 255)
'%s-%s' % ('a', 1)
'%s' % 'x'
'%d' % 'x'
'%s %s' % 'x'
'%s' | format(1, 2)
'3' | int + 1
'3.7' | int ~ 'x' | int ~ 'x' | int(9) ~ 3.9 | int ~ 'ff' | int(0, 16)
'3.5' | float ~ 'x' | float ~ 2 | float
2.567 | round(2) ~ ' ' ~ 2.5 | round ~ ' ' ~ 2.1 | round(0, 'ceil') ~ ' ' ~ 2.9 | round(method='floor') ~ ' ' ~ 3 | round
-3 | abs
(-3) | abs ~ 2.5 | abs
'<a href="x">&\'' | escape
'<a>' | safe
d | items | list
d | dictsort
d | dictsort(by='value')
{'b': 2, 'a': 3} | dictsort(by='value', reverse=true)
d | list
s | list | length
n | string ~ 1
'a b c' | wordcount
range(3) | list
range(1, 10, 3) | list
range(5, 0, -2) | list
range(0)| list
range()
dict(a=1, b=[2])
dict(a=1).a
d | attr('b')
l.index(1) ~ l.count(1)
l.index(9)
1.5 | string
100000000000000000000.0
0.1 + 0.2
1e-5
true ~ false ~ none
True and False
none is none and not none
[1, [2, [3]]][1][1][0]
[1, 2,]
{'a': 1,}
(1, 2,)[0]
{}
[]
'a' in ['a', 'b'] and 'c' not in ['a', 'b']
1 if missing else 2
strs[0].upper()[0]
(l | sort)[0]
(people | first).name
people[0].name.upper() | lower | length
l | map('string') | join('')
[['a', 1], ['b', 2]] | map('first') | list
n * f
n - - 1
+n
--n
""".strip().split("\n")

TEMPLATES = [
    "a\n", "a\n\n", "\n a \r\n b\r", "", "{{ 1 }}\n", "{{ 1 }}\n\n",
    "{% if t %}\nx\n{% endif %}\ny", "  {% if t %}  x  {% endif %}  y", "a {%- if t -%} b {%- endif -%} c",
    "a\n  {%+ if t %}b{% endif %}\n", "a\n  {% if t +%}\nb{% endif %}\n", "a {{- 1 -}} b", "a\n {{ 1 }}\n b",
    "x{# c #}\ny", "x {#- c -#} y", "  {# c #}  \ny", "a\n  {#+ c +#}\nb", "{#-#}x", "{##}x", "{# {{ }} {% #}x",
    "{% raw %}{{ x }}{% endraw %}", "a {%- raw -%}  {{ x }}  {%- endraw -%} b", "{% raw %}\n{% if %}\n  {% endraw %}\nz",
    "{{ '}}' }}{{ \"%}\" }}{{ {'a': {'b': 1}} }}", "{{ '{% x %}' }}", "{{1}}{{-1}}", "{{ 1 -}}\n 2",
    "{% for x in l %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.length }}{{ loop.depth }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}{{ x }}{% else %}none{% endfor %}", "{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in empty %}x{% else %}e{% endfor %}", "{% for x in missing %}x{% else %}m{% endfor %}", "{% for x in none %}x{% endfor %}",
    "{% for x in n %}x{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}",
    "{% for c in 'aé' %}[{{ c }}]{% endfor %}", "{% for a, b in [[1, 2], [3, 4]] %}{{ a + b }} {% endfor %}", "{% for a, b in [[1]] %}{% endfor %}",
    "{% for (a, b) in [[1, 2]] %}{{ a }}{% endfor %}", "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% for x in l %}{% for y in l %}{{ loop.depth }}{{ x * y }} {% endfor %}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{{ x }}{% if x == 1 %}{% break %}{% endif %}{% endfor %}",
    "{% break %}", "{% for x in l %}{% endfor %}{{ x }}{{ loop }}", "{% for x in l %}{% set y = x %}{% endfor %}{{ y }}",
    "{% set y = 1 %}{% for x in l %}{% set y = y + x %}{{ y }} {% endfor %}{{ y }}", "{% if t %}{% set y = 5 %}{% endif %}{{ y }}",
    "{% set ns = namespace(a=1) %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}{{ ns.b }}", "{% set ns = namespace({'a': 2}, b=3) %}{{ ns.a }}{{ ns['b'] }}",
    "{% set d.b = 2 %}", "{% set q.b = 2 %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = l %}", "{% set a = 1, 2 %}{{ a }}", "{% set a %}x{{ n }}{% endset %}[{{ a }}]",
    "{% set a | upper | trim %} x {% endset %}[{{ a }}]", "{% if missing %}a{% elif n == 7 %}b{% else %}c{% endif %}", "{% if 0 %}a{% elif 0 %}b{% else %}c{% endif %}",
    "{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=3) }} {{ m(b=5) }}", "{% macro m() %}x{% endmacro %}{{ m(1) }}", "{% macro m() %}x{% endmacro %}{{ m(a=1) }}",
    "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ y }}{% endmacro %}{% set y = 4 %}{{ m() }}", "{% macro m() %}{{ x }}{% endmacro %}{% for x in l %}{{ m() }}{% endfor %}",
    "{% macro fact(n) %}{% if n < 2 %}1{% else %}{{ n * (fact(n - 1) | int) }}{% endif %}{% endmacro %}{{ fact(5) }}",
    "{% macro m(a) %}<{{ caller(a) }}>{% endmacro %}{% call(v) m(3) %}{{ v }}{{ n }}{% endcall %}", "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}x{% endcall %}",
    "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter trim | replace('a', 'b') %} a {% endfilter %}", "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set z = 1 %}{% endwith %}{{ z }}",
    "{% generation %}x{% endgeneration %}", "{% nosuch %}", "{% if t %}", "{% endif %}", "{{", "{{ 1", "{% if", "{{ 1 }", "{{ (1 }}", "{{ ) }}", "{{ }}", "{{ 'a }}", "{{ $ }}", "{{ 1 2 }}", "{{ a b }}", "{% set %}",
    "{{ n if }}", "{{ n | }}", "{{ n is }}", "{{ n. }}", "{{ l[ }}", "{% for in l %}{% endfor %}", "{% for x l %}{% endfor %}", "{% macro %}{% endmacro %}", "{# open", "{% raw %}open", "{{ 'x' }}}}", "}} %} #}",
    "{{ raise_exception('no') }}", "{{ n.x.y }}", "{{ loop.index }}",
    "{%- for m in people -%}\n  {{ m.name }}\n{%- if m.tag is defined -%} ({{ m.tag.t }}) {%- endif -%}\n{%- endfor -%}\n",
    "{{ n\n+\n1 }}", "{%\nif t\n%}x{%\nendif\n%}", "{% if t and (n == 7 or false) and not (f < 0) %}y{% endif %}",
    "{{ 'a' if n is defined and n is not none else 'b' }}", "{{ people | map(attribute='name') | select('ne', 'bob') | join }}", "{% set x = n if t else f %}{{ x }}", "{{ 'x' if t }}{{ 'x' if not t }}",
    "{% set m = people[1:] %}{{ m | length }}{% set people = [] %}{{ people | length }}", "{{ l | map('float') | list }}{{ [1, 2] | map('string') | list }}", "{% for x in range(3) %}{{ x }}{% endfor %}", "{{ (1, 'a')[1] }}{{ {'k': (1, 2)}.k[0] }}",
]


def main():
    cases = []
    for source in [f"{{{{ {e} }}}}" for e in EXPRESSIONS] + TEMPLATES:
        try:
            want = environment().from_string(source).render(**VARIABLES)
        except Exception:
            want = None
        cases.append({"source": source, "want": want})
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text('{"variables": %s,\n"cases": [\n%s\n]}\n' % (json.dumps(VARIABLES, ensure_ascii=False), lines))


if __name__ == "__main__":
    main()
