"""Situations that other people met with data and with models' files, tried on folders of them.

A check gets (its case's folder, the folder of a model), and gives (what came out, whether that is
as its README expects).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.checkpoint import hf_config, huggingface
from xwinjax.core.errors import UserError
from xwinjax.data import formats, items
from xwinjax.data import read as sets
from xwinjax.data.records import UNUSED, Counts
from xwinjax.data.templates import Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.judge.parse import read_score
from xwinjax.stages import add_tokens, common
from xwinjax.stages.manifest import fingerprint
from xwinjax.stages.stage import Context

EXAMPLES, PAIRS, PROMPTS = formats.read_examples, formats.read_pairs, formats.read_prompts
Found = tuple[str, bool]


def read(reader: Callable, path: Path | str, **more: Any) -> tuple[list[Any], dict[str, int]]:
  """(records, what was counted beside rows and unused columns)."""
  counts = Counts()
  records = list(reader(path, counts=counts, **more))
  return records, {k: n for k, n in counts.items() if k != "read" and not k.startswith(UNUSED)}


def refusal(make: Callable[[], Any]) -> str:
  """The line that refuses, or "" where nothing does."""
  try:
    make()
  except UserError as e:
    return str(e)
  return ""


def raw(path: Path) -> list[dict[str, Any]]:
  return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def renderer(folder: Path, name: str = "vicuna") -> Renderer:
  return Renderer(get_template(name), Tokenizer.load(folder))


def shown(counts: dict[str, int]) -> str:
  return ", ".join(f"{k} {n}" for k, n in counts.items())


def leftovers(folder: Path, model: Path) -> Found:
  kinds = sorted(p for p in folder.iterdir() if p.is_dir())
  said = [huggingface.open_folder(p).described.said for p in kinds]
  return f"{len(said)} load; " + "; ".join(s[0].split(": ", 1)[1] for s in said if s), all(said)


def dolly(folder: Path, model: Path) -> Found:
  rows = raw(folder / "dolly.jsonl")
  records, counts = read(EXAMPLES, folder / "dolly.jsonl")
  asked, _ = read(PROMPTS, folder / "dolly.jsonl")
  good = len(records) == len(asked) == len(rows)
  for row, example, prompt in zip(rows, records, asked, strict=False):
    question = "\n".join(filter(None, (row["instruction"], row["context"])))
    good &= [m.content for m in example.messages] == [question, row["response"]]
    good &= [m.content for m in prompt.messages] == [question]
  return f"{shown(counts)}; as prompts {len(asked)}", good


def duplicate_ids(folder: Path, model: Path) -> Found:
  ids = [p.id for p in sets.prompts(folder / "prompts.jsonl")]
  pairs, _ = sets.pairs(folder / "pairs.jsonl")
  asked = {p.prompt[-1].content for p in pairs}
  good = len(ids) == len(set(ids)) == len(pairs) == len(asked) == 8
  return f"{len(ids)} prompts, {len(set(ids))} ids; {len(pairs)} pairs", good


def hh_in_prompt(folder: Path, model: Path) -> Found:
  pairs, counts = read(PAIRS, folder / "rm_static.jsonl")
  text = " ".join(m.content for p in pairs for m in p.prompt)
  return shown(counts), len(pairs) == 8 and "Human:" not in text and "Assistant:" not in text


def hh_odd(folder: Path, model: Path) -> Found:
  """Two turns merged, a name in a line and Windows' line ends are read; four others are dropped."""
  said, good = [], True
  for name in ("hh.jsonl", "hh_one_turn.jsonl"):
    pairs, counts = read(PAIRS, folder / name)
    said.append(shown(counts))
    rows = raw(folder / name)
    good &= len(rows) == len(pairs) + sum(n for k, n in counts.items() if k.startswith("dropped"))
    good &= len(pairs) == sum(map(_usable, rows))
    texts = [text for p in pairs for text in (p.chosen, p.rejected, p.prompt[-1].content)]
    good &= not any("\r" in t or t.startswith(("Human:", "Assistant:")) for t in texts)
  return "; ".join(said), good


def _usable(row: dict[str, Any]) -> bool:
  """Whether two transcripts open with a human, end with an answer, and are the same up to it."""
  chosen, rejected = (row[k].replace("\r\n", "\n") for k in ("chosen", "rejected"))
  asked = [text.rpartition("\n\nAssistant:") for text in (chosen, rejected)]
  opened = all(text.startswith("\n\nHuman:") and answer.strip() for text, _, answer in asked)
  return opened and asked[0][0] == asked[1][0]


def hub_cache(folder: Path, model: Path) -> Found:
  (snapshot,) = (folder / "models--me--tiny" / "snapshots").iterdir()
  huggingface.open_folder(snapshot)
  with tempfile.TemporaryDirectory() as place:
    copy = shutil.copytree(snapshot, Path(place) / "copy")  # files in place of links
    same = fingerprint(copy) == fingerprint(snapshot)
  return f"loads; identity {fingerprint(snapshot)[:8]}, {'' if same else 'not '}its copy's", same


def judge_replies(folder: Path, model: Path) -> Found:
  rows = raw(folder / "replies.jsonl")
  got = [read_score(row["text"]).score for row in rows]
  wrong = sum(g is not None and g != row["score"] for g, row in zip(got, rows, strict=True))
  lost = sum(g is None and row["score"] is not None for g, row in zip(got, rows, strict=True))
  return f"{len(rows)} replies: {wrong} wrong, {lost} lost", not wrong


def pad_beyond(folder: Path, model: Path) -> Found:
  kind = folder / "model"
  rows = hf_config.read(kind).llama.vocab_size
  said = refusal(lambda: common.open_tokenizer(kind, common.ModelConfig(), rows))
  needed = refusal(lambda: common.open_tokenizer(kind, common.ModelConfig(template="lima"), rows))
  return said or f"loads; what is needed is not: {needed}", not said and bool(needed)


def shards(folder: Path, model: Path) -> Found:
  data = folder / "data"
  records, counts = read(EXAMPLES, data)
  files = sorted(data.glob("*.parquet"))
  parts = [read(EXAMPLES, file)[0] for file in files]
  pattern, _ = read(EXAMPLES, f"{data}/train-*.parquet")
  talks = lambda found: [e.messages for e in found]
  good = talks(records) == talks(pattern) == talks(e for part in parts for e in part)
  return f"{shown(counts)}; shards {[len(p) for p in parts]}", good and all(parts)


def special_text(folder: Path, model: Path) -> Found:
  records, _ = read(EXAMPLES, folder / "sft.jsonl")
  r = renderer(model)
  ids = [r.encode(e.messages).ids for e in records]
  answers = [sum(m.role == "assistant" for m in e.messages) for e in records]
  counted = lambda token: [i.count(token) for i in ids]
  bos, eos = counted(r.tokenizer.bos_id), counted(r.tokenizer.eos_id)
  return f"BOS {bos}, EOS {eos} of answers {answers}", set(bos) == {1} and eos == answers


def system_column(folder: Path, model: Path) -> Found:
  files = ((EXAMPLES, "alpaca.json"), (EXAMPLES, "sharegpt.json"), (PAIRS, "pairs.jsonl"))
  made = [read(reader, folder / name)[0] for reader, name in files]
  turns = lambda e: e.prompt if hasattr(e, "prompt") else e.messages
  first = [turns(e)[0].role for es in made for e in es]
  return f"{first.count('system')} of {len(first)} open with it", set(first) == {"system"}


def declared_tokens(folder: Path, model: Path) -> Found:
  """The template's tokens are the declared ones; a new one comes after them, their rows stay."""
  source = folder / "model"
  ids = renderer(source, "chatml").tokenizer.added
  with tempfile.TemporaryDirectory() as place:
    inputs, config = {"model": source}, add_tokens.AddTokensConfig()
    made = add_tokens.STAGE.run(Context(), Path(place), config, inputs)["added"]
    loaded = [huggingface.load(p)[1] for p in (source, Path(place) / "model")]
    old, new = (np.asarray(params["embed"]["embedding"]) for params in loaded)
  known = [ids[n] for n in ("<|im_start|>", "<|im_end|>")]
  same = bool((new[: len(old)] == old).all())
  rows = f"{len(old)} old rows {'as they were' if same else 'CHANGED'}"
  return f"ids {known}, then {made}; {rows}", [*known, *made.values()] == [513, 514, 515] and same


def tools(folder: Path, model: Path) -> Found:
  said = []
  for path in sorted(folder.glob("*.jsonl")):
    kept, counts = read(EXAMPLES, path, bad_rows="skip")
    said.append(f"{path.stem} {shown(counts)}")
    if len(kept) < 8 or "\n" in refusal(lambda path=path: read(EXAMPLES, path)):
      return said[-1], False
  return "; ".join(said), True


def turn_weights(folder: Path, model: Path) -> Found:
  """Marked answers carry no loss: what is learned is the last answer and its end."""
  right, r = [], renderer(model)
  for path in sorted(folder.glob("*.jsonl")):
    for example in read(EXAMPLES, path)[0]:
      made = items.tokenize_examples([example], r, 512)
      learned = r.tokenizer.decode(made.tokens[made.mask == 1].tolist())
      right.append(learned.strip() == example.messages[-1].content.strip())
  return f"{sum(right)} of {len(right)} rows learn from the good answer alone", all(right)


def ultrafeedback(folder: Path, model: Path) -> Found:
  rows, said, good = raw(folder / "train_prefs.jsonl"), [], True
  for path in sorted(folder.glob("train*")):
    pairs, _ = read(PAIRS, path)
    said.append(len(pairs))
    good &= len(pairs) == len(rows)
    for row, pair in zip(rows, pairs, strict=False):
      asked = [(m["role"], m["content"]) for m in row["chosen"][:-1]]
      good &= [(m.role, m.content) for m in pair.prompt] == asked
      good &= pair.chosen == row["chosen"][-1]["content"]
      good &= pair.rejected == row["rejected"][-1]["content"]
  return f"{said} pairs, as their rows have them", good


def lost_blanks(folder: Path, model: Path) -> Found:
  records, _ = read(EXAMPLES, folder / "code.jsonl")
  made = items.tokenize_examples(records, renderer(folder / "model"), 2048)
  lost = {k: n for k, n in made.counts.items() if items.LOST in k}
  return shown(lost), bool(lost)


def wrapped(folder: Path, model: Path) -> Found:
  rows = json.loads((folder / "data.json").read_text())
  records, counts = read(EXAMPLES, folder / "data.json")
  return shown(counts), len(records) == len(rows["data"])
