"""New rows for new tokens: a model folder copied with a larger embedding and head.

Only the files that hold the two matrices are read; the others are copied as they are, so that a
model of any size can be given a token without being loaded.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from safetensors import safe_open

from xwinjax.checkpoint import hf_config
from xwinjax.checkpoint.huggingface import save_tensors
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.model import parameters

GROWN = tuple(row.name() for row in parameters.TABLE if row.theirs.startswith("V "))
INDEX = "model.safetensors.index.json"


def with_rows(weight_VD: np.ndarray, used: int, size: int) -> np.ndarray:
  """The matrix with `size` rows; row `used` and all behind it are the mean of those before.

  Source: LIMA (Zhou et al. 2023) adds a token without saying how its row begins. The mean gives it
  the logit of an average token, so that it neither swamps nor is swamped (Hewitt 2021).
  """
  known = weight_VD[:used]
  mean = known.astype(np.float64).mean(0).astype(weight_VD.dtype)
  return np.concatenate([known, np.broadcast_to(mean, (size - used, len(mean)))])


def add_rows(source: Path, target: Path, used: int, size: int) -> None:
  """Copies the weights and config of `source` to `target`, with `size` rows of vocabulary.

  Args:
    used: rows that tokens have; those behind it (padding of published models) are free.
    size: rows to have, at least as many as there are.

  Raises: UserError for a folder without safetensors, or with more rows than `size`.
  """
  described = hf_config.read(source)
  config = described.llama
  if not used < size or size < config.vocab_size:
    raise UserError(
      f"{source}: has {config.vocab_size} embedding rows, {used} of them used; cannot have {size}"
    )
  target.mkdir(parents=True, exist_ok=True)
  files = sorted(source.glob("*.safetensors"))
  if not files:
    raise UserError(f"{source}: no *.safetensors file")
  more = 0
  for file in files:
    with safe_open(file, framework="np") as weights:
      names = list(weights.keys())
      if not set(names) & set(GROWN):
        shutil.copyfile(file, target / file.name)
        continue
      tensors = {name: weights.get_tensor(name) for name in names}
    for name in set(names) & set(GROWN):
      before = tensors[name].nbytes
      tensors[name] = with_rows(tensors[name], used, size)
      more += tensors[name].nbytes - before
    save_tensors(tensors, target / file.name)
    (target / "config.json").touch()
    shutil.copymode(target / "config.json", target / file.name)  # not its owner's alone
  if (source / INDEX).exists():
    index = hf_config.read_json(source / INDEX)
    total = index.get("metadata", {}).get("total_size")
    if isinstance(total, int):
      index["metadata"]["total_size"] = total + more
    jsonl.write_json(target / INDEX, index)
  jsonl.write_json(target / "config.json", {**described.fields, "vocab_size": size})


def set_ends(
  folder: Path, bos_id: int | None, eos_ids: tuple[int, ...], pad_id: int | None = None
) -> None:
  """Writes the tokens that end an answer into config.json and generation_config.json."""
  ends = eos_ids[0] if len(eos_ids) == 1 else list(eos_ids)
  for name in ("config.json", "generation_config.json"):
    fields = hf_config.read_json(folder / name) if (folder / name).exists() else {}
    fields |= {"bos_token_id": bos_id, "eos_token_id": ends}
    fields |= {} if pad_id is None else {"pad_token_id": pad_id}
    jsonl.write_json(folder / name, fields)
