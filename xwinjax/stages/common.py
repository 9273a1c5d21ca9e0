"""What stages share: models, tokenizers and data, opened and checked."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh

from xwinjax.checkpoint import hf_config, huggingface
from xwinjax.core import machine, processes, system
from xwinjax.core.bounds import Devices, Part
from xwinjax.core.errors import UserError
from xwinjax.core.matmul import ROUNDED
from xwinjax.core.types import Params
from xwinjax.data import jsonl, rows, seal, token_export
from xwinjax.data.chat_template import jinja_of
from xwinjax.data.own_template import MODEL, OwnTemplate, own_template, recognise
from xwinjax.data.records import counted as counted
from xwinjax.data.templates import TEMPLATES, Renderer, get_template, template_json
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.model.config import LlamaConfig
from xwinjax.sharding import mesh as meshes
from xwinjax.sharding import rules
from xwinjax.stages.config import plumbing

T = TypeVar("T")
NOTES = "xwinjax.json"  # beside a model: the template it was trained with …
TEMPLATE = "template.json"  # … and the template itself, where it is not a built-in one
DEFAULT = "vicuna"  # the template of a model that speaks none


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Which model, and how it is computed."""

  path: str = plumbing("")  # folder of a Hugging Face Llama; its content decides, not its name
  dtype: str = "auto"  # float32, bfloat16, mixed; auto: bfloat16 on TPU and GPU, measured on CPU
  save_dtype: str = "auto"  # float32, bfloat16, float16 on disk; auto: as the weights it began with
  dropout: tuple[Part, Part] = (0.0, 0.0)  # residual dropout at bottom and top layer
  scan_layers: bool = plumbing(False)  # compile one layer and loop it; for deep models
  remat: str = plumbing("none")  # none, dots, full: what the backward pass computes again
  attention: str = plumbing("auto")  # xla, splash, cudnn (bfloat16); auto: splash on TPU, else xla
  template: str = ""  # vicuna, llama2, llama3, alpaca, chatml, lima, a .json, or model: its own
  system: str = ""  # opens conversations that have no system turn


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Sizes of the device mesh; one may be -1 and takes the rest."""

  data: Devices = -1  # copies of the model
  fsdp: Devices = 1  # devices that share a copy's parameters, and split the batch
  tensor: Devices = 1  # devices that share each layer's matrices


@dataclasses.dataclass(frozen=True)
class Model:
  """A model ready to use: its sizes, parameters, tokenizer and template."""

  config: LlamaConfig
  params: Params
  tokenizer: Tokenizer
  renderer: Renderer
  folder: Path
  save_dtype: str = "float32"  # in which `save_model` writes it


def say(text: str) -> None:
  """Tells people, once for all processes."""
  if system.leads():
    print(text, file=sys.stderr, flush=True)


def make_mesh(config: MeshConfig) -> Mesh | None:
  """The mesh, or None on a single device."""
  sizes = (config.data, config.fsdp, config.tensor)
  if jax.device_count() == 1 and sizes in ((-1, 1, 1), (1, 1, 1)):
    return None
  return meshes.make_mesh(config.data, config.fsdp, config.tensor)


def compute_dtype(name: str) -> dict[str, str]:
  """The fields of a LlamaConfig that a name stands for.

  mixed is float32 whose matmul operands are rounded to bfloat16, and bfloat16 on TPU and GPU; auto
  is what this machine is fastest at, as `core.machine` measured it.
  """
  if name == "auto":
    name = machine.choose().dtype
  if name != "mixed":
    return {"dtype": name}
  if jax.default_backend() != "cpu":
    return {"dtype": "bfloat16"}
  return {"dtype": "float32", "operands": ROUNDED}


def template_of(folder: Path, config: ModelConfig) -> tuple[str, str]:
  """(template, system text) that the config names, or the notes beside a model of ours; or ""."""
  notes: Any = {}
  if (folder / NOTES).exists():
    try:
      notes = jsonl.read_json(folder / NOTES)
    except ValueError:
      notes = None
    known = {"", MODEL, TEMPLATE, *TEMPLATES}
    texts = isinstance(notes, dict) and all(isinstance(v, str) for v in notes.values())
    if not texts or notes.get("template", "") not in known:
      raise UserError(
        f"{folder / NOTES}: damaged; it names the template that the model was trained with: "
        'restore it, or write {"template": NAME, "system": TEXT}'
      )
    if notes.get("template") == TEMPLATE:
      notes["template"] = str(folder / TEMPLATE)
  return config.template or notes.get("template", ""), config.system or notes.get("system", "")


def make_renderer(
  folder: Path, config: ModelConfig, tokenizer: Tokenizer, say: Callable[[str], None] = say
) -> Renderer:
  """The config's template, else the model's, else Vicuna's.

  A chat_template that the model came with is used where it is one of ours; otherwise a line says
  that it is not.
  """
  name, system = template_of(folder, config)
  source = tokenizer.declared.chat_template
  if name == MODEL:
    return Renderer(own_template(source, tokenizer), tokenizer, system)
  if name or not source:
    return Renderer(get_template(name or DEFAULT), tokenizer, system)
  found, use = recognise(source, tokenizer), f"--config.model.template={MODEL}"
  if found is None:
    say(f"{folder}: its chat_template is none of ours and not read; {DEFAULT} is used ({use}: its)")
    return Renderer(get_template(DEFAULT), tokenizer, system)
  opens = f", which opens with {found.system[:60]!r}" if found.system and not system else ""
  other = "" if found.exact else f"; its tokens differ from ours ({use}: exactly its)"
  say(f"{folder}: its chat_template is {found.name}{opens}{other}")
  return Renderer(get_template(found.name), tokenizer, system or found.system)


def open_tokenizer(
  folder: Path, config: ModelConfig, vocab_size: int
) -> tuple[Tokenizer, Renderer]:
  """The tokenizer and template of a model with so many embedding rows."""
  tokenizer = Tokenizer.load(folder)
  renderer = make_renderer(folder, config, tokenizer)
  check_rows(folder, tokenizer, vocab_size, renderer.template.specials())
  return tokenizer, renderer


def check_rows(folder: Path, tokenizer: Tokenizer, rows: int, needed: Sequence[str] = ()) -> None:
  """Refuses a tokenizer that needs more rows than there are; says which tokens have none."""
  beyond = {name: i for name, i in tokenizer.added.items() if i >= rows}
  ends = {tokenizer.name(i) for i in (tokenizer.eos_id, *tokenizer.opening)}
  lost = [name for name in beyond if name in needed or name in ends]
  if lost or tokenizer.vocab_size - len(beyond) > rows:
    raise UserError(
      f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, the model's embedding "
      f"{rows} rows; they do not belong together" + (f" ({lost[0]!r} is needed)" if lost else "")
    )
  if beyond:
    names = ", ".join(f"{name!r} (id {i})" for name, i in sorted(beyond.items())[:3])
    say(f"{folder}: no embedding row for {names}; nothing here needs it")


def open_model(
  config: ModelConfig, mesh: Mesh | None, *, reward: bool | None = None, held_in: str = "float32"
) -> Model:
  """Loads a model folder.

  Args:
    reward: True wants a reward model, False a language model, None takes either.
    held_in: the dtype of its matrices on the devices.

  Raises: UserError for anything about the folder that does not fit.
  """
  if not config.path:
    raise UserError("config.model.path is empty; it names the folder of a Hugging Face Llama")
  folder = Path(config.path)
  if config.save_dtype not in ("auto", *hf_config.DTYPES):
    raise UserError(
      f"config.model.save_dtype {config.save_dtype!r} is not one of auto, "
      f"{', '.join(hf_config.DTYPES)}"
    )
  opened = huggingface.open_folder(folder)
  for line in opened.described.said:
    say(line)
  if reward not in (None, opened.reward):
    kinds = ("a language model", "a reward model")
    raise UserError(f"{folder}: is {kinds[not reward]}; this stage needs {kinds[reward]}")
  sharding = None
  if mesh is not None:
    meshes.check_fits(mesh, opened.config)
    sharding = lambda path: rules.param_sharding(mesh, path)
  params = opened.params(sharding, held_in)
  tokenizer, renderer = open_tokenizer(folder, config, opened.config.vocab_size)
  attention = config.attention
  if attention == "auto":
    attention = "splash" if jax.default_backend() == "tpu" else "xla"
  try:
    llama = opened.config.replace(
      **compute_dtype(config.dtype),
      dropout=config.dropout,
      scan_layers=config.scan_layers,
      remat=config.remat,
      attention=attention,
    )
  except ValueError as e:
    raise UserError(f"config.model: {e}") from None
  save_dtype = opened.dtype if config.save_dtype == "auto" else config.save_dtype
  return Model(llama, params, tokenizer, renderer, folder, save_dtype)


def save_model(folder: Path, model: Model, params: Params) -> Path:
  """Writes a trained model with the tokenizer and template it was trained with.

  Parameters are f32 while they train; on disk they are `model.save_dtype`.
  """
  kept = [i for i in hf_config.ends(model.folder)[1] if isinstance(i, int)]
  ends = tuple(dict.fromkeys((*model.renderer.stop_ids(), *kept)))
  huggingface.save(
    folder,
    model.config,
    params,
    tokenizer_from=model.folder,
    bos_id=model.tokenizer.bos_id,
    eos_ids=ends,
    pad_id=model.tokenizer.pad_id(model.config.vocab_size, ends),
    dtype=model.save_dtype,
  )
  if system.leads():  # it goes on to hash the files, which another would be writing anew
    write_tokenizer(folder, model.renderer, model.config.vocab_size)
  return folder


STEPS = "steps"  # of a training: the models that it keeps for `stages.choose`


def keep_step(folder: Path, step: int, model: Model, params: Params) -> None:
  """Keeps the model of a step in a training's folder, sealed."""
  kept = save_model(folder / STEPS / f"{step:07d}", model, params)
  processes.on_lead(lambda: seal.seal_part(kept))


def kept_steps(folder: Path) -> list[Path]:
  """The models that `keep_step` wrote, in order. Raises UserError for one that was changed."""
  there = {p.with_suffix("") for p in (folder / STEPS).glob("[0-9]*")}
  for path in sorted(there):
    if not seal.whole_part(path):
      raise UserError(
        f"{path}: changed since the training wrote it; delete {folder} to train again"
      )
  return sorted(there)


def write_tokenizer(folder: Path, renderer: Renderer, rows: int) -> None:
  """Writes tokenizer and template beside a model of so many rows, as transformers reads them."""
  tokenizer, template = renderer.tokenizer, renderer.template
  own = isinstance(template, OwnTemplate)
  source = template.source if own else jinja_of(template, tokenizer, renderer.system)
  pad = tokenizer.pad_id(rows, renderer.stop_ids())
  stretches = tokenizer.stretches if own else True
  for line in token_export.save(
    tokenizer, folder, chat_template=source, pad=tokenizer.name(pad), stretches=stretches
  ):
    say(line)
  write_notes(folder, renderer)


def write_notes(folder: Path, renderer: Renderer) -> None:
  """Says beside a model which template it speaks."""
  template = renderer.template
  name = template.name
  (folder / TEMPLATE).unlink(missing_ok=True)
  if not isinstance(template, OwnTemplate) and TEMPLATES.get(name) != template:
    name = TEMPLATE  # a user's own goes along with the model
    jsonl.write_json(folder / TEMPLATE, template_json(template))
  jsonl.write_json(folder / NOTES, {"template": name, "system": renderer.system})


def shard(part: Path, make: Callable[[], list[Any]]) -> tuple[list[Any], bool]:
  """(the rows of a shard's file, whether they are new); what is not there yet, `make` makes.

  Several processes make it together, and read what the first has written.
  """
  new = not processes.on_lead(lambda: seal.whole_part(part))
  if new:
    rows = make()
    processes.on_lead(lambda: (jsonl.write_rows(part, rows), seal.seal_part(part))[1])
  return [row for _, row in jsonl.read_rows(part)], new


def input_file(value: str, field: str) -> Path:
  """The path a config names. Raises UserError for one that is empty or not there.

  Of data it may be a pattern or several files parted by commas, as `rows.files` takes them.
  """
  if not value:
    what = "the folder of a Hugging Face Llama" if field == "model.path" else "what is to be read"
    raise UserError(f"config.{field} is empty; it names {what}")
  if not Path(value).exists():
    if field != "model.path" and rows.is_several(value):
      try:
        rows.files(value)
      except UserError as e:
        raise UserError(f"config.{field}: {e}") from None
      return Path(value)
    raise UserError(f"config.{field}={value}: no such file or folder")
  return Path(value)


def take(records: Iterable[T], limit: int) -> Iterator[T]:
  """The first `limit` records; 0 takes all."""
  for i, record in enumerate(records):
    if limit and i >= limit:
      return
    yield record
