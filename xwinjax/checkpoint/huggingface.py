"""Hugging Face Llama folders in and out: config.json, safetensors, tokenizer files.

Weights are read straight into the layout of `model.llama`, layer by layer, and on a mesh only the
bytes of the parts that a process's devices hold. They are written layer by layer, too, each file by
one of the processes: no host needs room for more than a file's tensors beside its own share.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from xwinjax.checkpoint import hf_config
from xwinjax.core import processes, system
from xwinjax.core.errors import UserError
from xwinjax.core.types import Params
from xwinjax.model import parameters
from xwinjax.model.config import LlamaConfig

TOKENIZER_FILES = (
  "tokenizer.model",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
  "added_tokens.json",
  "special_tokens_map.json",
  "xwinjax.json",
  "template.json",
)
GENERATION = "generation_config.json"

_EMBED = parameters.BY_PATH["embed", "embedding"].name()
_HEAD = parameters.BY_PATH["head", "kernel"].name()
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # safetensors' names


Index = tuple[slice, ...]  # with a step of 1


def to_ours(
  row: parameters.Row,
  config: LlamaConfig,
  read: Callable[[Index], np.ndarray],
  index: Index | None = None,
) -> np.ndarray:
  """The part at `index` of one layer's parameter, in our shape.

  Args:
    read: gives the published tensor's part at an index of its own.
    index: None is all of it.
  """
  sizes = parameters.letters(config)
  whole = {letter: (0, sizes[letter]) for letter in row.dims}
  wanted = dict(whole)
  for letter, part in zip(row.dims, index or (), strict=False):
    wanted[letter] = part.indices(sizes[letter])[:2]
  theirs, order = [], _letters(row)
  for axis in row.theirs.split():
    # An axis of several letters is cut along its first, where that leaves it in one piece.
    first, rest = axis[0], axis[1:]
    each = math.prod(sizes[letter] for letter in rest)
    start, stop = wanted.get(first, (0, 1))
    theirs.append(slice(start * each, stop * each))
  read_of = {axis[0] for axis in row.theirs.split()}
  shape = [wanted[x][1] - wanted[x][0] if x in read_of else sizes[x] for x in order]
  ours = read(tuple(theirs)).reshape(shape).transpose([order.index(x) for x in row.dims])
  left = [slice(None) if x in read_of else slice(*wanted[x]) for x in row.dims]
  return ours[tuple(left)]


def to_theirs(row: parameters.Row, config: LlamaConfig, ours: np.ndarray) -> np.ndarray:
  """One layer's parameter in the published shape."""
  each = ours.transpose([row.dims.index(letter) for letter in _letters(row)])
  return np.ascontiguousarray(each.reshape(row.their_shape(config)))


def _letters(row: parameters.Row) -> str:
  return row.theirs.replace(" ", "").replace("1", "")


class _Weights:
  """The tensors of a folder by name, wherever they lie; nothing is read before it is asked for."""

  def __init__(self, folder: Path):
    self.folder = folder
    self.files = {}
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if single.exists():
      names = [single.name]
    elif index.exists():
      content = hf_config.read_json(index)
      weight_map = content.get("weight_map") if isinstance(content, dict) else None
      if not isinstance(weight_map, dict):
        raise UserError(f"{index}: no weight_map")
      names = sorted({str(name) for name in weight_map.values()})
      for name in names:
        if Path(name).name != name or name in (".", ".."):
          raise UserError(f"{index}: weight_map names {name!r}; only bare file names are read")
    else:
      raise UserError(f"{folder}: no model.safetensors and no model.safetensors.index.json")
    self.shapes: dict[str, tuple[int, ...]] = {}
    self.dtypes: dict[str, str] = {}
    self.where: dict[str, str] = {}
    for name in names:
      for tensor, shape, dtype in self._header(name):
        if dtype not in _DTYPES:
          raise UserError(f"{folder / name}: {tensor} is {dtype}; expected F32, F16 or BF16")
        self.shapes[tensor], self.where[tensor] = shape, name
        self.dtypes[tensor] = _DTYPES[dtype]

  def _header(self, name: str):
    path = self.folder / name
    try:
      self.files[name] = f = safe_open(path, framework="np")
      return [(k, tuple(f.get_slice(k).get_shape()), f.get_slice(k).get_dtype()) for k in f.keys()]  # noqa: SIM118
    except FileNotFoundError:
      raise UserError(f"{path}: no such file, though the index names it") from None
    except (SafetensorError, OSError) as e:
      raise UserError(f"{path}: not a whole safetensors file ({e}); copy it again") from None

  def dtype(self) -> str:
    """The dtype of most of the numbers."""
    sizes: dict[str, int] = {}
    for tensor, dtype in self.dtypes.items():
      sizes[dtype] = sizes.get(dtype, 0) + math.prod(self.shapes[tensor])
    return max(sizes, key=lambda dtype: sizes[dtype])

  def read(self, tensor: str, index: Index = ()) -> np.ndarray:
    """A tensor's part as f32. Raises UserError for one with a number that is not finite."""
    stored = self.files[self.where[tensor]].get_slice(tensor)
    values = stored[index or (slice(None),) * len(self.shapes[tensor])].astype(np.float32)
    # The ends alone: a NaN is both of them, and no mask as large as the tensor is made.
    if values.size and not np.isfinite([values.min(), values.max()]).all():
      wrong = int(np.count_nonzero(~np.isfinite(values)))
      raise UserError(
        f"{self.folder / self.where[tensor]}: {tensor} holds {wrong} of {values.size} numbers that "
        "are not finite (NaN or infinity); the run that saved it went wrong: use an earlier save"
      )
    return values


def _check_names(weights: _Weights, rows: list[parameters.Row], config: LlamaConfig) -> None:
  expected = {
    row.name(layer): row.their_shape(config)
    for row in rows
    for layer in (range(config.num_layers) if row.stacked else [None])
  }
  shapes = weights.shapes
  missing = sorted(set(expected) - set(shapes))
  extra = sorted(n for n in set(shapes) - set(expected) if not n.endswith("rotary_emb.inv_freq"))
  if extra == [_HEAD] and config.tied and np.array_equal(weights.read(_HEAD), weights.read(_EMBED)):
    extra = []
  for problem, names in (("lacks", missing), ("holds unexpected", extra)):
    if names:
      more = f" and {len(names) - 3} more" if len(names) > 3 else ""
      raise UserError(
        f"{weights.folder}: {problem} {', '.join(names[:3])}{more}; "
        f"config.json says {config.num_layers} layers, "
        f"tie_word_embeddings {str(config.tied).lower()}"
      )
  for name, shape in expected.items():
    if shapes[name] != shape:
      raise UserError(
        f"{weights.folder}: {name} has shape {shapes[name]}; config.json implies {shape}"
      )


@dataclasses.dataclass(frozen=True)
class Folder:
  """A model folder whose config and tensors' names and shapes are read; its weights are not yet."""

  path: Path
  described: hf_config.Described
  weights: _Weights

  @property
  def config(self) -> LlamaConfig:
    return self.described.llama

  @property
  def reward(self) -> bool:
    """Whether it has a reward head instead of a language model's."""
    return self.described.reward

  @property
  def dtype(self) -> str:
    """What its weights are stored in: float32, bfloat16 or float16; of several, the commonest."""
    return self.weights.dtype()

  def params(
    self, sharding: Callable[[tuple[str, ...]], Any] | None = None, dtype: str = "float32"
  ) -> Params:
    """Its weights as parameters, matrices in `dtype`, vectors in f32; see `load`."""
    config, weights, params = self.config, self.weights, {}
    for row in parameters.rows(config, reward_head=self.reward):

      @functools.cache  # for devices that hold the same
      def part(*ends: tuple[int, int], row=row):
        index = tuple(slice(*e) for e in ends)
        of = lambda layer, rest: to_ours(
          row, config, functools.partial(weights.read, row.name(layer)), rest
        )
        if not row.stacked:
          return of(None, index)
        return np.stack([of(i, index[1:]) for i in range(config.num_layers)[index[0]]])

      shape = row.shape(config)
      whole = (config.num_layers, *shape) if row.stacked else shape
      node = params
      for name in row.path[:-1]:
        node = node.setdefault(name, {})
      kind = dtype if len(row.dims) > 1 else "float32"
      cut = lambda index, part=part, whole=whole, kind=kind: part(
        *(each.indices(size)[:2] for each, size in zip(index, whole, strict=True))
      ).astype(kind, copy=False)
      if sharding is None:
        node[row.path[-1]] = jnp.asarray(cut((slice(None),) * len(whole)))
      else:
        node[row.path[-1]] = jax.make_array_from_callback(whole, sharding(row.path), cut)
    return params


def open_folder(folder: str | Path) -> Folder:
  """Reads what a model folder holds, without its weights.

  Raises: UserError for a folder that is not a Llama this package computes exactly.
  """
  folder = Path(folder)
  described = hf_config.read(folder)
  weights = _Weights(folder)
  rows = list(parameters.rows(described.llama, reward_head=described.reward))
  _check_names(weights, rows, described.llama)
  return Folder(folder, described, weights)


def load(
  folder: str | Path, sharding: Callable[[tuple[str, ...]], Any] | None = None
) -> tuple[LlamaConfig, Params]:
  """Reads a Llama, language model or reward model, into f32 parameters.

  `open_folder` says more of it: which of the two it is, and its dtype on disk.

  Args:
    folder: config.json with model.safetensors, whole or sharded; f32, f16 or bf16.
    sharding: path of a parameter -> jax Sharding; None puts all on the default device.

  Raises: UserError for a folder that is not a Llama this package computes exactly.
  """
  opened = open_folder(folder)
  return opened.config, opened.params(sharding)


def save(
  folder: str | Path,
  config: LlamaConfig,
  params: Params,
  *,
  tokenizer_from: str | Path | None = None,
  bos_id: int | None = 1,
  eos_ids: tuple[int, ...] = (2,),
  pad_id: int | None = None,
  dtype: str = "float32",
  max_shard_bytes: int = 5 * 10**9,
) -> Path:
  """Writes a folder that `transformers` loads: weights, config, generation config, tokenizer.

  Of several processes all take part in gathering the weights, layer by layer; the first writes.

  Args:
    tokenizer_from: a folder whose tokenizer files and generation settings are copied along.
    eos_ids: every token that ends an answer; generation stops at any of them.
    pad_id: the token that batches are padded with.
    dtype: "float32", "bfloat16" or "float16" on disk.
    max_shard_bytes: a larger model becomes several files and an index.
  """
  folder = Path(folder)
  reward_head = "reward" in params
  if dtype not in hf_config.DTYPES:
    raise UserError(f"dtype {dtype!r} is not one of {', '.join(hf_config.DTYPES)}")
  processes.on_lead(lambda: _make_room(folder))
  _write_weights(folder, config, params, jnp.dtype(dtype), max_shard_bytes)
  if not system.leads():
    return folder
  eos: Any = eos_ids[0] if len(eos_ids) == 1 else list(eos_ids)
  fields = hf_config.config_fields(
    config, reward_head=reward_head, bos_id=bos_id, eos_id=eos, pad_id=pad_id, dtype=dtype
  )
  _write_json(folder / "config.json", fields)
  for file in folder.glob("model*.safetensors"):  # made for its owner's eyes only
    shutil.copymode(folder / "config.json", file)
  if not reward_head:
    ends = {"bos_token_id": bos_id, "eos_token_id": eos}
    ends |= {} if pad_id is None else {"pad_token_id": pad_id}
    source = Path(tokenizer_from or folder) / GENERATION
    was = hf_config.read_json(source) if source.exists() else {}
    _write_json(folder / GENERATION, {**was, **ends})
  for name in TOKENIZER_FILES if tokenizer_from else ():
    source = Path(tokenizer_from or "") / name
    if source.exists() and source.resolve() != (folder / name).resolve():
      shutil.copyfile(source, folder / name)
  return folder


def _write_json(path: Path, value: Any) -> None:
  path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def save_tensors(tensors: dict[str, np.ndarray], path: Path) -> None:
  """Writes a safetensors file. Raises UserError where it cannot be written."""
  try:
    save_file(tensors, path, metadata={"format": "pt"})
  except SafetensorError as e:  # a full disk is one
    raise UserError(f"{path}: cannot be written ({e}); make room and run it again") from None


def _make_room(folder: Path) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  for stale in (*folder.glob("model*.safetensors"), folder / "model.safetensors.index.json"):
    stale.unlink(missing_ok=True)


def _plan(config: LlamaConfig, reward_head: bool, item: int, most: int) -> list[dict[str, Any]]:
  """What goes into each file: tensor -> (row, layer), in the order of the table."""
  files, size = [{}], 0
  for row in parameters.rows(config, reward_head=reward_head):
    nbytes = math.prod(row.their_shape(config)) * item
    for layer in range(config.num_layers) if row.stacked else [None]:
      if files[-1] and size + nbytes > most:
        files.append({})
        size = 0
      files[-1][row.name(layer)] = (row, layer)
      size += nbytes
  return files


def _write_weights(
  folder: Path, config: LlamaConfig, params: Params, dtype: np.dtype, max_bytes: int
) -> None:
  """The files of the weights, each by one process in turn, and their index."""
  files = _plan(config, "reward" in params, dtype.itemsize, max_bytes)
  names = [f"model-{i:05d}-of-{len(files):05d}.safetensors" for i in range(1, len(files) + 1)]
  names = names if len(files) > 1 else ["model.safetensors"]
  total = 0
  for i, (name, tensors) in enumerate(zip(names, files, strict=True)):
    mine, kept = i % processes.count() == processes.index(), {}
    for tensor, (row, layer) in tensors.items():
      ours: Any = params
      for place in row.path:
        ours = ours[place]
      whole = np.asarray(processes.gathered(ours if layer is None else ours[layer]))
      total += whole.size * dtype.itemsize
      if mine:
        kept[tensor] = to_theirs(row, config, whole).astype(dtype)
    if mine:
      save_tensors(kept, folder / name)
  processes.exchanged(True)  # all files are there before anyone goes on
  if len(files) > 1 and system.leads():
    where = {tensor: name for name, tensors in zip(names, files, strict=True) for tensor in tensors}
    index = {"metadata": {"total_size": total}, "weight_map": where}
    _write_json(folder / "model.safetensors.index.json", index)
