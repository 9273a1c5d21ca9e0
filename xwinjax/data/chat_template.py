"""Templates as Jinja, the way transformers holds them: ours written out, others rendered.

A strange template is run in Jinja's sandbox, with what transformers gives it and nothing else.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from xwinjax.core.errors import UserError
from xwinjax.data.records import Messages
from xwinjax.data.templates import Part, Special, Template
from xwinjax.data.tokenizer import Tokenizer


class _Generation(jinja2.ext.Extension):
  """{% generation %} … {% endgeneration %}, which marks answers; here it is only its content."""

  tags = {"generation"}  # noqa: RUF012

  def parse(self, parser: Any) -> Any:
    next(parser.stream)
    return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> None:
  raise jinja2.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
  return json.dumps(value, ensure_ascii=ensure_ascii, **options)


@functools.lru_cache(maxsize=16)
def compiled(source: str) -> jinja2.Template:
  """Raises: jinja2.TemplateError for a text that is no template."""
  env = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
  )
  env.filters["tojson"] = _to_json
  env.globals["raise_exception"] = _raise
  env.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
  return env.from_string(source)


def render(source: str, messages: Messages, tokenizer: Tokenizer, *, open_answer: bool) -> str:
  """The conversation as text, special tokens written out.

  Raises: UserError with what the template says, where it refuses the conversation.
  """
  rows = [{"role": m.role, "content": m.content} for m in messages]
  bos, eos = tokenizer.bos_id, tokenizer.eos_id
  try:
    return compiled(source).render(
      messages=rows,
      add_generation_prompt=open_answer,
      bos_token="" if bos is None else tokenizer.name(bos),
      eos_token=tokenizer.name(eos),
      tools=None,
      documents=None,
    )
  except Exception as e:  # whatever a strange template does
    text = " ".join(str(e).split())[:200]
    raise UserError(f"the model's chat_template fails: {text or type(e).__name__}") from None


def jinja_of(template: Template, tokenizer: Tokenizer, system: str = "") -> str:
  """One of our templates such that transformers' apply_chat_template gives the ids we train on.

  Args:
    tokenizer: where every stretch opens with a blank of the vocabulary's own, one that follows
      other text gets it written.
    system: what opens a conversation without a system turn.
  """
  t = template
  text = lambda parts, **values: _expression(parts, tokenizer, values)
  blank = tokenizer.blank and isinstance((*t.user, *t.assistant)[-1], str)
  tail = "" if isinstance(t.end[0], Special) else t.end[0]
  text_of_answer = f"(content ~ {_literal(tail)})" if tail else "content"
  lead = f"(' ' if {text_of_answer} else '') ~ " if blank or t.blank else ""
  if blank and not tokenizer.pieces.doubles:
    lead = lead.replace(" else", f" and not {text_of_answer}.startswith(' ') else")
  after, later = list(t.after), [*t.turn_start, *t.user]
  if tokenizer.blank and isinstance(t.end[-1], str):  # what follows is a stretch of its own
    follows = after or later
    follows[:1] = [" " + p if isinstance(p, str) else p for p in follows[:1]]
  trim = " | trim" if t.strip else ""
  opening = text(t.system, content=f"(system{'' if t.system_in_user else trim})")
  first = text(t.user, content="content")
  if t.system_in_user:
    alone, opened = f"{{%- set content = {opening} ~ content -%}}", ""
  else:
    alone, opened = "", f"{{%- if system -%}}{{{{- {opening} -}}}}{{%- endif -%}}"
  if not t.system:
    alone, opened = (
      "",
      "{%- if system -%}{{- raise_exception('no system turn here') -}}{%- endif -%}",
    )
  return "".join(
    (
      f"{{%- set system = {_literal(system)} -%}}{{%- set turns = messages -%}}",
      "{%- if messages and messages[0]['role'] == 'system' -%}",
      "{%- set system = messages[0]['content'] -%}{%- set turns = messages[1:] -%}",
      f"{{%- endif -%}}{{{{- {text(t.start)} -}}}}{opened}",
      "{%- for message in turns -%}{%- set content = message['content'] -%}",
      "{%- if message['role'] == 'user' -%}",
      f"{{%- if loop.first and system -%}}{alone}{{%- endif -%}}" if alone else "",
      f"{{%- set content = content{trim} -%}}" if trim else "",
      f"{{%- if loop.first -%}}{{{{- {first} -}}}}",
      f"{{%- else -%}}{{{{- {text(later, content='content')} -}}}}{{%- endif -%}}",
      "{%- elif message['role'] == 'assistant' -%}",
      f"{{%- set content = content{trim} -%}}" if trim else "",
      f"{{{{- {text(t.assistant)} ~ {lead}content ~ {text(t.end)} -}}}}",
      f"{{%- if not loop.last -%}}{{{{- {text(after)} -}}}}{{%- endif -%}}",
      "{%- else -%}{{- raise_exception('unknown role: ' ~ message['role']) -}}{%- endif -%}",
      "{%- endfor -%}",
      f"{{%- if add_generation_prompt -%}}{{{{- {text(t.assistant)} -}}}}{{%- endif -%}}",
    )
  )


def _expression(parts: Sequence[Part], tokenizer: Tokenizer, values: dict[str, str]) -> str:
  """Parts as a Jinja expression; `{}` is the variable given as content."""
  written: list[str] = []
  for part in parts:
    if isinstance(part, Special):
      if part.name == "bos":
        written += ["bos_token"] * tokenizer.adds_bos
      else:
        written.append("eos_token" if part.name == "eos" else _literal(part.name))
      continue
    before, hole, behind = part.partition("{}")
    written += [_literal(before)] * bool(before)
    if hole:
      written += [values["content"] if "content" in values else _literal(hole)]
    written += [_literal(behind)] * bool(behind)
  return " ~ ".join(written) or "''"


def _literal(text: str) -> str:
  """A text as Jinja writes it."""
  return json.dumps(text, ensure_ascii=False)


def texts(source: str, talks: Iterable[Messages], tokenizer: Tokenizer) -> list[str | None]:
  """Each conversation as text; None where the template refuses it."""
  made: list[str | None] = []
  for talk in talks:
    try:
      made.append(render(source, talk, tokenizer, open_answer=talk[-1].role == "user"))
    except UserError:
      made.append(None)
  return made
