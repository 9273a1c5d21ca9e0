"""The peer's side: its script in its Python, with the settings that are tried for each row."""

from __future__ import annotations

import dataclasses
import glob
import os
from pathlib import Path
from typing import Any

from benchmark.spoken import Spoken
from benchmark.work import Work
from xwinjax.core import host
from xwinjax.core.errors import UserError

TCMALLOC = "/usr/lib/*/libtcmalloc_minimal.so*"
GROUPED = ("--group-by-length",)


@dataclasses.dataclass(frozen=True)
class Setting:
  """How the peer is run for a row, and which of its figures counts."""

  name: str
  stage: str
  flags: tuple[str, ...]
  field: str
  steps: int  # timed
  warmup: int = 3


def pair_steps(steps: int) -> int:
  """Pairs take longer than conversations, and their reference pass goes over four times as many."""
  return max(steps * 3 // 8, 4)


def settings_of(row: str, steps: int, *, compiled: bool) -> list[Setting]:
  """What an experienced user would try for a row."""
  dtypes: tuple[tuple[str, tuple[str, ...]], ...] = (("f32", ()), ("bf16", ("--bf16",)))
  if row == "train_sft":
    settings = [
      Setting(f"{d}, grouped", "sft", (*f, *GROUPED), "target_tok_per_s", steps) for d, f in dtypes
    ]
    if compiled:
      flags = ("--bf16", *GROUPED, "--compile", "--pad-to", "64")
      settings.append(
        Setting("bf16, grouped, compiled", "sft", flags, "target_tok_per_s", steps, 23)
      )
    return settings
  pairs = pair_steps(steps)
  if row == "train_reward":
    return [Setting(f"{d}, grouped", "rm", (*f, *GROUPED), "pairs_per_s", pairs) for d, f in dtypes]
  if row == "train_dpo":
    live = [
      Setting(f"{d}, grouped, live", "dpo", (*f, *GROUPED), "pairs_per_s", pairs) for d, f in dtypes
    ]
    return live + [
      dataclasses.replace(s, field="pairs_per_s_with_precompute")
      for s in settings_of("train_dpo_cached", steps, compiled=False)
    ]
  if row == "train_dpo_cached":
    return [
      Setting(
        f"{d}, grouped, precomputed",
        "dpo",
        (*f, *GROUPED, "--precompute-ref"),
        "pairs_per_s",
        pairs,
      )
      for d, f in dtypes
    ]
  if row in ("sample_64", "sample_1"):
    return [
      Setting(d, "generate", (*f, "--ignore-eos"), f"b{row[7:]}_tok_per_s", 0) for d, f in dtypes
    ]
  return []


def stock_of(row: str, steps: int) -> Setting | None:
  """What a user has who changes nothing: bf16 and batches in random order."""
  stage, field, n = {
    "train_sft": ("sft", "target_tok_per_s", steps),
    "train_reward": ("rm", "pairs_per_s", pair_steps(steps)),
    "train_dpo": ("dpo", "pairs_per_s", pair_steps(steps)),
  }.get(row, ("", "", 0))
  return Setting("bf16, not grouped", stage, ("--bf16",), field, n) if stage else None


class Peer:
  """A running peer. Jobs that would do the same work within one round are run once."""

  def __init__(self, python: str, script: Path, work: Work, batch: int):
    driver = Path(__file__).with_name("peer_driver.py")
    if not script.is_file():
      raise UserError(f"--peer_script {script}: no such file")
    inductor = host.cache_folder() / "peer-inductor"
    environment = surroundings(TORCHINDUCTOR_CACHE_DIR=str(inductor))
    self.work, self.batch = work, batch
    self.process = Spoken("the peer", "--peer", [python, str(driver), str(script)], environment)
    self.done: dict[tuple, dict[str, Any]] = {}

  def run(self, setting: Setting, round: int = 0) -> dict[str, Any]:
    """The script's result, with `value`, the figure of the setting's field."""
    chunk = setting.steps * self.batch
    steps = setting.steps + setting.warmup
    key = (setting.stage, setting.flags, steps, round)
    if key not in self.done:
      data = self.work.sft if setting.stage in ("sft", "generate") else self.work.pairs
      argv = [
        setting.stage,
        "--model",
        str(self.work.model),
        "--data",
        str(data),
        "--max-length",
        str(self.work.max_length),
        *setting.flags,
      ]
      if setting.stage != "generate":
        argv += [
          "--batch",
          str(self.batch),
          "--steps",
          str(steps),
          "--warmup",
          str(setting.warmup),
          "--rows",
          str(rows_for(chunk)),
        ]
      self.done[key] = self.job(argv)
    return {**self.done[key], "value": self.done[key][setting.field]}

  def curve(self, stage: str, steps: int, rate: float) -> dict[str, Any]:
    """Losses over the rows in the file's order, in f32."""
    data = self.work.sft if stage == "sft" else self.work.pairs
    argv = [
      stage,
      "--model",
      str(self.work.model),
      "--data",
      str(data),
      "--batch",
      str(self.batch),
      "--max-length",
      str(self.work.max_length),
      "--steps",
      str(steps),
      "--warmup",
      "1",
      "--rows",
      str(steps * self.batch),
      "--lr",
      str(rate),
    ]
    return self.job(argv, in_order=True)["all_steps"]

  def job(self, argv: list[str], *, in_order: bool = False) -> dict[str, Any]:
    return self.process.ask({"argv": argv, "in_order": in_order})

  def close(self) -> None:
    self.process.close()


def surroundings(**more: str) -> dict[str, str]:
  """The environment of a process of another Python: its own packages, tcmalloc where there is."""
  environment = {**os.environ, **more}
  environment.pop("PYTHONPATH", None)
  libraries = sorted(glob.glob(TCMALLOC))
  return environment | ({"LD_PRELOAD": libraries[0]} if libraries else {})


def rows_for(chunk: int) -> int:
  """transformers sorts chunks of min(rows / (4 · batch), 50) batches from long to short; a run
  that times one whole chunk needs four times its rows, or long rows would count too much."""
  return 4 * chunk
