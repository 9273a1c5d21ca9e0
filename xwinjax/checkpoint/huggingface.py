"""Hugging Face Llama folders in and out: config.json, safetensors, tokenizer files.

Weights are read straight into the layout of `model.llama`: layer by layer, and on a mesh only
the part each device holds, so that no host needs room for more than one tensor of one layer
beside its own share.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from xwinjax.checkpoint import hf_config
from xwinjax.core.errors import UserError
from xwinjax.core.types import Params
from xwinjax.model.config import LlamaConfig

TOKENIZER_FILES = (
  "tokenizer.model",
  "tokenizer_config.json",
  "added_tokens.json",
  "special_tokens_map.json",
  "xwinjax.json",
)

# our layer parameter -> their name; all are [in…, out…] here and [out, in] there
_LAYER_NAMES = {
  ("attention", "q"): "self_attn.q_proj",
  ("attention", "k"): "self_attn.k_proj",
  ("attention", "v"): "self_attn.v_proj",
  ("attention", "o"): "self_attn.o_proj",
  ("attention_norm", "scale"): "input_layernorm",
  ("mlp", "gate"): "mlp.gate_proj",
  ("mlp", "up"): "mlp.up_proj",
  ("mlp", "down"): "mlp.down_proj",
  ("mlp_norm", "scale"): "post_attention_layernorm",
}
_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
_NAMES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def _shapes(config: LlamaConfig, reward_head: bool) -> dict[tuple[str, ...], tuple[int, ...]]:
  """The shape of every parameter, layers without their leading axis L."""
  c = config
  shapes: dict[tuple[str, ...], tuple[int, ...]] = {
    ("embed", "embedding"): (c.vocab_size, c.dim),
    ("norm", "scale"): (c.dim,),
    ("layers", "attention", "q"): (c.dim, c.num_heads, c.head_dim),
    ("layers", "attention", "k"): (c.dim, c.num_kv_heads, c.head_dim),
    ("layers", "attention", "v"): (c.dim, c.num_kv_heads, c.head_dim),
    ("layers", "attention", "o"): (c.num_heads, c.head_dim, c.dim),
    ("layers", "attention_norm", "scale"): (c.dim,),
    ("layers", "mlp", "gate"): (c.dim, c.ffn_dim),
    ("layers", "mlp", "up"): (c.dim, c.ffn_dim),
    ("layers", "mlp", "down"): (c.ffn_dim, c.dim),
    ("layers", "mlp_norm", "scale"): (c.dim,),
  }
  if reward_head:
    shapes["reward", "kernel"] = (c.dim,)
  elif not c.tied:
    shapes["head", "kernel"] = (c.dim, c.vocab_size)
  return shapes


def _their_name(path: tuple[str, ...], layer: int | None = None) -> str:
  if path[0] == "layers":
    return f"model.layers.{layer}.{_LAYER_NAMES[path[1], path[2]]}.weight"
  return {
    "embed": "model.embed_tokens.weight",
    "norm": "model.norm.weight",
    "head": "lm_head.weight",
    "reward": "score.weight",
  }[path[0]]


def _their_shape(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
  if path[0] == "reward":
    return (1, *shape)
  if path[0] == "embed" or len(shape) == 1:
    return shape
  split = 2 if path[-1] == "o" else 1  # o is [H, N | D]; everything else [D | …]
  return (int(np.prod(shape[split:])), int(np.prod(shape[:split])))


def _to_ours(path: tuple[str, ...], theirs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Their [out, in] matrix in our shape."""
  return theirs.reshape(shape) if path[0] in ("embed", "reward") else theirs.T.reshape(shape)


def _to_theirs(path: tuple[str, ...], ours: np.ndarray) -> np.ndarray:
  shape = _their_shape(path, ours.shape)
  if path[0] in ("embed", "reward") or ours.ndim == 1:
    return ours.reshape(shape)
  return np.ascontiguousarray(ours.reshape(shape[::-1]).T)


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
    self.where: dict[str, str] = {}
    for name in names:
      for tensor, shape, dtype in self._header(name):
        if dtype not in _DTYPES:
          raise UserError(f"{folder / name}: {tensor} is {dtype}; expected F32, F16 or BF16")
        self.shapes[tensor], self.where[tensor] = shape, name

  def _header(self, name: str):
    path = self.folder / name
    try:
      self.files[name] = f = safe_open(path, framework="np")
      return [(k, tuple(f.get_slice(k).get_shape()), f.get_slice(k).get_dtype()) for k in f.keys()]  # noqa: SIM118
    except FileNotFoundError:
      raise UserError(f"{path}: no such file, though the index names it") from None
    except (SafetensorError, OSError) as e:
      raise UserError(f"{path}: not a whole safetensors file ({e}); copy it again") from None

  def read(self, tensor: str) -> np.ndarray:
    return self.files[self.where[tensor]].get_tensor(tensor).astype(np.float32)


def _check_names(weights: _Weights, shapes: dict, config: LlamaConfig) -> None:
  expected = {}
  for path, shape in shapes.items():
    for layer in range(config.num_layers) if path[0] == "layers" else [None]:
      expected[_their_name(path, layer)] = _their_shape(path, shape)
  found = weights.shapes
  missing = sorted(set(expected) - set(found))
  extra = sorted(n for n in set(found) - set(expected) if not n.endswith("rotary_emb.inv_freq"))
  if extra == ["lm_head.weight"] and config.tied:
    same = np.array_equal(weights.read("lm_head.weight"), weights.read("model.embed_tokens.weight"))
    if same:
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
    if found[name] != shape:
      raise UserError(
        f"{weights.folder}: {name} has shape {found[name]}; config.json implies {shape}"
      )


def is_reward_model(folder: str | Path) -> bool:
  """Whether the folder's config.json names a sequence classifier (a reward head)."""
  architectures = hf_config.read_fields(folder).get("architectures")
  return "LlamaForSequenceClassification" in (
    architectures if isinstance(architectures, list) else []
  )


def load(
  folder: str | Path, sharding: Callable[[tuple[str, ...]], Any] | None = None
) -> tuple[LlamaConfig, Params]:
  """Reads a Llama, language model or reward model, into f32 parameters.

  Args:
    folder: config.json with model.safetensors, whole or sharded; f32, f16 or bf16.
    sharding: path of a parameter -> jax Sharding; None puts all on the default device.

  Raises: UserError for a folder that is not a Llama this package computes exactly.
  """
  folder = Path(folder)
  config = hf_config.read_config(folder)
  reward_head = is_reward_model(folder)
  weights = _Weights(folder)
  shapes = _shapes(config, reward_head)
  _check_names(weights, shapes, config)

  params: dict = {}
  for path, shape in shapes.items():
    stacked = path[0] == "layers"

    def part(index, path=path, shape=shape, stacked=stacked):
      if not stacked:
        return _to_ours(path, weights.read(_their_name(path)), shape)[index]
      layers = range(config.num_layers)[index[0]]
      return np.stack(
        [
          _to_ours(path, weights.read(_their_name(path, i)), shape)[tuple(index[1:])]
          for i in layers
        ]
      )

    whole = (config.num_layers, *shape) if stacked else shape
    node = params
    for name in path[:-1]:
      node = node.setdefault(name, {})
    if sharding is None:
      node[path[-1]] = jnp.asarray(part((slice(None),) * len(whole)))
    else:
      node[path[-1]] = jax.make_array_from_callback(whole, sharding(path), part)
  return config, params


def save(
  folder: str | Path,
  config: LlamaConfig,
  params: Params,
  *,
  tokenizer_from: str | Path | None = None,
  bos_id: int | None = 1,
  eos_ids: tuple[int, ...] = (2,),
  dtype: str = "float32",
  max_shard_bytes: int = 5 * 10**9,
) -> Path:
  """Writes a folder that `transformers` loads: weights, config, generation config, tokenizer.

  Args:
    tokenizer_from: a folder whose tokenizer files are copied along.
    eos_ids: every token that ends an answer; generation stops at any of them.
    dtype: "float32", "bfloat16" or "float16" on disk.
    max_shard_bytes: a larger model becomes several files and an index.
  """
  folder = Path(folder)
  reward_head = "reward" in params
  if dtype not in _NAMES:
    raise UserError(f"dtype {dtype!r} is not one of {', '.join(_NAMES)}")
  on_disk = np.dtype(_NAMES[dtype])
  tensors: dict[str, np.ndarray] = {}
  for path in _shapes(config, reward_head):
    ours: Any = params
    for name in path:
      ours = ours[name]
    if path[0] == "layers":
      for i in range(config.num_layers):
        tensors[_their_name(path, i)] = _to_theirs(path, np.asarray(ours[i])).astype(on_disk)
    else:
      tensors[_their_name(path)] = _to_theirs(path, np.asarray(ours)).astype(on_disk)
  folder.mkdir(parents=True, exist_ok=True)
  for stale in (*folder.glob("model*.safetensors"), folder / "model.safetensors.index.json"):
    stale.unlink(missing_ok=True)
  _write_shards(folder, tensors, max_shard_bytes)

  eos: Any = eos_ids[0] if len(eos_ids) == 1 else list(eos_ids)
  fields = hf_config.config_fields(
    config, reward_head=reward_head, bos_id=bos_id, eos_id=eos, dtype=dtype
  )
  _write_json(folder / "config.json", fields)
  if not reward_head:
    _write_json(folder / "generation_config.json", {"bos_token_id": bos_id, "eos_token_id": eos})
  for name in TOKENIZER_FILES if tokenizer_from else ():
    source = Path(tokenizer_from or "") / name
    if source.exists() and source.resolve() != (folder / name).resolve():
      shutil.copyfile(source, folder / name)
  return folder


def _write_json(path: Path, value: Any) -> None:
  path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _write_shards(folder: Path, tensors: dict[str, np.ndarray], max_bytes: int) -> None:
  shards: list[dict[str, np.ndarray]] = [{}]
  size = 0
  for name, tensor in tensors.items():
    if shards[-1] and size + tensor.nbytes > max_bytes:
      shards.append({})
      size = 0
    shards[-1][name] = tensor
    size += tensor.nbytes
  if len(shards) == 1:
    save_file(shards[0], folder / "model.safetensors", metadata={"format": "pt"})
    return
  weight_map = {}
  for i, shard in enumerate(shards, 1):
    name = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
    save_file(shard, folder / name, metadata={"format": "pt"})
    weight_map.update(dict.fromkeys(shard, name))
  total = sum(t.nbytes for t in tensors.values())
  _write_json(
    folder / "model.safetensors.index.json",
    {"metadata": {"total_size": total}, "weight_map": weight_map},
  )
