"""One meaning written in every format that can hold it, and rows broken without changing meaning.

Texts carry their role: questions hold tokens like q#1#, answers a#1#, worse ones r#1#, system texts
s#1#. So whoever reads a row can be checked without reading it a second time.
"""

import copy
import dataclasses
import json
import random
import re

from hypothesis import strategies as st

from xwinjax.data.records import Message
from xwinjax.data.turns import is_transcript

TOKEN = re.compile(r"[qars]#\d+#")
ROLE_OF = {"q": "user", "a": "assistant", "r": "assistant", "s": "system"}


@dataclasses.dataclass(frozen=True)
class Meaning:
  """A conversation that ends with an answer, and a worse answer in its place."""

  system: str
  turns: tuple[tuple[str, str, bool], ...]  # question, answer, whether it is trained on
  rejected: str
  context: str  # belongs to the last question

  def messages(self) -> tuple[Message, ...]:
    said = [Message("system", self.system)] if self.system else []
    for i, (question, answer, train) in enumerate(self.turns, 1):
      if i == len(self.turns) and self.context:
        question = f"{question}\n{self.context}"
      said += [Message("user", question), Message("assistant", answer, train)]
    return tuple(said)

  def prompt(self) -> tuple[Message, ...]:
    return tuple(Message(m.role, m.content) for m in self.messages()[:-1])


def texts(kind: str) -> st.SearchStrategy[str]:
  around = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
  return st.builds(lambda a, b, n: f"{a}{kind}#{n}#{b}", around, around, st.integers(0, 10**6))


@st.composite
def meanings(draw, marked: bool = True) -> Meaning:
  question, answer, system = (texts(kind) for kind in "qas")
  n = draw(st.integers(1, 3))
  flags = [draw(st.booleans()) if marked else True for _ in range(n - 1)] + [True]
  turns = tuple((draw(question), draw(answer), on) for on in flags)
  return Meaning(
    draw(st.one_of(st.just(""), system)),
    turns,
    draw(texts("r")),
    draw(st.one_of(st.just(""), question)),
  )


def _chat(messages, names=("role", "content")) -> list[dict]:
  speakers = {"user": "human", "assistant": "gpt"} if names[0] == "from" else {}
  mark = {"weight": 0} if names[0] == "role" else {"train": False}
  return [
    {names[0]: speakers.get(m.role, m.role), names[1]: m.content, **({} if m.train else mark)}
    for m in messages
  ]


def _transcript(messages) -> str | None:
  """None where a transcript would not give these turns back."""
  if any(m.role == "system" or not m.train for m in messages):
    return None
  lost = re.compile(r"\r|\n\n(Human|Assistant):")
  if any(m.content.strip() != m.content or lost.search(m.content) for m in messages):
    return None
  names = {"user": "Human", "assistant": "Assistant"}
  return "".join(f"\n\n{names[m.role]}: {m.content}" for m in messages)


def _tree(messages, *last: str) -> dict:
  """Replies below replies; `last` are those to the last message, the best of them first."""
  ranked = [{"role": "assistant", "text": t, "rank": i} for i, t in enumerate(last)]
  replies = [{**reply, "replies": []} for reply in reversed(ranked)]
  for m in reversed(messages):
    role = "prompter" if m.role == "user" else m.role
    replies = [{"role": role, "text": m.content, "replies": replies}]
  return replies[0]


def _question(m: Meaning, key: str, context: str) -> dict | None:
  """The columns that alpaca and its like share; None where a mark or a text is in their way."""
  if not all(train for *_, train in m.turns) or is_transcript(m.turns[-1][0]):
    return None
  system = {"system": m.system} if m.system else {}
  history = [list(turn[:2]) for turn in m.turns[:-1]]
  return {key: m.turns[-1][0], context: m.context, "history": history, **system}


def conversation_rows(m: Meaning) -> dict[str, dict]:
  """The formats that can hold a meaning, each with its row."""
  said, answer = m.messages(), m.turns[-1][1]
  single = said if not m.system else said[1:]
  rows = {
    "messages": {"messages": _chat(said)},
    "messages as JSON text": {"messages": json.dumps(_chat(said))},
    "messages of text parts": {
      "messages": [
        {**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in _chat(said)
      ]
    },
    "messages with nulls": {
      "messages": [{"name": None, "tool_calls": None, **turn} for turn in _chat(said)],
      "instruction": None,
      "chosen": None,
      "output": "",
    },
    "messages with a mask": {
      "messages": [{"role": t["role"], "content": t["content"]} for t in _chat(said)],
      "loss_mask": [int(x.train and x.role == "assistant") for x in said],
    },
    "sharegpt": {"conversations": _chat(said, ("from", "value"))},
    "sharegpt and a system column": {
      "conversations": _chat(single, ("from", "value")),
      "system": m.system,
    },
    "prompt of messages": {"prompt": _chat(said[:-1]), "completion": _chat(said[-1:])},
  }
  rows["speakers"] = {
    "dialog": [
      {"speaker": t["from"], "text": t["value"], **({"train": False} if "train" in t else {})}
      for t in _chat(said, ("from", "value"))
    ]
  }
  if all(x.train for x in said):
    exchanges = [
      {"input": q.content, "output": a.content}
      for q, a in zip(single[::2], single[1::2], strict=True)
    ]
    rows["exchanges"] = {"conversation": exchanges, "system": m.system}
    if not m.system:
      rows["lima"] = {"conversations": [x.content for x in said]}
    if len(single) == 2 and not is_transcript(single[0].content):
      rows["capitals"] = {"Instruction": single[0].content, "Response": answer, "System": m.system}
      rows["input and output"] = {"input": single[0].content, "output": answer, "system": m.system}
    if len(single) == 2 and not is_transcript(single[0].content):
      rows["self_instruct"] = {
        "instruction": m.turns[0][0],
        "instances": [{"input": m.context, "output": answer}],
        "system": m.system,
      }
  for name, key, context, out in (
    ("alpaca", "instruction", "input", "output"),
    ("dolly", "instruction", "context", "response"),
    ("prompt", "prompt", "input", "completion"),
    ("question", "question", "context", "answer"),
  ):
    row = _question(m, key, context)
    if row is not None:
      rows[name] = {**row, out: answer}
  if "alpaca" in rows:
    rows["alpaca_eval"] = {**rows["alpaca"], "generator": "g"}
  if all(x.train for x in said):
    rows["tree"] = {"prompt": _tree(single), "system": m.system}
  whole, asked = _transcript(said), _transcript(said[:-1])
  if whole is not None:
    rows["transcript"] = {"text": whole}
    rows["transcript of Windows"] = {"text": whole.replace("\n", "\r\n")}
    rows["hh_prompt"] = {"prompt": f"{asked}\n\nAssistant:", "response": f" {answer}"}
    if "\n" in "".join(x.content for x in said):
      del rows["transcript of Windows"]
  return rows


def prompt_rows(m: Meaning) -> dict[str, dict]:
  """The formats that hold questions alone, each with its row."""
  answers = [{"text": m.turns[-1][1]}, {"text": m.rejected}]
  rows = {"candidates": {"prompt": _chat(m.prompt()), "candidates": answers}}
  if len(m.turns) == 1:
    rows["mt_bench"] = {"question_id": 7, "turns": [m.prompt()[-1].content], "system": m.system}
  return rows


def pair_rows(m: Meaning) -> dict[str, dict]:
  """The formats that can hold a meaning's pair, each with its row."""
  prompt, chosen, rejected = m.prompt(), m.turns[-1][1], m.rejected
  both = [(*prompt, Message("assistant", text)) for text in (chosen, rejected)]
  answers = {"chosen": chosen, "rejected": rejected}
  turns = {k: [{"role": "assistant", "content": v}] for k, v in answers.items()}
  spoken = {k: {"from": "gpt", "value": v} for k, v in answers.items()}
  whole = {k: _chat(v) for k, v in zip(answers, both, strict=True)}
  rows = {
    "pairs of messages": {"prompt": _chat(prompt), **turns},
    "pairs of JSON text": {
      "prompt": json.dumps(_chat(prompt)),
      **{k: json.dumps(v) for k, v in turns.items()},
    },
    "implicit": whole,
    "implicit with scores": {**whole, "score_chosen": 0.5, "score_rejected": 0.5},
    "ultrafeedback": {"prompt": prompt[-1].content, **whole},
    "sharegpt_pairs": {"conversations": _chat(prompt, ("from", "value")), **spoken},
  }
  if is_transcript(prompt[-1].content):
    del rows["ultrafeedback"]
  else:
    rows["verdict of dialogues"] = {
      "conversation_a": whole["rejected"],
      "conversation_b": whole["chosen"],
      "winner": "model_b",
    }
    rows["verdict"] = {
      "prompt": _chat(prompt),
      "response_1": chosen,
      "response_2": rejected,
      "preference": 1,
    }
    rows["rated"] = {
      "prompt": _chat(prompt),
      "completions": [{"response": rejected, "rank": 2}, {"response": chosen, "rank": 1}],
    }
  if not any(map(is_transcript, answers.values())):
    for name, key, context in (
      ("alpaca_pairs", "instruction", "input"),
      ("pairs", "prompt", "context"),
      ("pairs by question", "question", "context"),
    ):
      row = _question(m, key, context)
      if row is not None:
        rows[name] = {**row, **answers}
      if row is not None and name == "alpaca_pairs":
        rows["listed"] = {**row, "output": [chosen, rejected]}
  rows["tree_pair"] = {
    "prompt": _tree([x for x in prompt if x.role != "system"], chosen, rejected),
    "system": m.system,
  }
  if _may_be_joined(prompt[-1].content, chosen, rejected) and len(m.turns) == 1:
    joined = {k: f"{prompt[-1].content} {v}" for k, v in answers.items()}
    rows["implicit_text"] = {**joined, "system": m.system}
  transcripts = [_transcript(messages) for messages in both]
  if None not in transcripts:
    rows["hh"] = dict(zip(answers, transcripts, strict=True))
    asked = f"{_transcript(prompt)}\n\nAssistant:"
    rows["rm_static"] = {"prompt": asked, **{k: f" {v}" for k, v in answers.items()}}
    rows["hh with its prompt"] = {"prompt": asked, **rows["hh"]}
  return rows


def _may_be_joined(question: str, chosen: str, rejected: str) -> bool:
  """Whether what two texts begin with is the question, and no more."""
  texts = (question, chosen, rejected)
  whole = all(t.strip() == t and not is_transcript(t) for t in texts)
  return whole and chosen[0] != rejected[0]


JUNK = (
  None, True, False, 0, -1, 10**400, 1.5, "", " ", "x" * 300, "[]", "{}", "[{]",
  "\n\nHuman: x\n\nAssistant: y", "Human: x", [], {}, [[]], [None], [{}], {"role": "user"},
  [1, "x"], {"x": {"y": []}}, [{"type": "image_url"}], [{"type": "text", "text": "x"}],
)  # fmt: skip
# What says which of two answers is better, or how good one is.
JUDGED = ("rank", "label", "preference", "winner")
COLUMNS = (
  "id", "source", "images", "tools", "weight", "label", "loss_mask", "system", "context", "history",
  "messages", "chosen", "prompt", "output", "margin", "meta", "score_chosen", "name", "tool_calls",
)  # fmt: skip


def places(value, path=()):
  """The paths of everything inside a row."""
  if isinstance(value, (dict, list)):
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
      yield (*path, key)
      yield from places(inner, (*path, key))


def broken(row: dict, rng: random.Random) -> dict:
  """The row with one to three things inside it deleted, replaced by junk, or added.

  What is left keeps its role: texts in a list without names of speakers are not touched, as their
  place is all that says who speaks.
  """
  row = copy.deepcopy(row)
  for _ in range(rng.choice((1, 1, 2, 3))):
    named = [(), *(p for p in places(row) if not _by_place(row, p))]
    *path, key = rng.choice(named) or ("",)
    holder = row
    for name in path:
      holder = holder[name]
    act = rng.choice(("delete", "replace", "replace", "add", "mark"))
    if act == "delete" and key != "":
      del holder[key]
    elif act == "replace" and key != "":
      holder[key] = copy.deepcopy(rng.choice(JUNK))
    elif act == "mark" and isinstance(holder, dict) and {"role", "from"} & holder.keys():
      holder[rng.choice(("weight", "train", "loss"))] = rng.choice((0, False, 1, True, 0.5, None))
    elif isinstance(holder, dict):
      holder.setdefault(rng.choice(COLUMNS), copy.deepcopy(rng.choice(JUNK)))
  return row


def _by_place(row, path) -> bool:
  """Whether a thing lies in a list of texts."""
  for name in path[:-1]:
    row = row[name]
    if isinstance(row, list) and any(isinstance(item, (str, list)) for item in row):
      return True
  return False
