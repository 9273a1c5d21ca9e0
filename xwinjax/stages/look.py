"""What a run says of its data and its memory before it begins: a few lines, in seconds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xwinjax.checkpoint import hf_config
from xwinjax.data import preflight
from xwinjax.data.preflight import Look, Settings
from xwinjax.data.templates import Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.model.config import LlamaConfig
from xwinjax.stages import common, memory
from xwinjax.stages.common import MeshConfig, ModelConfig

ROWS = 20_000  # that are read of data which its stage reads after the look
SAMPLE = 200_000  # characters of which tokens are made


@dataclasses.dataclass(frozen=True)
class Eye:
  """The model that will see the data: what cuts text, and its sizes."""

  renderer: Renderer
  llama: LlamaConfig
  opened: float = dataclasses.field(default_factory=time.perf_counter)  # when, in seconds

  def look(self, path: str | Path, settings: Settings, *, rows: int = ROWS) -> Look:
    return Look(
      path, settings.within(self.llama.max_length), self.renderer, rows=rows, sample=SAMPLE
    )


def open_eye(folder: Path, config: ModelConfig, *, adds: str = "") -> Eye:
  """Opens tokenizer, template and config.json of a model's folder, and no weights.

  Args:
    adds: a template whose tokens the run adds to the model, and which it then speaks.

  Raises: UserError for a folder whose parts do not fit.
  """
  llama = hf_config.read(folder).llama
  llama = llama.replace(**common.compute_dtype(config.dtype), remat=config.remat)
  tokenizer = Tokenizer.load(folder)
  if adds:
    template = get_template(adds)
    tokenizer = tokenizer.with_special(template.specials())
    return Eye(Renderer(template, tokenizer, config.system), llama)
  return Eye(common.make_renderer(folder, config, tokenizer, say=lambda _: None), llama)


def report(
  looks: Mapping[str, Look], eye: Eye, trained: Mapping[str, Any], mesh: MeshConfig
) -> list[str]:
  """What people are told.

  Args:
    looks: by name.
    trained: the configs of the stages that train on some of those.
  """
  said = [line for look in looks.values() for line in preflight.short(look)]
  seen = [look for look in looks.values() if not look.settings.heldout]
  for look in looks.values():
    line = preflight.overlap(look, seen)
    if look.settings.heldout and line.bad:
      said.append(f"  ! {line.text} ({look.path})")
  needs = {
    name: memory.training(
      eye.llama,
      stage.train.batch,
      max(looks[name].lengths),
      mesh,
      stage.train.optim.mu_dtype,
      stage.lora,
    )
    for name, stage in trained.items()
    if len(looks[name].lengths)
  }
  if needs:
    name = max(needs, key=lambda name: needs[name].total)
    text, bad = memory.told(needs[name], memory.device_bytes())
    said.append(f"{'  ! ' * bad}memory: {text}")
  took = time.perf_counter() - eye.opened
  return [*said, f"looked at for {took:.1f} s; --config.preflight=false leaves that out"]
