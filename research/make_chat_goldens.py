"""Makes tokenizer/testdata/chat.golden.json: what the reference renders of some chat templates.

    python3 -m pip install jinja2==3.1.6
    python3 research/make_chat_goldens.py

The templates are our own, each for one way in which published ones are written. The environment is set up
as transformers sets it up for chat templates. The output does not depend on time or chance.
"""

import json
import pathlib
from datetime import datetime

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

OUT = pathlib.Path(__file__).parent.parent / "tokenizer" / "testdata" / "chat.golden.json"
NOW = datetime(2026, 3, 4, 15, 6, 7)


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


TEMPLATES = {
    "turns": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "header": """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "Today is " + strftime_now("%d %b %Y") + strftime_now(" %A %H:%M:%S %j%%") %}
{%- endif %}
<<SYS>>{{ system }}<</SYS>>
{% for message in messages %}
    {% if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception("roles must alternate: turn " ~ loop.index ~ " is " ~ message.role) }}
    {% endif %}
    {# a comment #}
[{{ message.role | upper }}] {{ message.content | trim }}{{ eos_token }}
{% endfor %}
{%- if add_generation_prompt -%}
[ASSISTANT]
{%- endif %}
""",
    "tools": """{%- if tools %}{{ "# Tools\n" }}
    {%- for tool in tools %}
{{ "\n" }}{{ tool | tojson }}{{ "\n" }}{{ tool | tojson(indent=2) }}
        {%- for name, p in tool.parameters.items() %}
{{ "\n" }}{{ loop.index }}. {{ name }}: {{ p.type | default("any") }}{{ " (required)" if name in tool.required else "" }}
        {%- endfor %}
        {%- for name, p in tool.parameters | items %}{{ name }}{{ "," if not loop.last }}{% endfor %}
        {%- if tool.get("strict") is not none and tool.get("strict", false) %} strict{% endif %}
        {%- if tool is mapping and tool.required is iterable and tool.name is string %} ok{% endif %}
    {%- endfor %}
{%- else %}none
{%- endif %}
{{ messages | tojson }}
{{ messages[0] | tojson(sort_keys=true, ensure_ascii=true, separators=(',', ':')) }}
""",
    "last query": """{%- set ns = namespace(last=-1, found=false, text='') %}
{%- for m in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if not ns.found and m.role == 'user' and not m.content.startswith('<tool') %}
        {%- set ns.last = index %}
        {%- set ns.found = true %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set content = m.content %}
    {%- if '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\n') %}
    {%- endif %}
    {%- if loop.index0 > ns.last %}new {% endif %}{{ m.role }}: {{ content.rstrip() }}
{% if loop.first or messages[loop.index0 - 1].role != m.role %}--
{% endif %}
{%- endfor %}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>' }}{% endif %}""",
    "spaces": """  {% if messages %}  {{ messages[0].role }} {% if true %} x {% endif %}
    {# comment #}
  {%+ if true %}kept {{ "{%" }}{{ '}}' }} {% endif %}
	{% for m in messages if m.role != 'system' %}
  {{ loop.index }}/{{ loop.length }} {{ m.content.strip() }}|{{ m.content.split() | length }}|{{ m.content.split('e')[-1] }}|{{ m.content.split('e', 1)[0] }}
  {%- endfor +%}
  {% raw %}  {% {{ }}
  {% endraw %} {{ {'a': {'b': 1}}['a']['b'] }} {% set x %}
   captured {{ messages[-1].content[:3] }}
  {% endset %}[{{ x }}] {% endif %}
{% set l = ['p', 'q'] %}{{ l[-1] }}{{ l[0] }}{{ (messages | list)[-1].role }}{{ messages[1:][-1].role if messages | length > 1 }}
{{ 7 // 2 }} {{ 7 % 3 }} {{ 'ab' ~ 1 }} {{ 'a' in 'cat' }} {{ not true }} {{ 1 if false }}{{ "x\ny" }}
{{ 'a,b'.replace(',', ';') }} {{ 'Title case'.title() }} {{ 'x'.upper() }} {{ '%s-%d' | format('a', 3) }} {{ 'abc' | first }} {{ 'a-b' | replace('-', '+') }}
""",
    "macros": """{%- macro show(v, depth=0) -%}
{%- if v is mapping -%}
{%- for k, x in v.items() %}{{ '  ' * depth }}{{ k }}:
{{ show(x, depth + 1) }}{% endfor -%}
{%- elif v is string -%}
{{ '  ' * depth }}"{{ v }}"
{% elif v is sequence -%}
{{ '  ' * depth }}{{ v | length }} items
{% else -%}
{{ '  ' * depth }}{{ v }}
{% endif -%}
{%- endmacro -%}
{%- for t in tools or [] %}{{ show(t) }}{% endfor -%}
{%- for i in range(2, 12, 3) %}{% if i == 5 %}{% continue %}{% endif %}{% if i > 8 %}{% break %}{% endif %}{{ i }} {% endfor %}
{%- set users = messages | selectattr('role', 'equalto', 'user') | list %}{{ users | length }}
{{- messages | map(attribute='role') | join('/') }}
{%- generation %} [{{ messages[-1].content }}]{% endgeneration %}
""",
}

CHATS = {
    "hello": [("user", "Hello!")],
    "system": [("system", " You are terse. "), ("user", "Why?"), ("assistant", "Because.\n"), ("user", "<b> & 'q' \"d\" \\ é 😀\u2028 \t")],
    "thinking": [("user", "1+1"), ("assistant", "<think>\neasy\n</think>\n\n2"), ("user", "<tool_response>x</tool_response>"), ("assistant", "3")],
    "astray": [("user", "a"), ("user", "b")],
}

EXTRAS = {
    "none": {},
    "tools": {
        "tools": [
            {
                "name": "search",
                "description": "Find <things> & 'more' — 漢字",
                "parameters": {"query": {"type": "string"}, "limit": {"type": "integer", "default": 10}, "any": {}},
                "required": ["query"],
                "strict": True,
                "weights": [1, -2, 0.5, 1.0, 1e-7, 1e22, 12345678901],
                "empty": [{}, [], None, False, ""],
            },
            {"name": "clock", "parameters": {}, "required": []},
        ],
        "enable_thinking": False,
    },
}


def main():
    cases = []
    for name, source in TEMPLATES.items():
        template = environment().from_string(source)
        for chat, turns in CHATS.items():
            for extra, variables in EXTRAS.items():
                for prompt in (False, True):
                    messages = [{"role": r, "content": c} for r, c in turns]
                    case = {"name": f"{name}/{chat}/{extra}/{prompt}", "template": name, "messages": messages, "prompt": prompt}
                    case["extra"] = variables
                    try:
                        case["want"] = template.render(
                            messages=messages, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>",
                            **{"tools": None, **variables},
                        )
                    except jinja2.exceptions.TemplateError as e:
                        case["raised"] = e.message
                    cases.append(case)
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
    head = json.dumps(TEMPLATES, ensure_ascii=False, indent=1)
    OUT.write_text('{"templates": %s,\n"cases": [\n%s\n]}\n' % (head, lines))


if __name__ == "__main__":
    main()
