"""Writes golden.json: what Jinja2 itself, set up as Transformers does it, makes of templates and conversations."""
import json, os, jinja2, jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATES = {
  "chatml": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
  "headers": "{{- bos_token }}\n{%- for message in messages %}\n    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}\n{%- endif %}\n",
  "inst": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
  "lines": "{% for m in messages %}\n  {% if m.role == 'user' %}\nUser: {{ m.content }}\n  {% else %}\n{{ m.role|capitalize }}: {{ m.content }}{{ eos_token }}\n  {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}\nAssistant:\n{% endif %}",
  "blanks": "{% for m in messages %}{{ m.content }} {% endfor %}|{{ bos_token }} {# c #}x {{ eos_token }}\t{% if true %}y{% endif %} {%- if true %} z {% endif -%} end",
  "macro": "{% macro turn(role, text='-') -%}\n<{{ role }}>{{ text }}</{{ role }}>\n{%- endmacro %}\n{% for m in messages %}{{ turn(m.role, m.content) }}{% if not loop.last %}, {% endif %}{% endfor %}",
  "namespace": "{% set ns = namespace(n=0, system='') %}{% for m in messages if m.role != 'system' %}{% set ns.n = ns.n + 1 %}{{ ns.n }}:{{ m.content | upper }};{% else %}none{% endfor %}{% set all %}a{{ ns.n }}b{% endset %}[{{ all }}]",
  "range": "{{ messages|length }} {% for i in range(2, 8, 3) %}{{ i }}{% endfor %}{{ '{{' }}",
  "tests": "{{ tools is none }}{{ x is defined }}{{ messages[0].content is string }}{{ messages | map(attribute='role') | join(',') }}{{ messages[-1]['content'][:1] }}{{ 'a' if tools else 'b' }}{{ messages[0] | tojson }}{{ 'x~y'.split('~')[1] ~ 3 }}",
  "break": "{% for m in messages %}{% if m.role == 'assistant' %}{% break %}{% endif %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
}
TURNS = [
  [{"role": "user", "content": "Hi"}],
  [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "a {{ b }} {% c %} \"d\""}, {"role": "assistant", "content": "two\nlines "}, {"role": "user", "content": "ü < & >"}],
  [{"role": "assistant", "content": "first"}],
]

def env():
    e = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    e.filters["tojson"] = lambda x, **kw: json.dumps(x, ensure_ascii=False, **kw)
    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)
    e.globals["raise_exception"] = refuse
    return e

out = []
for name, source in TEMPLATES.items():
    t = env().from_string(source)
    for turns in TURNS:
        row = {"name": name, "template": source, "turns": turns}
        try:
            row["want"] = t.render(messages=turns, tools=None, documents=None, add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
        except jinja2.exceptions.TemplateError as err:
            row["refused"] = str(err)
        out.append(row)
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden.json")
with open(path, "w") as f:
    json.dump(out, f, indent=1, ensure_ascii=False)
