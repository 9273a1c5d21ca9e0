"""Situations that other people met with runs: commands tried on folders of them.

A check gets (its case's folder, the folder of a model), and gives (what came out, whether that is
as its README expects).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from trials.field_reading import Found
from xwinjax.data import jsonl
from xwinjax.recipes import cli

TOOLS = Path(__file__).parents[1]
SHORT = {"train__epochs": 1, "train__batch__batch_size": 4, "train__batch__buckets": 1}
TALE = "Once upon a time"


@dataclasses.dataclass(frozen=True)
class Ran:
  """What became of a command."""

  status: int
  said: str
  folder: Path  # of the run

  @property
  def line(self) -> str:
    """The line that refuses, or the last one."""
    lines = self.said.strip().splitlines()
    return next((line for line in lines if line.startswith("error: ")), (lines or [""])[-1])

  def refused(self, *words: str) -> bool:
    """Whether it ended in one line that holds these words, and left no model."""
    one = self.said.count("error: ") == 1 and "Traceback" not in self.said
    told = all(word in self.line for word in words)
    return self.status == 2 and one and told and not (self.folder / "model").exists()


@contextlib.contextmanager
def ran(name: str, **fields: object) -> Iterator[Ran]:
  """A command of experiments/ with these fields of its config, a dot written as two underscores."""
  flags = [f"--config.{key.replace('__', '.')}={value}" for key, value in fields.items()]
  with tempfile.TemporaryDirectory() as place:
    folder = Path(place) / "run"
    run = importlib.import_module(f"experiments.{name}").command
    status, said = _said(lambda: run([f"--workdir={folder}", *flags]))
    yield Ran(status, said, folder)


def _said(run: Callable[[], int]) -> tuple[int, str]:
  text = io.StringIO()
  with contextlib.redirect_stderr(text), contextlib.redirect_stdout(text):
    status = run()
  return status, text.getvalue()


def _tool(name: str) -> ModuleType:
  loader = SourceFileLoader(f"tool_{name}", str(TOOLS / name))
  spec = spec_from_loader(loader.name, loader)
  assert spec is not None
  module = module_from_spec(spec)
  loader.exec_module(module)
  return module


def _generated(model: Path, *words: str) -> tuple[int, str, list[str]]:
  """(status, the first line, answers) of tools/generate on plain text."""
  module, out = _tool("generate"), io.StringIO()
  fixed = [str(model), "--template", "none", "--json"]
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as err:
    try:
      options = module.arguments([*fixed, *words])
      status = cli.guarded(lambda: module.main(options))
    except SystemExit as e:
      status = int(e.code or 0)
  rows = map(json.loads, out.getvalue().splitlines())
  answers = [c["text"] for row in rows for c in row["candidates"]]
  return status, (err.getvalue().strip().splitlines() or [""])[0], answers


def chat_template(folder: Path, model: Path) -> Found:
  """Its own is used and said; after training with another that one is exported."""
  source, data = folder / "model", folder / "sft.jsonl"
  old = json.loads((source / "tokenizer_config.json").read_text())["chat_template"]
  with ran("sft", model__path=source, data=data, **SHORT) as plain:
    told = next((line for line in plain.said.splitlines() if "chat_template" in line), "")
  with ran("sft", model__path=source, data=data, model__template="vicuna", **SHORT) as other:
    made = other.folder / "model"
    texts = [json.loads((made / "tokenizer_config.json").read_text())["chat_template"]]
    texts += [p.read_text() for p in made.glob("chat_template.jinja")]
  stale = sum(text == old or "[INST]" in text for text in texts)
  good = plain.status == other.status == 0 and "llama2" in told and not stale
  return f"{told.split(': ')[-1]}; {stale} stale of {len(texts)} exported", good


def nan_weights(folder: Path, model: Path) -> Found:
  start, sft, pairs = folder / "model", folder / "sft.jsonl", folder / "pairs.jsonl"
  with tempfile.TemporaryDirectory() as place:
    logps = jsonl.write_rows(Path(place) / "logps.jsonl", [{"key": "another model's"}])
    tried = {
      "sft": {"data": sft},
      "sft with held-out": {"data": sft, "heldout": sft},
      "reward": {"data": pairs},
      "reference": {"data": pairs},
      "dpo": {"data": pairs, "reference": logps},
      "sample": {"prompts": sft},
    }
    wrong, line = [], ""
    for name, fields in tried.items():
      with ran(name.split()[0], model__path=start, **fields) as made:
        line = made.line
        wrong += [f"{name}: {line}"] * (not made.refused("not finite"))
  return "; ".join(wrong) or f"{len(tried)} commands: {line}", not wrong


def odd_settings(folder: Path, model: Path) -> Found:
  sft = {"model__path": model, "data": folder / "sft.jsonl"}
  dpo = {"model__path": model, "data": folder / "pairs.jsonl", "reference": folder / "pairs.jsonl"}
  ask = {"model__path": model, "prompts": folder / "sft.jsonl"}
  tried = [
    *(("sft", sft, *s) for s in (("seed", -1), ("seed", 2**40), ("train__optim__lr", -1e-3))),
    ("sft", sft, "limit", -1),
    ("dpo", dpo, "beta", 0),
    ("dpo", dpo, "label_smoothing", 0.7),
    ("sample", ask, "generate__params__top_p", 0),
  ]
  wrong = []
  for name, fields, field, value in tried:
    with ran(name, **fields, **{field: value}) as made:
      wrong += [f"{field}={value}: {made.line}"] * (not made.refused(field.replace("__", ".")))
  words = ("--prompt", TALE, "--max_new", "24")
  greedy = [_generated(model, *words, *way)[2] for way in (("--greedy",), ("--temperature", "0"))]
  told = "is" if greedy[0] == greedy[1] else "is NOT"
  said = (
    f"{len(tried) - len(wrong)} of {len(tried)} refused in one line; temperature 0 {told} greedy"
  )
  return "; ".join([*wrong, said]), not wrong and greedy[0] == greedy[1] != [""]


def long_prompts(folder: Path, model: Path) -> Found:
  said, good = [], True
  for name, data in (("sft", "sft.jsonl"), ("reward", "pairs.jsonl")):
    fields = {"model__path": model, "data": folder / data, **SHORT}
    with ran(name, **fields, max_length=128) as made:
      losses = [row["loss"] for _, row in jsonl.read_rows(made.folder / "metrics.jsonl")]
      told = next((line for line in made.said.splitlines() if "kept 5" in line), "kept others")
      said.append(f"{name}: {told.split(': ', 1)[-1]}; {len(losses)} finite losses")
      good &= re.search(r"kept 5 · dropped: [^·]* 3\b", told) is not None and made.status == 0
      good &= bool(losses) and all(abs(x) < 100 for x in losses)
    with ran(name, **fields, max_length=8) as made:
      said.append(f"all too long: {made.line}")
      good &= made.refused()
  return "; ".join(said), good


def stop_strings(folder: Path, model: Path) -> Found:
  ends = {
    ("named Lily",): ", there was a little girl ",
    ("loved", "girl"): ", there was a little ",
    (" She",): "Lily.",
    ("irl named Lily. She loved to pl",): "little g",
  }
  wrong = []
  for stops, wanted in ends.items():
    words = [word for stop in stops for word in ("--stop", stop)]
    _, _, (text,) = _generated(model, "--prompt", TALE, "--greedy", "--max_new", "60", *words)
    wrong += [f"{stops}: {text!r}"] * (not text.endswith(wanted) or any(s in text for s in stops))
  status, line, _ = _generated(model, "--prompt", TALE, "--stop", "")
  data = {"model__path": model, "prompts": folder.parent / "dolly" / "dolly.jsonl"}
  with ran("sample", **data, generate__stop_strings="''") as made:
    refused = status == 2 and "--stop" in line and made.refused("stop_strings")
  return "; ".join(wrong) or f"{len(ends)} endings; {line}", refused and not wrong


def tiny_temperature(folder: Path, model: Path) -> Found:
  """Greedy text down to what is refused."""
  tales = (
    "Once",
    TALE,
    "Lily and Tom went",
    "The dog",
    "One day a bird",
    "Sara likes",
    "It was dark",
  )
  words = [word for tale in tales for word in ("--prompt", tale)] + ["--max_new", "48"]
  _, _, greedy = _generated(model, *words, "--greedy")
  same, refused = [], []
  for heat in ("0", "1e-5", "1e-6", "1e-7", "1e-8", "1e-9"):
    status, line, texts = _generated(model, *words, "--temperature", heat)
    if status == 2:
      refused.append(line)
    else:
      same.append(texts == greedy)
  told = f"{sum(same)} of {len(same)} greedy, {len(refused)} refused: {(refused or [''])[0]}"
  return told, all(same) and all("temperature" in line for line in refused) and len(greedy) == 7


def warmup(folder: Path, model: Path) -> Found:
  data = {"model__path": model, "data": folder / "sft.jsonl"}
  with ran("sft", **data, train__optim__warmup=100) as made:
    return made.line, made.refused("warmup")
