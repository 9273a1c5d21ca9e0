"""Votes of people and judges: which of two answers is better, how useful one is, how it is graded.

Readers, chosen by a row's keys:

  xwinjax       rows of `experiments.annotate --export votes.jsonl`
  mt_bench      {"prompt", "model_a", "model_b", "judge", "label" or "winner", "turn"}: a vote a
                row; the Hub's files have "conversation_a" and "question_id" for the prompt
  fastchat      {"question_id", "model_1", "model_2", "g1_winner", "g2_winner", "judge", "turn"}: a
                judge in both orders; what does not hold in both is a tie
  pandalm       {"instruction", "input", "cmp_key", "annotator1", …}: a row with all its votes;
                0 is a tie, 1 and 2 the better response
  pandalm_judge {"idx", "pandalm_result" or "gpt_result"}: a judge of the same rows; "Tie" and
                "garbage" are ties, as in PandaLM's own compute_metrics.py
  faireval      {"question_id", "question", "review", "score": [a, b]}, with systems and judge in
                the file's name, review_A_B_JUDGE….json; people in review_A_B_human.txt, by line
  auto_j        {"prompt", "response 1", "response 2", "label"}: 0, 1, or 2 for a tie
  auto_j_judge  {"output": "… final decision is Response 1 …"}: a judge of the same rows in order
  alpaca_eval   {"instruction", "generator_1", "generator_2", "annotator", "preference"}: 1 to 2;
                win rates weigh what lies between

Rows that name a question by number alone take its text from any other file that has it. Malformed
rows end in one line naming file and line.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError
from xwinjax.core.extras import needs
from xwinjax.data import jsonl
from xwinjax.data.records import Counts
from xwinjax.eval.ballot import GRADES, LABELS, NAMES, Ballot, Row, Vote

_ANNOTATOR = re.compile(r"annotator\d+")
_RESULT = re.compile(r".+_result")
_REVIEW = re.compile(r"review_(?P<a>[^_]+)_(?P<b>[^_]+)_(?P<judge>.+?)\.(?:jsonl?|txt)(?:\.gz)?")
_DECISION = re.compile(r"final decision is (response [12]|tie)", re.IGNORECASE)
NO_VERDICT = "left out: a judge's reply without a verdict"
FIRST, SECOND = "response 1", "response 2"


def named(data: str, number: Any) -> str:
  """The prompt of a row that names it by number, until its text is known."""
  return f"{data} question {number}"


def _get(row: Row, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
  value = row.get(key, default)
  if not isinstance(value, kind) or isinstance(value, bool):
    content = "nothing" if key not in row else f"{value!r:.40}"
    raise ValueError(f"field {key!r}: found {content}")
  return value


def _label(value: Any, meaning: dict[Any, str]) -> str:
  if isinstance(value, bool) or not isinstance(value, (int, str)) or value not in meaning:
    raise ValueError(f"label {value!r:.40} is not one of {', '.join(map(str, meaning))}")
  return meaning[value]


def _xwinjax(row: Row, ballot: Ballot, where: str) -> list[Vote]:
  annotator = _get(row, "annotator", str)
  if "check" in row:
    ballot.checks.setdefault(annotator, []).append(bool(row["check"]))
    return []
  names = {"a": _get(row, "a", str), "b": _get(row, "b", str, "")}
  label = _label(row["label"], {x: x for x in LABELS}) if "label" in row else ""
  usefulness = {names[k]: _in(range(1, 7), v) for k, v in _get(row, "usefulness", dict, {}).items()}
  grades = {names[k]: [_in(GRADES, g) for g in v] for k, v in _get(row, "grades", dict, {}).items()}
  vote = Vote(
    _get(row, "prompt", str),
    annotator,
    **names,
    label=label,
    usefulness=usefulness,
    shown=_in(("", *NAMES), row.get("shown", "")),
    grades=grades,
    seconds=_get(row, "seconds", (int, float, type(None))),
  )
  for judge, scores in _get(row, "scores", dict, {}).items():
    if len(scores) == 2:
      better = "A" if scores[0] > scores[1] else "B" if scores[0] < scores[1] else "tie"
      ballot.judges.append(Vote(vote.prompt, judge, vote.a, vote.b, better))
  return [vote]


def _in(allowed: Sequence[Any], value: Any) -> Any:
  if isinstance(value, bool) or value not in allowed:
    raise ValueError(f"found {value!r:.40}, expected one of {', '.join(map(str, allowed))}")
  return value


def _judge(row: Row) -> str:
  judge = row.get("judge")
  if isinstance(judge, list):  # ["gpt-4", "pair-v2"]
    judge = judge[0] if judge else None
  return _get({"judge": judge}, "judge", str)


def _mt_bench(row: Row, ballot: Ballot, where: str) -> list[Vote]:
  choice = row["label"] if "label" in row else row.get("winner")
  label = _label(
    choice,
    {"A": "A", "B": "B", "tie": "tie", "model_a": "A", "model_b": "B", "tie (inconsistent)": "tie"},
  )
  prompt, number = row.get("prompt"), row.get("question_id")
  if prompt is None and row.get("conversation_a"):
    prompt = row["conversation_a"][0]["content"]
  if prompt is None:
    prompt = named("mt_bench", number)
  elif number is not None:
    ballot.known["mt_bench", str(number)] = (prompt,)
  names = _get(row, "model_a", str), _get(row, "model_b", str)
  prompt = _get({"prompt": prompt}, "prompt", str)
  return [Vote(prompt, _judge(row), *names, label, _get(row, "turn", int, 1))]


def _fastchat(row: Row, ballot: Ballot, where: str) -> list[Vote]:
  said = [row[key] for key in ("g1_winner", "g2_winner") if row.get(key) is not None]
  if "error" in said:
    ballot.counts[NO_VERDICT] += 1
    return []
  labels = {_label(x, {"model_1": "A", "model_2": "B", "tie": "tie"}) for x in said}
  label = labels.pop() if len(labels) == 1 else "tie"
  names = _get(row, "model_1", str), _get(row, "model_2", str)
  prompt = named("mt_bench", _get(row, "question_id", (int, str)))
  return [Vote(prompt, _judge(row), *names, label, _get(row, "turn", int, 1))]


def _pandalm(row: Row, ballot: Ballot, where: str) -> list[Vote]:
  prompt, extra = _get(row, "instruction", str), _get(row, "input", str, "")
  systems = _get(row, "cmp_key", str).split("_")
  if len(systems) != 2:
    raise ValueError(f"field 'cmp_key': found {row['cmp_key']!r:.60}, expected two names and one _")
  text = f"{prompt}\n{extra}" if extra.strip() else prompt
  if "idx" in row:
    ballot.known["pandalm", str(row["idx"])] = (text, *systems)
  return [
    Vote(text, name, *systems, label=_label(row[name], {0: "tie", 1: "A", 2: "B"}))
    for name in row
    if _ANNOTATOR.fullmatch(name)
  ]


def _pandalm_judge(row: Row, ballot: Ballot, where: str) -> list[Vote]:
  key = next(k for k in row if _RESULT.fullmatch(k))
  meaning = {0: "tie", 1: "A", 2: "B", "0": "tie", "1": "A", "2": "B"}
  value = row[key]
  if isinstance(value, str) and value.lower() in ("tie", "garbage"):
    ballot.counts["judges' garbage, a tie as in PandaLM's script"] += value.lower() == "garbage"
    value = 0
  prompt = named("pandalm", _get(row, "idx", (int, str)))
  # The systems' names stand in the people's file.
  return [Vote(prompt, key.removesuffix("_result"), FIRST, SECOND, _label(value, meaning))]


def _faireval(row: Row, ballot: Ballot, where: str) -> list[Vote]:
  name = Path(where.rpartition(":")[0]).name
  m = _REVIEW.fullmatch(name)
  if not m:
    raise ValueError(
      f"{name!r} does not say whose answers these are; expected review_A_B_JUDGE….json"
    )
  scores = _get(row, "score", list)
  if len(scores) != 2 or any(
    isinstance(x, bool) or not isinstance(x, (int, float)) for x in scores
  ):
    raise ValueError(f"field 'score': found {scores!r:.40}, expected two numbers")
  number = _get(row, "question_id", (int, str))
  ballot.known["faireval", str(number)] = (_get(row, "question", str),)
  better = "A" if scores[0] > scores[1] else "B" if scores[0] < scores[1] else "tie"
  return [Vote(row["question"], m["judge"], m["a"], m["b"], better)]


def _faireval_people(path: Path) -> Ballot:
  """A line for each question: the better system's name, or TIE."""
  m = _REVIEW.fullmatch(path.name)
  if not m:
    raise UserError(f"{path}: does not say whose answers these are; expected review_A_B_human.txt")
  plain = lambda name: re.sub(r"[^a-z0-9]", "", name.lower()).replace("chatgpt", "gpt35")
  meaning = {plain(m["a"]): "A", plain(m["b"]): "B", "tie": "tie"}
  found = Ballot()
  with jsonl.open_bytes(path) as file:
    words = file.read().decode("utf-8", "replace").splitlines()
  for number, word in enumerate((w.strip() for w in words), 1):
    if word:
      if plain(word) not in meaning:
        raise UserError(f"{path}:{number}: found {word!r:.40}, expected {m['a']}, {m['b']} or TIE")
      prompt = named("faireval", number)
      found.votes.append(Vote(prompt, m["judge"], m["a"], m["b"], meaning[plain(word)]))
  return found


def _auto_j(row: Row, ballot: Ballot, where: str) -> list[Vote]:
  text, number = _get(row, "prompt", str), where.rpartition(":")[2]
  # Several pairs of answers to one prompt are several items.
  if (text,) in ballot.known.values():
    text = f"{text} [{number}]"
  ballot.known["auto_j", number] = (text,)
  label = _label(row["label"], {0: "A", 1: "B", 2: "tie"})
  return [Vote(text, "people", FIRST, SECOND, label)]


def _auto_j_judge(row: Row, ballot: Ballot, where: str) -> list[Vote]:
  path, _, number = where.rpartition(":")
  said = _DECISION.findall(_get(row, "output", str))
  if not said:
    ballot.counts[NO_VERDICT] += 1
    return []
  label = {"1": "A", "2": "B"}.get(said[-1][-1], "tie")
  return [Vote(named("auto_j", number), Path(path).stem, FIRST, SECOND, label)]


def _alpaca_eval(row: Row, ballot: Ballot, where: str) -> list[Vote]:
  preference = row["preference"]
  if preference is None:
    ballot.counts[NO_VERDICT] += 1
    return []
  number = _get(row, "preference", (int, float))
  if not (number == 0 or 1 <= number <= 2):
    raise ValueError(f"field 'preference': found {number}, expected 1 to 2")
  label = "tie" if number in (0, 1.5) else "A" if number < 1.5 else "B"
  return [
    Vote(
      _get(row, "instruction", str),
      _get(row, "annotator", str),
      _get(row, "generator_1", str),
      _get(row, "generator_2", str),
      label,
      share=0.5 if number == 0 else 2 - number,
    )
  ]


_READERS: dict[str, Callable[[Row, Ballot, str], list[Vote]]] = {
  "pandalm": _pandalm,
  "pandalm_judge": _pandalm_judge,
  "mt_bench": _mt_bench,
  "fastchat": _fastchat,
  "faireval": _faireval,
  "auto_j": _auto_j,
  "auto_j_judge": _auto_j_judge,
  "alpaca_eval": _alpaca_eval,
  "xwinjax": _xwinjax,
}


_KEYS = {
  "fastchat": {"question_id", "model_1", "model_2", "g1_winner"},
  "faireval": {"question_id", "question", "score", "review"},
  "auto_j": {"prompt", "response 1", "response 2", "label"},
  "auto_j_judge": {"output"},
}


def detect(row: Row) -> str:
  """The format of a row, by its keys. Raises ValueError where none fits."""
  keys = row.keys()
  if "cmp_key" in keys and any(map(_ANNOTATOR.fullmatch, keys)):
    return "pandalm"
  if {"model_a", "model_b", "judge"} <= keys:
    return "mt_bench"
  if {"preference", "generator_1", "generator_2"} <= keys:
    return "alpaca_eval"
  if {"annotator", "a"} <= keys:
    return "xwinjax"
  if "idx" in keys and any(map(_RESULT.fullmatch, keys)):
    return "pandalm_judge"
  for kind, needed in _KEYS.items():
    if needed <= keys:
      return kind
  raise ValueError(f"no votes of a known format ({', '.join(_READERS)}); keys: {', '.join(keys)}")


def collect(
  rows: Iterable[tuple[str, Row]], judges: Sequence[str] = (), ballot: Ballot | None = None
) -> Ballot:
  """Adds (where, row) to a ballot; votes of the annotators named `judges` are kept apart.

  A pair of systems is told in the order in which it is first met. Where an annotator voted twice
  on an item, the first vote counts, and the others are counted as left out.
  """
  ballot = ballot or Ballot()
  read: list[Vote] = []
  for where, row in rows:
    ballot.counts["rows"] += 1
    try:
      read += _READERS[detect(row)](row, ballot, where)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as e:
      raise UserError(f"{where}: {e}") from None
  return add(ballot, read, judges)


def add(ballot: Ballot, read: Sequence[Vote], judges: Sequence[str]) -> Ballot:
  """Adds votes that were read; as `collect` tells of them."""
  texts = {named(*key): value for key, value in ballot.known.items()}
  votes = ballot.votes + [v for v in read if v.annotator not in judges]
  apart = ballot.judges + [v for v in read if v.annotator in judges]
  votes, apart = ([_identified(v, texts) for v in some] for some in (votes, apart))
  order: dict[frozenset[str], str] = {}
  ballot.votes = _once(votes, order, ballot.counts, "left out: second vote on an item")
  ballot.judges = _once(apart, order, Counts(), "")  # a score is told with each vote
  return ballot


def _identified(vote: Vote, texts: dict[str, tuple[str, ...]]) -> Vote:
  """A vote on a question that is named by number, with its text, and its systems' names."""
  if vote.prompt not in texts:
    return vote
  text, *systems = texts[vote.prompt]
  names = dict(zip(NAMES, systems, strict=True)) if systems else {}
  return dataclasses.replace(vote, prompt=text, **names)


def unknown(ballot: Ballot) -> str:
  """A line about votes whose systems no file names; empty where there are none."""
  lost = [v for v in ballot.votes + ballot.judges if v.prompt.startswith(named("pandalm", ""))]
  if not lost:
    return ""
  return (
    f"{len(lost)} votes of {lost[0].annotator} are on rows by number, such as {lost[0].prompt!r}; "
    "give the file of people's votes on them as well (testset-v1.json)"
  )


def _once(
  votes: Iterable[Vote], order: dict[frozenset[str], str], counts: Counts, reason: str
) -> list[Vote]:
  first_votes: dict[tuple, Vote] = {}
  for vote in votes:
    if vote.b and order.setdefault(frozenset((vote.a, vote.b)), vote.a) != vote.a:
      vote = vote.swapped()
    key = (vote.annotator, *vote.item)
    if key in first_votes:
      counts[reason] += 1
    first_votes.setdefault(key, vote)
  return list(first_votes.values())


def read(path: str | Path, judges: Sequence[str] = (), ballot: Ballot | None = None) -> Ballot:
  """The votes of a study's SQLite file, or of a .json or .jsonl file, perhaps .gz."""
  if Path(path).suffix == ".txt":
    ballot = ballot or Ballot()
    found = _faireval_people(Path(path)).votes
    ballot.counts["rows"] += len(found)
    return add(ballot, found, judges)
  with jsonl.open_bytes(Path(path)) as file:
    study = Path(path).suffix != ".gz" and file.read(16) == b"SQLite format 3\0"
  if study:
    with needs("annotate"):
      from xwinjax.annotate import export

    return collect(((str(path), row) for row in export.read(path)), judges, ballot)
  rows = ((f"{path}:{line}", row) for line, row in jsonl.read_rows(path))
  return collect(rows, judges, ballot)
