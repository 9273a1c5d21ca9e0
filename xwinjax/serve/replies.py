"""The bodies of answers, whole and in pieces."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from xwinjax.data.tokenizer import Tokenizer
from xwinjax.sample.run import Completion
from xwinjax.serve.protocol import Question

Scored = tuple[np.ndarray, ...]  # of a text: log-probs of its tokens, the best ones', their ids


@dataclasses.dataclass(frozen=True)
class Answer:
  """One choice: the prompt's ids, and what was written."""

  prompt: list[int]
  completion: Completion


def cut(text: str, stops: Sequence[str]) -> str:
  """A text up to the first stop string."""
  places = [text.index(stop) for stop in stops if stop in text]
  return text[: min(places)] if places else text


def settled_text(text: str, stops: Sequence[str]) -> str:
  """What of a text under way will stay: no half character, no beginning of a stop string.

  >>> settled_text("one two\\nUs", ("\\nUser",)), settled_text("caf\\ufffd", ())
  ('one two', 'caf')
  """
  text = text.rstrip("\ufffd")
  longest = 0
  for stop in stops:
    for n in range(min(len(stop) - 1, len(text)), 0, -1):
      if text.endswith(stop[:n]):
        longest = max(longest, n)
        break
  return text[: len(text) - longest]


def _reason(finish: str) -> str:
  return "length" if finish == "length" else "stop"


class Replies:
  """Bodies in the API's form, of one model."""

  def __init__(self, name: str, tokenizer: Tokenizer):
    self.name, self.tokenizer = name, tokenizer

  def _head(self, question: Question, piece: bool = False) -> dict[str, Any]:
    if question.chat:
      id, kind = "chatcmpl", "chat.completion" + ".chunk" * piece
    else:
      id, kind = "cmpl", "text_completion"
    head = {"object": kind, "created": int(time.time()), "model": self.name}
    return {"id": f"{id}-{secrets.token_hex(12)}", **head}

  def whole(
    self, question: Question, answers: Sequence[Answer], scored: Sequence[Scored] | None
  ) -> dict[str, Any]:
    choices = []
    for n, a in enumerate(answers):
      choice: dict[str, Any] = {"index": n, "finish_reason": _reason(a.completion.finish)}
      if question.chat:
        choice["message"] = {"role": "assistant", "content": a.completion.text, "refusal": None}
      else:
        prompt = self.tokenizer.decode(a.prompt) if question.echo else ""
        choice["text"] = prompt + a.completion.text
      choice["logprobs"] = None
      if scored is not None:
        told = _chat_logprobs if question.chat else _text_logprobs
        choice["logprobs"] = told(self, question, a, scored[n])
      choices.append(choice)
    read = sum(len(a.prompt) for a in answers)
    written = sum(len(a.completion.ids) for a in answers)
    return {**self._head(question), "choices": choices, "usage": _usage(read, written)}

  def stream(self, question: Question) -> Stream:
    return Stream(question, self._head(question, piece=True))

  def token(self, i: int) -> str:
    """A token's own text."""
    return self.tokenizer.decode([i], False) or self.tokenizer.piece(i)

  def best(self, ids: np.ndarray, logps: np.ndarray, most: int) -> dict[str, float]:
    """The most probable tokens by their texts; of two with one text the other is named by id."""
    found: dict[str, float] = {}
    for i, logp in zip(ids[:most].tolist(), logps[:most].tolist(), strict=True):
      text = self.token(i)
      found[f"token_id:{i}" if text in found else text] = logp
    return found


def _usage(read: int, written: int) -> dict[str, int]:
  return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _text_logprobs(r: Replies, question: Question, a: Answer, scored: Scored) -> dict[str, Any]:
  """Of the tokens told, in four lists; the first of a text has none."""
  own, best, ids = scored
  told, first = a.prompt + a.completion.ids, 0 if question.echo else len(a.prompt)
  texts = [r.token(i) for i in told]
  offsets = np.cumsum([0, *map(len, texts[first:])]).tolist()[:-1]
  most = question.logprobs or 0
  logps = [None, *own.tolist()]
  tops = [None, *(r.best(i, b, most) for i, b in zip(ids, best, strict=True))]
  return {
    "tokens": texts[first:],
    "token_logprobs": logps[first:],
    "top_logprobs": tops[first:] if most else None,
    "text_offset": offsets,
  }


def _chat_logprobs(r: Replies, question: Question, a: Answer, scored: Scored) -> dict[str, Any]:
  own, best, ids = scored
  about = lambda text, logp: {"token": text, "logprob": logp, "bytes": list(text.encode())}
  content = []
  for n, i in enumerate(a.completion.ids, len(a.prompt) - 1):
    top = r.best(ids[n], best[n], question.logprobs or 0)
    content.append(
      about(r.token(i), float(own[n])) | {"top_logprobs": [about(*x) for x in top.items()]}
    )
  return {"content": content, "refusal": None}


@dataclasses.dataclass(frozen=True)
class Stream:
  """The pieces of one stream; they share an id."""

  question: Question
  head: dict[str, Any]

  def _piece(self, n: int, content: dict[str, Any] | str, finish: str | None = None):
    choice = {"index": n, "finish_reason": finish, "logprobs": None}
    choice |= {"delta": content} if self.question.chat else {"text": content}
    return {**self.head, "choices": [choice]}

  def opening(self, n: int) -> dict[str, Any]:
    return self._piece(n, {"role": "assistant", "content": ""})

  def delta(self, n: int, text: str) -> dict[str, Any]:
    return self._piece(n, {"content": text} if self.question.chat else text)

  def end(self, n: int, finish: str) -> dict[str, Any]:
    return self._piece(n, {} if self.question.chat else "", _reason(finish))

  def usage(self, read: int, written: int) -> dict[str, Any]:
    return {**self.head, "choices": [], "usage": _usage(read, written)}
