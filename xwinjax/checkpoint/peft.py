"""Adapters as a folder that PEFT loads: adapter_model.safetensors, adapter_config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from xwinjax.checkpoint.huggingface import save_tensors, to_theirs
from xwinjax.core import processes, system
from xwinjax.core.types import Params
from xwinjax.model import parameters
from xwinjax.model.config import LlamaConfig

PREFIX = "base_model.model."  # of PEFT's names
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def save(folder: Path, config: LlamaConfig, trained: Params, *, base: str) -> Path:
  """Writes adapters, and the reward head where there is one, in f32.

  Args:
    trained: what trains beside a frozen model; see `model.lora`.
    base: the folder of the model that they belong to, as adapter_config.json names it.
  """
  tensors: dict[str, np.ndarray] = {}
  targets: list[str] = []
  layers = trained["layers"]
  for target, rows in parameters.ADAPTERS.items():
    for row in rows:
      ours: Any = layers.get(row.path[1], {}).get(row.path[2])
      if ours is None:
        continue
      stacked = np.asarray(processes.gathered(ours), np.float32)
      for layer in range(config.num_layers):
        tensors[PREFIX + row.name(layer)] = to_theirs(row, config, stacked[layer])
      targets.append(target)
  head = "reward" in trained
  if head:
    row = parameters.BY_PATH["reward", "kernel"]
    kernel = np.asarray(processes.gathered(trained["reward"]["kernel"]), np.float32)
    tensors[PREFIX + row.name()] = to_theirs(row, config, kernel)
  if system.leads():
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(tensors, folder / WEIGHTS)
    fields = described(config, list(dict.fromkeys(targets)), base, head)
    (folder / CONFIG).write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
  return folder


def described(config: LlamaConfig, targets: list[str], base: str, head: bool) -> dict[str, Any]:
  """The fields of adapter_config.json."""
  return {
    "peft_type": "LORA",
    "task_type": "SEQ_CLS" if head else "CAUSAL_LM",
    "base_model_name_or_path": base,
    "r": config.lora_rank,
    "lora_alpha": config.lora_alpha,
    "lora_dropout": 0.0,
    "target_modules": targets,
    "modules_to_save": ["score"] if head else None,
    "bias": "none",
    "fan_in_fan_out": False,
    "use_rslora": False,
    "inference_mode": True,
  }
