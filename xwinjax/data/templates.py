"""Chat templates: the one way from a conversation to token ids and a loss mask.

A template is data, not code: lists of text and special tokens. Text around a question is encoded
together with it; an answer is encoded by itself, so that the ids a model is asked to continue are
exactly those it was trained on. In SentencePiece vocabularies of Llama's kind that gives answers
the leading blank that the published templates have before them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.data.records import Message, Messages
from xwinjax.data.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Special:
  """A special token, by the name `Tokenizer.special` knows."""

  name: str


Part = str | Special
BOS, EOS = Special("bos"), Special("eos")


@dataclasses.dataclass(frozen=True)
class Template:
  """How each role's turn is written; `{}` stands for its content.

  `end` closes an answer and is supervised with it; `after` follows it unsupervised. The first of
  `end`'s special tokens is what stops the sampler.
  """

  name: str
  user: tuple[Part, ...]
  assistant: tuple[Part, ...]  # what stands before an answer
  end: tuple[Part, ...]
  after: tuple[Part, ...] = ()
  system: tuple[Part, ...] = ()
  system_in_user: bool = False  # the rendered system text opens the first question
  default_system: str = ""
  start: tuple[Part, ...] = (BOS,)  # opens the conversation
  turn_start: tuple[Part, ...] = ()  # opens every later question
  blank: bool = False  # a blank opens an answer, where the vocabulary puts none there by itself
  strip: bool = False  # white space around each text is left out

  before_answer: ClassVar[Messages] = ()  # what has to stand before an answer that is alone

  def stop(self) -> Special:
    return next(part for part in self.end if isinstance(part, Special))

  def specials(self) -> tuple[str, ...]:
    """The special tokens it needs beside BOS and EOS."""
    parts = [p for value in vars(self).values() if isinstance(value, tuple) for p in value]
    names = dict.fromkeys(p.name for p in parts if isinstance(p, Special))
    return tuple(name for name in names if name not in ("bos", "eos"))

  def parts(
    self, messages: Messages, system: str, tokenizer: Tokenizer, open_answer: bool
  ) -> list[tuple[Part, bool]]:
    """The conversation as (part, supervised), before neighbouring texts are joined.

    `system` opens a conversation without a system turn; `open_answer` means that it is a prompt.
    """
    if messages and messages[0].role == "system":
      system, messages = messages[0].content, messages[1:]
    if system and not self.system:
      raise UserError(
        f"template {self.name!r} has no 'system' part, so a system turn would be lost"
      )
    parts: list[tuple[Part, bool]] = [(p, False) for p in self.start]
    strip = str.strip if self.strip else str
    opening = _fill(self.system, system if self.system_in_user else strip(system)) if system else []
    if not self.system_in_user:
      parts += [(p, False) for p in opening]
      opening = []
    for i, m in enumerate(messages):
      if m.role == "user":
        prefix = "".join(p for p in opening if isinstance(p, str)) if i == 0 else ""
        start = self.turn_start if i else ()
        question = _fill(self.user, strip(prefix + m.content))
        parts += [(p, False) for p in (*start, *question, *self.assistant)]
      else:
        answer = strip(m.content)
        led = answer or isinstance(self.end[0], str)
        parts += [(self.lead(tokenizer) + answer if led else "", True)]
        parts += [(p, True) for p in self.end]
        if i + 1 < len(messages):
          parts += [(p, False) for p in self.after]
    if not tokenizer.adds_bos:
      parts = [(p, learned) for p, learned in parts if p != BOS]
    return parts

  def lead(self, tokenizer: Tokenizer) -> str:
    """What stands before an answer's text and is learned with it."""
    return " " if self.blank and not tokenizer.blank else ""

  def opens(self, tokenizer: Tokenizer, behind: str) -> bool:
    """Whether a stretch opens with the vocabulary's own blank, behind "", "text" or "special"."""
    return True

  def behind_prompt(self) -> str:
    """What an answer follows: "text" or "special"."""
    return "text" if isinstance((*self.user, *self.assistant)[-1], str) else "special"


def _llama3_turn(role: str, *rest: Part) -> tuple[Part, ...]:
  return (Special("<|start_header_id|>"), role, Special("<|end_header_id|>"), *rest)


# The structures are the published ones. Preambles are our own words: a model trained on another
# wants it given as `system`.
TEMPLATES = {
  t.name: t
  for t in (
    Template(  # Vicuna's, which Xwin-LM uses
      "vicuna",
      system=("{} ",),
      user=("USER: {} ",),
      assistant=("ASSISTANT:",),
      end=(EOS,),
      blank=True,
    ),
    Template(  # Touvron et al. 2023, Llama 2, and its reference code
      "llama2",
      system=("<<SYS>>\n{}\n<</SYS>>\n\n",),
      system_in_user=True,
      user=("[INST] {} [/INST]",),
      assistant=(),
      end=(" ", EOS),
      turn_start=(BOS,),
      blank=True,
      strip=True,
    ),
    Template(  # Grattafiori et al. 2024, Llama 3
      "llama3",
      system=_llama3_turn("system", "\n\n{}", Special("<|eot_id|>")),
      user=_llama3_turn("user", "\n\n{}", Special("<|eot_id|>")),
      assistant=_llama3_turn("assistant", "\n\n"),
      end=(Special("<|eot_id|>"),),
      strip=True,
    ),
    Template(  # Taori et al. 2023, Alpaca
      "alpaca",
      system=("{}\n\n",),
      default_system="Here is a task. Write an answer that carries it out.",
      user=("### Instruction:\n{}\n\n",),
      assistant=("### Response:\n",),
      end=(EOS,),
      after=("\n\n",),
    ),
    Template(
      "chatml",
      system=(Special("<|im_start|>"), "system\n{}", Special("<|im_end|>"), "\n"),
      user=(Special("<|im_start|>"), "user\n{}", Special("<|im_end|>"), "\n"),
      assistant=(Special("<|im_start|>"), "assistant\n"),
      end=(Special("<|im_end|>"),),
      after=("\n",),
    ),
    Template(  # Zhou et al. 2023, LIMA, section 3: an end-of-turn token after every utterance
      "lima",
      system=("{}", Special("<|eot|>")),
      user=("{}", Special("<|eot|>")),
      assistant=(),
      end=(Special("<|eot|>"),),
    ),
  )
}


def get_template(name: str) -> Template:
  """A built-in template by name, or one from a .json file of the same fields.

  In a file, a part is a string or {"special": "<|im_end|>"}; see docs/templates.md.
  """
  if name in TEMPLATES:
    return TEMPLATES[name]
  if not name.endswith(".json"):
    raise UserError(
      f"template {name!r} is not one of {', '.join(TEMPLATES)}, nor the path of a .json file"
    )
  try:
    return _from_json(jsonl.read_json(Path(name)), Path(name).stem)
  except OSError as e:
    raise UserError(f"{name}: no such template file ({e.strerror})") from None
  except ValueError as e:
    raise UserError(f"{name}: not a template: {e}") from None


def _from_json(fields: Any, name: str) -> Template:
  """A template from the values of its file. Raises ValueError for what would lose text."""
  if not isinstance(fields, dict):
    raise ValueError(f"found {type(fields).__name__}, expected an object")
  kinds = {f.name: f.type for f in dataclasses.fields(Template)}
  values: dict[str, Any] = {"name": name}
  for field, value in fields.items():
    if field not in kinds:
      raise ValueError(f"unknown field {field!r}; there are {', '.join(kinds)}")
    if kinds[field] == "tuple[Part, ...]":
      values[field] = _parts(field, value)
    elif type(value).__name__ != kinds[field]:
      raise ValueError(f"{field!r} is {value!r}; expected {kinds[field]}")
    else:
      values[field] = value
  for field in ("user", "assistant", "end"):
    if field not in values:
      raise ValueError(f"field {field!r} is missing")
  for field in ("user", "system"):
    holds = "".join(p for p in values.get(field, ()) if isinstance(p, str)).count("{}")
    if holds != 1 and (field == "user" or values.get(field)):
      raise ValueError(f"{field!r} holds {{}} {holds} times; expected once, where the text goes")
  if not any(isinstance(p, Special) for p in values["end"]):
    raise ValueError("'end' needs a special token, or answers never stop")
  return Template(**values)


def template_json(template: Template) -> dict:
  """The fields of a template as `get_template` reads them from a file."""
  plain = lambda part: part if isinstance(part, str) else {"special": part.name}
  return {
    name: [plain(p) for p in value] if isinstance(value, tuple) else value
    for name, value in vars(template).items()
  }


def _parts(field: str, value: Any) -> tuple[Part, ...]:
  parts: list[Part] = []
  for part in value if isinstance(value, list) else [value]:
    special = part.get("special") if isinstance(part, dict) and len(part) == 1 else None
    if not isinstance(value, list) or not isinstance(part if special is None else special, str):
      raise ValueError(f'{field!r} is {value!r}; expected a list of texts and {{"special": name}}')
    parts.append(part if isinstance(part, str) else Special(str(special)))
  return tuple(parts)


@dataclasses.dataclass(frozen=True)
class Span:
  """A stretch of rendered conversation: what it is, its text, its ids, whether it is supervised."""

  text: str
  ids: tuple[int, ...]
  supervised: bool
  kind: str = "text"  # or "special"


@dataclasses.dataclass(frozen=True)
class Encoded:
  """A conversation as ids, with 1 in `mask` where a token is a supervised target."""

  ids: list[int]
  mask: list[int]


class Renderer:
  """A template bound to a tokenizer."""

  def __init__(self, template: Template, tokenizer: Tokenizer, system: str = ""):
    """`system` opens conversations that have no system turn of their own.

    Raises: UserError when the tokenizer lacks one of the template's special tokens.
    """
    self.template, self.tokenizer = template, tokenizer
    self.system = system or template.default_system
    self._specials: dict[tuple[str, bool], Span] = {}
    for name in ("eos", *template.specials()):
      tokenizer.special(name)

  def stop_ids(self) -> tuple[int, ...]:
    """The tokens at which an answer ends: the template's own, and EOS."""
    stop = self.tokenizer.special(self.template.stop().name)
    return tuple(dict.fromkeys((stop, *self.tokenizer.ends)))

  def opens_with_bos(self) -> bool:
    """Whether every conversation begins with BOS."""
    return BOS in self.template.start and self.tokenizer.adds_bos

  def spans(self, messages: Messages, *, open_answer: bool = False) -> list[Span]:
    """The conversation as stretches that are encoded one by one."""
    spans: list[Span] = []
    text, supervised = "", False
    tokenizer, template = self.tokenizer, self.template
    if open_answer and messages and messages[-1].role != "user":
      raise ValueError("a prompt must end with a user turn")

    def flush():
      if text:
        behind = spans[-1].kind if spans else ""
        ids = tokenizer.encode(text, template.opens(tokenizer, behind))
        spans.append(Span(text, tuple(ids), supervised))

    for part, part_supervised in template.parts(messages, self.system, tokenizer, open_answer):
      if isinstance(part, Special) or part_supervised != supervised:
        flush()
        text, supervised = "", part_supervised
      if isinstance(part, Special):
        spans.append(self._special(part.name, part_supervised))
      else:
        text += part
    flush()
    return spans

  def _special(self, name: str, supervised: bool) -> Span:
    key = (name, supervised)
    if key not in self._specials:
      i = self.tokenizer.special(name)
      self._specials[key] = Span(self.tokenizer.piece(i), (i,), supervised, "special")
    return self._specials[key]

  def encode(self, messages: Messages) -> Encoded:
    """A whole conversation; every answer and its end are supervised, if it is to be trained on."""
    train, before = iter([m.train for m in messages if m.role == "assistant"]), False
    encoded, wanted = Encoded([], []), True
    for span in self.spans(messages):
      if span.supervised and not before:  # the next answer begins
        wanted = next(train)
      before = span.supervised
      encoded.ids.extend(span.ids)
      encoded.mask.extend([int(span.supervised and wanted)] * len(span.ids))
    return encoded

  def encode_prompt(self, messages: Messages) -> list[int]:
    """Everything up to where the answer begins."""
    return [i for span in self.spans(messages, open_answer=True) for i in span.ids]

  def encode_answer(self, text: str) -> list[int]:
    """An answer with its end: `encode(prompt + answer)` is `encode_prompt(prompt)` plus this."""
    talk = (*self.template.before_answer, Message("assistant", text))
    return [i for span in self.spans(talk) if span.supervised for i in span.ids]

  def begin_answer(self, text: str) -> list[int]:
    """An answer that begins like this, without an end."""
    return self.tokenizer.encode(self.template.lead(self.tokenizer) + text, self._opens())

  def _opens(self) -> bool:
    return self.template.opens(self.tokenizer, self.template.behind_prompt())

  def answer_text(self, ids: Sequence[int]) -> str:
    """The text of an answer's ids, without what the template puts around it."""
    text = self.tokenizer.decode(ids, self._opens())
    for part in self.template.end:
      if isinstance(part, str):
        text = text.removesuffix(part)
    return text.removeprefix(self.template.lead(self.tokenizer))

  def round_trips(self, text: str) -> bool:
    """Whether an answer's ids decode to the answer: false where the vocabulary loses something."""
    kept = text.strip() if self.template.strip else text
    return self.answer_text(self.encode_answer(text)) == kept


def _fill(parts: tuple[Part, ...], content: str) -> list[Part]:
  return [p.replace("{}", content) if isinstance(p, str) else p for p in parts]
