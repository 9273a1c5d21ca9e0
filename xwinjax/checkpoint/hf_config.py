"""`config.json` of a Hugging Face Llama or its like, read field by field and written back.

A field that would change the computation in a way this package does not do is refused by name;
silently ignoring one gives a model that runs and is wrong.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

from xwinjax.core import bounds
from xwinjax.core.errors import UserError
from xwinjax.data import jsonl
from xwinjax.model.config import LlamaConfig, RopeScaling

# Fields that do not change what the forward pass computes.
_IGNORED = {
  "architectures",
  "attention_dropout",
  "bos_token_id",
  "dtype",
  "eos_token_id",
  "id2label",
  "initializer_range",
  "label2id",
  "max_length",
  "model_type",
  "name_or_path",
  "num_labels",
  "output_attentions",
  "output_hidden_states",
  "pad_token_id",
  "problem_type",
  "return_dict",
  "tokenizer_class",
  "torch_dtype",
  "torchscript",
  "transformers_version",
  "unk_token_id",
  "use_cache",
}

_READ = {
  "vocab_size",
  "hidden_size",
  "intermediate_size",
  "num_hidden_layers",
  "num_attention_heads",
  "num_key_value_heads",
  "head_dim",
  "max_position_embeddings",
  "rms_norm_eps",
  "tie_word_embeddings",
  "rope_theta",
  "rope_scaling",
  "rope_parameters",
  "sliding_window",
  "use_sliding_window",
  "max_window_layers",
  "layer_types",
}

# Leftovers of other programs that change nothing of what the forward pass computes.
_HARMLESS = {
  "do_sample",
  "gradient_checkpointing",
  "is_llama_config",
  "max_new_tokens",
  "max_sequence_length",
  "model_max_length",
  "pretraining_tp",  # in how many parts a matmul is done
  "repetition_penalty",
  "temperature",
  "tokenizer_model_max_length",
  "top_k",
  "top_p",
  "unsloth_fixed",
  "unsloth_version",
}


@dataclasses.dataclass(frozen=True)
class Family:
  """A published architecture, and what its config means where it is silent."""

  classes: str  # how the names of its classes begin
  max_length: int
  kv_heads: int | None = None  # None: as many as query heads
  window: int | None = None


FAMILIES = {  # by model_type
  "llama": Family("Llama", 2048),
  "mistral": Family("Mistral", 131_072, 8, 4096),
  "qwen2": Family("Qwen2", 32_768, 32),
}
DTYPES = ("float32", "bfloat16", "float16")  # of weights on disk

# Fields that may be present only with the value that this package computes.
_ONLY = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}


def read_json(path: Path) -> Any:
  """Parses a JSON file; a file that is not one gets a line."""
  try:
    return jsonl.read_json(path)
  except FileNotFoundError:
    raise UserError(f"{path}: no such file; a model folder holds config.json and weights") from None
  except ValueError as e:
    raise UserError(f"{path}: not valid JSON ({e})") from None


# What a config of the family has to say of us.
_FIXED: dict[str, dict[str, Any]] = {
  "llama": {"attention_bias": False, "mlp_bias": False},
  "mistral": {"sliding_window": None},
  "qwen2": {"use_sliding_window": False},
}

_KINDS = {int: "a whole number", float: "a number"}


def _number(
  fields: dict, path: Path, name: str, ours: str, default: Any = None, kind: type = LlamaConfig
) -> Any:
  """A field by its published name, within the bounds of `ours` in LlamaConfig or RopeScaling."""
  value = fields.get(name)
  value = default if value is None else value
  if value is None:
    raise UserError(f"{path}: field {name!r} is missing")
  number, bound = get_args(bounds.hints(kind)[ours])
  good = isinstance(value, (int, float) if number is float else int) and not isinstance(value, bool)
  if not good or value not in bound:
    raise UserError(f"{path}: {name} is {value!r}; expected {_KINDS[number]}, {bound}")
  return number(value)


def _rope(fields: dict, path: Path) -> tuple[float, RopeScaling | None]:
  """theta and scaling, from `rope_theta` + `rope_scaling` or from `rope_parameters`."""
  rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
  if not isinstance(rope, dict):
    raise UserError(f"{path}: rope_scaling is {rope!r}; expected an object or null")
  theta = _number({**fields, **rope}, path, "rope_theta", "rope_theta", 10_000.0)
  kind = rope.get("rope_type", rope.get("type", "default"))
  if kind == "default":
    return theta, None
  if kind != "llama3":
    raise UserError(f"{path}: rope_scaling of type {kind!r} is not supported; only 'llama3' is")
  return theta, RopeScaling(
    *(
      _number(rope, path, published, ours, kind=RopeScaling)
      for published, ours in (
        ("factor", "factor"),
        ("low_freq_factor", "low_freq_factor"),
        ("high_freq_factor", "high_freq_factor"),
        ("original_max_position_embeddings", "original_max_length"),
      )
    )
  )


@dataclasses.dataclass(frozen=True)
class Described:
  """What a folder's config.json says of its model."""

  fields: dict[str, Any]  # all of it
  llama: LlamaConfig
  reward: bool  # a sequence classifier: a reward head instead of a language model's
  dtype: str  # of the weights, one of DTYPES; "" where it does not say
  said: tuple[str, ...] = ()  # what a user should know, a line each


def read(folder: str | Path) -> Described:
  """Reads the config.json of a Llama, once.

  Raises: UserError for another architecture, an unsupported feature or a malformed field.
  """
  path = Path(folder) / "config.json"
  fields = read_json(path)
  if not isinstance(fields, dict):
    raise UserError(f"{path}: expected a JSON object")
  llama, names = _llama(fields, path), fields.get("architectures")
  said = []
  left = [f"{name} = {fields[name]!r}" for name in sorted(_HARMLESS & fields.keys())]
  if left and fields.get("pretraining_tp", 1) == 1:
    left = [x for x in left if not x.startswith("pretraining_tp")]
  if left:
    said.append(f"{path}: changes nothing here: {', '.join(left)}")
  whole = fields.get("max_position_embeddings")
  if isinstance(whole, int) and llama.max_length < whole:
    said.append(
      f"{path}: attention sees a window of {llama.max_length} tokens, so longer texts (up to "
      f"{whole}) are not computed; max_length is {llama.max_length}"
    )
  dtype = fields.get("torch_dtype") or fields.get("dtype")
  return Described(
    fields,
    llama,
    isinstance(names, list)
    and f"{FAMILIES[llama.family].classes}ForSequenceClassification" in names,
    dtype if dtype in DTYPES else "",
    tuple(said),
  )


def ends(folder: Path) -> tuple[int | None, tuple[int, ...]]:
  """(BOS, every token that ends an answer), as generation_config.json and config.json say.

  A folder without them, such as a new model's tokenizer, says nothing: (None, ()).
  """
  if not (folder / "config.json").exists():
    return None, ()
  fields = read_json(folder / "config.json")
  if (folder / "generation_config.json").exists():
    fields = fields | read_json(folder / "generation_config.json")
  eos = fields.get("eos_token_id", 2)
  return fields.get("bos_token_id"), tuple(eos if isinstance(eos, list) else (eos,))


def _llama(fields: dict[str, Any], path: Path) -> LlamaConfig:
  family = fields.get("model_type")
  if not isinstance(family, str) or family not in FAMILIES:
    known = ", ".join(map(repr, FAMILIES))
    inside = path.parent / "model"
    meant = f"; did you mean {inside}?" if (inside / path.name).exists() else ""
    raise UserError(f"{path}: model_type is {family!r}; only {known} can be read{meant}")
  for name, value in fields.items():
    if name in _ONLY:
      if value not in (None, _ONLY[name]):
        raise UserError(f"{path}: {name} = {value!r} is not supported; only {_ONLY[name]!r} is")
    elif name not in _READ | _IGNORED | _HARMLESS and not name.startswith("_") and value:
      raise UserError(
        f"{path}: {name} = {value!r} is not supported by this reader; "
        "remove the field if it does not change what the model computes"
      )
  theta, scaling = _rope(fields, path)
  about, length = FAMILIES[family], _length(fields, path, FAMILIES[family])
  dim = _number(fields, path, "hidden_size", "dim")
  heads = _number(fields, path, "num_attention_heads", "num_heads")
  if fields.get("head_dim") is None and dim % heads:
    raise UserError(f"{path}: hidden_size {dim} is not a multiple of num_attention_heads {heads}")
  try:
    return LlamaConfig(
      vocab_size=_number(fields, path, "vocab_size", "vocab_size"),
      dim=dim,
      num_layers=_number(fields, path, "num_hidden_layers", "num_layers"),
      num_heads=heads,
      num_kv_heads=_number(
        fields, path, "num_key_value_heads", "num_kv_heads", about.kv_heads or heads
      ),
      head_dim=_number(fields, path, "head_dim", "head_dim", dim // heads),
      ffn_dim=_number(fields, path, "intermediate_size", "ffn_dim"),
      max_length=length,
      rope_theta=theta,
      rope_scaling=scaling,
      norm_eps=_number(fields, path, "rms_norm_eps", "norm_eps", 1e-6),
      tied=bool(fields.get("tie_word_embeddings", False)),
      family=family,
    )
  except UserError:
    raise
  except ValueError as e:
    raise UserError(f"{path}: {e}") from None


def _length(fields: dict[str, Any], path: Path, family: Family) -> int:
  """How long a text may be: never longer than the window that attention sees, where one slides."""
  length = _number(fields, path, "max_position_embeddings", "max_length", family.max_length)
  kinds = fields.get("layer_types") or []
  if not isinstance(kinds, list) or set(kinds) - {"full_attention", "sliding_attention"}:
    raise UserError(
      f"{path}: layer_types is {kinds!r}; only full_attention and sliding_attention can be read"
    )
  if family is FAMILIES["llama"] and fields.get("sliding_window"):
    raise UserError(
      f"{path}: sliding_window = {fields['sliding_window']!r} is not supported for a Llama"
    )
  slides = fields.get("use_sliding_window", family.window is not None)
  window = fields.get("sliding_window", family.window)
  if not slides or window is None:
    return length
  return min(length, _number({"sliding_window": window}, path, "sliding_window", "max_length"))


def config_fields(
  config: LlamaConfig,
  *,
  reward_head: bool,
  bos_id: int | None,
  eos_id: int | None,
  dtype: str,
  pad_id: int | None = None,
) -> dict[str, Any]:
  """What `config.json` says of a model of ours, in the spelling most checkpoints use."""
  scaling = config.rope_scaling
  head = "SequenceClassification" if reward_head else "CausalLM"
  fields: dict[str, Any] = {
    "architectures": [f"{FAMILIES[config.family].classes}For{head}"],
    "model_type": config.family,
    "vocab_size": config.vocab_size,
    "hidden_size": config.dim,
    "intermediate_size": config.ffn_dim,
    "num_hidden_layers": config.num_layers,
    "num_attention_heads": config.num_heads,
    "num_key_value_heads": config.num_kv_heads,
    "head_dim": config.head_dim,
    "max_position_embeddings": config.max_length,
    "rms_norm_eps": config.norm_eps,
    "rope_theta": config.rope_theta,
    "rope_scaling": scaling
    and {
      "rope_type": "llama3",
      "factor": scaling.factor,
      "low_freq_factor": scaling.low_freq_factor,
      "high_freq_factor": scaling.high_freq_factor,
      "original_max_position_embeddings": scaling.original_max_length,
    },
    "tie_word_embeddings": config.tied and not reward_head,
    "hidden_act": "silu",
    **_FIXED[config.family],
    "bos_token_id": bos_id,
    "eos_token_id": eos_id,
    "torch_dtype": dtype,
    **({} if pad_id is None else {"pad_token_id": pad_id}),
  }
  if reward_head:
    # transformers reads the score at the last token that is not padding; without a pad id it
    # refuses batches, so name one that never ends a text.
    fields.update(
      num_labels=1,
      pad_token_id=bos_id if pad_id is None else pad_id,
      id2label={"0": "reward"},
      label2id={"reward": 0},
    )
  return fields
