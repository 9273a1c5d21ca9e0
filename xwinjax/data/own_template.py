"""A model's own chat template: recognised among ours, or used as it is.

What the loss sees is found by what the template writes: an answer begins where the prompt before it
ends and is over at the special token behind it. A template for which that does not hold is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from typing import ClassVar

from xwinjax.core.errors import UserError
from xwinjax.data import chat_template
from xwinjax.data.pieces import JsonPieces
from xwinjax.data.records import Message, Messages
from xwinjax.data.templates import TEMPLATES, Part, Renderer, Special, Template
from xwinjax.data.tokenizer import Tokenizer

MODEL = "model"  # the name under which it is asked for
_HOLE = re.compile("\ue000(\\d+)\ue001")  # stands for a turn's text


def _hole(i: int) -> str:
  return f"\ue000{i}\ue001"


def _talk(*roles: str) -> Messages:
  return tuple(Message(role, _hole(i)) for i, role in enumerate(roles))


@dataclasses.dataclass(frozen=True)
class OwnTemplate(Template):
  """A Jinja template, as `Renderer` uses one of ours."""

  source: str = ""
  opening: str = ""  # text that opens an answer and is learned with it
  behind: str = "text"  # what an answer follows
  before_answer: ClassVar[Messages] = (Message("user", "?"),)

  def parts(
    self, messages: Messages, system: str, tokenizer: Tokenizer, open_answer: bool
  ) -> list[tuple[Part, bool]]:
    if system and messages and messages[0].role != "system":
      messages = (Message("system", system), *messages)
    roles = tuple(m.role for m in messages)
    made = _structure(self.source, tokenizer, roles, open_answer)
    real = chat_template.render(self.source, messages, tokenizer, open_answer=open_answer)
    for keeps in itertools.product((str, str.strip), repeat=3):
      keep = dict(zip(("system", "user", "assistant"), keeps, strict=True))
      parts = [(self._filled(part, messages, keep), learned) for part, learned in made]
      if real == "".join(p.name if isinstance(p, Special) else p for p, _ in parts):
        return parts
    raise UserError(
      "the model's chat_template writes turns otherwise than they are, so that answers cannot be "
      "found in it; use one of " + ", ".join(TEMPLATES)
    )

  @staticmethod
  def _filled(part: Part | int, messages: Messages, keep: dict) -> Part:
    if isinstance(part, int):
      return keep[messages[part].role](messages[part].content)
    return part

  def lead(self, tokenizer: Tokenizer) -> str:
    return self.opening

  def opens(self, tokenizer: Tokenizer, behind: str) -> bool:
    return not behind or (behind == "special" and tokenizer.stretches)

  def behind_prompt(self) -> str:
    return self.behind


@functools.lru_cache(maxsize=1024)
def _structure(
  source: str, tokenizer: Tokenizer, roles: tuple[str, ...], open_answer: bool
) -> list[tuple[Part | int, bool]]:
  """What the template writes for turns of these roles: (text, special token or turn, learned)."""
  talk = _talk(*roles)
  whole = chat_template.render(source, talk, tokenizer, open_answer=open_answer)
  found = [int(i) for i in _HOLE.findall(whole)]
  if found != list(range(len(talk))):
    lost = next((roles[i] for i in range(len(talk)) if found.count(i) != 1), roles[0])
    raise UserError(f"the model's chat_template does not write the {lost} turn once, in its place")
  names = sorted(map(re.escape, tokenizer.marks), key=len, reverse=True)
  special = re.compile("|".join(names))
  learned = []
  for i, role in enumerate(roles):
    if role == "assistant":
      learned.append(_answer(source, tokenizer, talk, i, whole, special))
  parts: list[tuple[Part | int, bool]] = []
  cuts = {0, len(whole), *itertools.chain(*learned)}
  for match in itertools.chain(_HOLE.finditer(whole), special.finditer(whole)):
    cuts |= {match.start(), match.end()}
  for start, end in itertools.pairwise(sorted(cuts)):
    text = whole[start:end]
    inside = any(a <= start and end <= b for a, b in learned)
    hole = _HOLE.fullmatch(text)
    part = int(hole[1]) if hole else Special(text) if special.fullmatch(text) else text
    parts.append((part, inside))
  return parts


def _answer(
  source: str, tokenizer: Tokenizer, talk: Messages, i: int, whole: str, special: re.Pattern[str]
) -> tuple[int, int]:
  """Where answer i lies in the whole conversation, from the prompt's end to its end token's."""
  prompt = chat_template.render(source, talk[:i], tokenizer, open_answer=True)
  alone = chat_template.render(source, talk[: i + 1], tokenizer, open_answer=False)
  text = whole.index(_hole(i)) + len(_hole(i))
  end = special.search(whole, text)
  following = _HOLE.search(whole, text)
  if end is None or (following and following.start() < end.start()):
    raise UserError(
      "the model's chat_template ends an answer with no special token: it never stops"
    )
  if not whole.startswith(prompt) or not alone.startswith(whole[: end.end()]):
    raise UserError(
      "the model's chat_template writes an answer otherwise once others follow, so that answers "
      "cannot be found in it; use one of " + ", ".join(TEMPLATES)
    )
  return len(prompt), end.end()


def own_template(source: str, tokenizer: Tokenizer) -> OwnTemplate:
  """The template as `Renderer` takes it.

  Raises: UserError for one whose answers cannot be found, or that lacks Jinja's form.
  """
  if not source:
    raise UserError(
      f"{tokenizer.path.parent}: has no chat_template; template {MODEL!r} needs one in "
      "tokenizer_config.json or chat_template.jinja"
    )
  _structure(source, tokenizer, ("user", "assistant") * 2, False)
  parts = _structure(source, tokenizer, ("user", "assistant"), False)
  first = next(i for i, (_, learned) in enumerate(parts) if learned)
  at = next(i for i, (part, _) in enumerate(parts) if part == 1 and isinstance(part, int))
  end = tuple(part for part, learned in parts[at + 1 :] if learned and not isinstance(part, int))
  template = OwnTemplate(
    MODEL,
    user=(),
    assistant=(),
    end=end,
    start=(),
    source=source,
    opening="".join(p for p, _ in parts[first:at] if isinstance(p, str)),
    strip=_strips(source, tokenizer),
    behind="special" if first and isinstance(parts[first - 1][0], Special) else "text",
  )
  _check_tokens(template, tokenizer)
  return template


def _strips(source: str, tokenizer: Tokenizer) -> bool:
  """Whether it leaves out white space around an answer."""
  talk = (Message("user", "?"), Message("assistant", f"  {_hole(1)}  "))
  return f"  {_hole(1)}  " not in chat_template.render(source, talk, tokenizer, open_answer=False)


def _check_tokens(template: OwnTemplate, tokenizer: Tokenizer) -> None:
  """Refuses a tokenizer.json that, given the whole text, cuts otherwise than stretch by stretch."""
  if not isinstance(tokenizer.pieces, JsonPieces):
    return
  renderer, talk = Renderer(template, tokenizer), (Message("user", "Hi, you?"),)
  answer = (Message("assistant", "Well: so."), Message("user", "2 things")) * 2
  for messages in (talk, talk + answer):
    text = chat_template.render(template.source, messages, tokenizer, open_answer=True)
    if tokenizer.pieces.with_special(text) != renderer.encode_prompt(messages):
      raise UserError(
        f"{tokenizer.path}: the model's chat_template is cut otherwise as a whole than turn by "
        "turn; use one of " + ", ".join(TEMPLATES)
      )


@dataclasses.dataclass(frozen=True)
class Recognised:
  """Which of our templates a model's own is."""

  name: str
  system: str  # what opens its conversations without a system turn
  exact: bool  # whether it gives the same tokens, too


def recognise(source: str, tokenizer: Tokenizer) -> Recognised | None:
  """The template of ours that writes what the model's own does, or None."""
  asked = (_talk("user"), _talk("user", "assistant", "user"))
  with_system = _talk("system", "user", "assistant", "user")
  theirs = chat_template.texts(source, (*asked, with_system), tokenizer)
  if theirs[0] is None or theirs[1] is None:
    return None
  for template in TEMPLATES.values():
    if not all(name in tokenizer.marks for name in template.specials()):
      continue
    ours = functools.partial(_ours, template, tokenizer)
    system = _system_text(_same(theirs[0], tokenizer), ours(asked[0], _hole(9)), ours(asked[0], ""))
    if system is None or _same(theirs[1], tokenizer) != ours(asked[1], system):
      continue
    third = theirs[2]
    if third and _hole(0) in third and _same(third, tokenizer) != ours(with_system, ""):
      continue
    return Recognised(template.name, system, _gives_its_tokens(template, source, tokenizer, system))
  return None


def _ours(template: Template, tokenizer: Tokenizer, talk: Messages, system: str) -> str:
  plain = dataclasses.replace(template, default_system="")
  source = chat_template.jinja_of(plain, tokenizer, system)
  return _same(chat_template.render(source, talk, tokenizer, open_answer=True), tokenizer)


def _same(text: str, tokenizer: Tokenizer) -> str:
  """Without what our tokens may differ in: BOS at the start, blanks beside an answer."""
  if tokenizer.bos_id is not None:
    text = text.removeprefix(tokenizer.name(tokenizer.bos_id))
  return re.sub(f" *({_hole(1)}) *", r"\1", text)


def _system_text(theirs: str, with_system: str, without: str) -> str | None:
  """The system text that makes ours theirs; "" for none, None where there is no such text."""
  if theirs == without:
    return ""
  before, hole, behind = with_system.partition(_hole(9))
  fits = hole and theirs.startswith(before) and theirs.endswith(behind)
  text = theirs[len(before) : len(theirs) - len(behind)] if fits else ""
  return text if text and not _HOLE.search(text) else None


def _gives_its_tokens(template: Template, source: str, tokenizer: Tokenizer, system: str) -> bool:
  talk = (
    Message("user", "Hi, you?"),
    Message("assistant", "Well: so."),
    Message("user", "Two\nlines"),
  )
  try:
    own = Renderer(own_template(source, tokenizer), tokenizer).encode_prompt(talk)
  except UserError:
    return False
  return own == Renderer(template, tokenizer, system).encode_prompt(talk)
