"""Every reader of a file that comes from outside or from an earlier run, with a good file of it."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from trials.rows import ROWS


@dataclasses.dataclass(frozen=True)
class Reader:
  """A file format as the package reads it."""

  name: str
  make: Callable[[Path], Path]  # a folder -> a good file in it, with all that lies beside it
  read: Callable[[Path], Any]
  sealed: bool = False  # a changed file must not give another content
  fresh: bool = False  # reading changes what lies beside it


def _lines(name: str, suffix: str = ".jsonl") -> Callable[[Path], Path]:
  def make(folder: Path) -> Path:
    path = folder / f"{name}{suffix}"
    text = "".join(json.dumps(row) + "\n" for row in ROWS[name])
    if suffix == ".json":
      text = json.dumps(ROWS[name], indent=1)
    if suffix.endswith(".gz"):
      path.write_bytes(gzip.compress(text.encode(), mtime=0))
    elif suffix == ".parquet":
      import pyarrow as pa
      import pyarrow.parquet as pq

      pq.write_table(pa.Table.from_pylist(ROWS[name]), path)
    else:
      path.write_text(text)
    return path

  return make


def _rows_of(kind: str) -> Callable[[Path], Any]:
  def read(path: Path) -> Any:
    from xwinjax.data import formats

    return list(getattr(formats, f"read_{kind}")(path))

  return read


@functools.cache
def _model() -> Path:
  """A tiny model folder, made once a process."""
  import tempfile

  from xwinjax.data.tokenizer import Tokenizer
  from xwinjax.stages import common
  from xwinjax.testing.tiny import tiny_model

  place = Path(tempfile.mkdtemp(prefix="fuzz-"))
  model = tiny_model(place / "made")
  opened = common.open_model(common.ModelConfig(str(model)), None)
  saved = common.save_model(place / "model", opened, opened.params)
  (saved / "added_tokens.json").write_text(
    json.dumps({"<|eot|>": Tokenizer.load(saved).vocab_size})
  )
  return saved


def _in_model(name: str) -> Callable[[Path], Path]:
  def make(folder: Path) -> Path:
    shutil.copytree(_model(), folder / "model", dirs_exist_ok=True)
    path = folder / "model" / name
    pair = {"tokenizer.json", "tokenizer.model"}
    for other in pair - {name} if name in pair else ():  # which would be read in its place
      (folder / "model" / other).unlink(missing_ok=True)
    return path

  return make


def _index(folder: Path) -> Path:
  from xwinjax.checkpoint import huggingface

  config, params = huggingface.load(_model())
  huggingface.save(folder / "model", config, params, max_shard_bytes=20_000)
  return folder / "model" / "model.safetensors.index.json"


def _config(path: Path) -> Any:
  from xwinjax.checkpoint import hf_config, huggingface

  hf_config.ends(path.parent)
  return huggingface.open_folder(path.parent).config


def _ends(path: Path) -> Any:
  from xwinjax.checkpoint import hf_config

  return hf_config.ends(path.parent)


def _weights(path: Path) -> Any:
  from xwinjax.checkpoint import huggingface

  huggingface.load(path.parent)


def _tokenizer(path: Path) -> Any:
  from xwinjax.core.errors import UserError
  from xwinjax.data.tokenizer import Tokenizer

  made = Tokenizer.load(path.parent)
  if made.vocab_size > 2**20:
    raise UserError("many ids")  # which a model has no rows for: `common.check_rows`
  made.decode(made.encode("Why is salt white? 12 é 🙂"))


def _renderer(path: Path) -> Any:
  from xwinjax.data.records import Message
  from xwinjax.stages import common

  model = common.ModelConfig(template="model" if path.suffix == ".jinja" else "")
  _, renderer = common.open_tokenizer(path.parent, model, 400)
  renderer.encode((Message("user", "Hi?"), Message("assistant", "So.")))


def _template(folder: Path) -> Path:
  from xwinjax.data.templates import get_template, template_json

  path = folder / "own.json"
  path.write_text(json.dumps(template_json(get_template("llama2")), indent=1))
  return path


def _get_template(path: Path) -> Any:
  from xwinjax.data.templates import get_template

  return get_template(str(path))


def _logps(path: Path) -> Any:
  from xwinjax.stages import reference

  return reference.read(path, "k", SimpleNamespace(ids=["a", "b"], fields={})).tolist()  # type: ignore[arg-type]


def _stage(folder: Path) -> Path:
  from xwinjax.stages import manifest

  made = {"rm_mean": -0.0168, "curve": [1.5, 2.25], "ended": None}
  manifest.run_stage(folder / "s", "s", {"lr": 0.1}, {}, (), lambda: made)
  return folder / "s" / "manifest.json"


def _manifest(path: Path) -> Any:
  from xwinjax.stages import manifest

  return manifest.read(path.parent)


def _settings(path: Path) -> Any:
  from xwinjax.stages import manifest

  return manifest.settings(path.parent)


def _recipe(folder: Path) -> Path:
  from xwinjax.data import jsonl, seal

  return jsonl.write_json(
    folder / "recipe.json", seal.sealed({"recipe": "xwin", "config": {"seed": 1}})
  )


def _recipe_of(path: Path) -> Any:
  from xwinjax.report import workdir

  return workdir.recipe(path.parent)


def _checkpoint(folder: Path) -> Path:
  from xwinjax.data import jsonl, seal

  files = {"d/a": {"bytes": 3, "sha256": "0" * 64}}
  record = {"step": 4, "identity": {"seed": 0}, "leaves": {"x": [[2], "float32"]}, "files": files}
  return jsonl.write_json(folder / "00000004.json", seal.sealed({**record, "notes": {}}))


def _read_checkpoint(path: Path) -> Any:
  from xwinjax.checkpoint import store

  return store.read_manifest(path)


def _metrics(folder: Path) -> Path:
  path = folder / "metrics.jsonl"
  row = {"loss": 1.5, "tokens": 40, "seconds": 0.1, "first_of_shape": False}
  path.write_text("".join(json.dumps({"step": i, **row}) + "\n" for i in range(1, 5)))
  return path


def _truncate(path: Path) -> Any:
  from xwinjax.train import loop

  loop.truncate_metrics(path, 3)


def _cache(name: str) -> Callable[[Path], Path]:
  def make(folder: Path) -> Path:
    source = folder / "texts.jsonl"
    source.write_text('{"text": "a"}\n')
    _cached(source)
    return next((folder / "tokens").glob(f"*/{name}"))

  return make


def _cached(source: Path) -> Any:
  from xwinjax.data import token_cache
  from xwinjax.data.records import Counts

  def fill(builder: Any) -> Any:
    for i in range(3):
      builder.sequence(f"t{i}", [1, 5, 6, 2], [0, 1, 1, 1])
    return builder.build(Counts(kept=3), branched=False)

  token_cache.MIN_BYTES = 0
  made = token_cache.cached([source], {}, fill, source.parent / "tokens")
  return [list(made.ids), made.tokens.tolist(), made.fingerprint()]


def _read_cache(path: Path) -> Any:
  return _cached(path.parents[2] / "texts.jsonl")


def _study(folder: Path) -> Path:
  from xwinjax.annotate.store import Store
  from xwinjax.annotate.study import Answer, Item
  from xwinjax.data.records import Message

  said = lambda text: (Message("assistant", text),)
  answers = (Answer("x", said("Yes."), {"rm": 1.0}), Answer("y", said("No."), {"rm": 0.5}))
  items = [Item(f"p{i}", (Message("user", "Why?"),), answers, None) for i in range(3)]
  store = Store.create(folder / "votes.db", items, ("verdict",), 0)
  store.add_annotator("one")
  store.save(1, 1, 1, {"verdict": "A"}, 2.5)
  store.close()
  import sqlite3

  connection = sqlite3.connect(folder / "votes.db")
  connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
  connection.execute("PRAGMA journal_mode=DELETE")
  connection.close()
  return folder / "votes.db"


def _read_study(path: Path) -> Any:
  from xwinjax.annotate import export

  for name in ("votes.db-wal", "votes.db-shm", "votes.db-journal"):
    (path.parent / name).unlink(missing_ok=True)
  export.read(path)


def _votes(path: Path) -> Any:
  from xwinjax.eval import votes

  votes.read(path)


def _candidates(path: Path) -> Any:
  from xwinjax.data import candidates

  return list(candidates.read(path))


def _judge_prompt(folder: Path) -> Path:
  from xwinjax.judge import prompts

  path = folder / "prompt.txt"
  path.write_text(prompts.get_prompt("additive").text)
  return path


def _get_prompt(path: Path) -> Any:
  from xwinjax.judge import prompts

  return prompts.get_prompt(str(path)).fill("Why?", "So.")


def _world(folder: Path) -> Path:
  from xwinjax.sandbox.world import World

  World(0, 16).save(folder / "world.json")
  return folder / "world.json"


def _read_world(path: Path) -> Any:
  from xwinjax.sandbox.world import World

  World.load(path)


def _sweep(folder: Path) -> Path:
  (folder / "summary.json").write_text(json.dumps({"score": 1.5, "device": "cpu", "seconds": 2.0}))
  path = folder / "sweep.json"
  path.write_text(json.dumps({"command": ["-m", "experiments.lima"]}))
  return path


def _done_with(path: Path) -> Any:
  from xwinjax.recipes import sweep

  return sweep.done_with(path.parent)


def _sweep_summary(folder: Path) -> Path:
  path = folder / "a" / "row" / "seed0" / "summary.json"
  path.parent.mkdir(parents=True)
  path.write_text(json.dumps({"score": 1.5, "device": "cpu", "seconds": 2.0}))
  return path


def _summarise(path: Path) -> Any:
  from xwinjax.recipes import sweep, sweep_summary

  ablation = sweep.Ablation(
    "a", "a.py", "A", ("row",), "lima", {"quality": ("score",)}, None, {}, ()
  )
  sweep_summary.summarise([ablation], [0], path.parents[3], [])


READERS = (
  *(
    Reader(f"{n} .jsonl", _lines(n), _rows_of("examples"))
    for n in ("messages", "sharegpt", "alpaca")
  ),
  Reader("sharegpt .json", _lines("sharegpt", ".json"), _rows_of("examples")),
  Reader("messages .jsonl.gz", _lines("messages", ".jsonl.gz"), _rows_of("examples")),
  Reader("messages .parquet", _lines("messages", ".parquet"), _rows_of("examples")),
  Reader("pairs .jsonl", _lines("pairs"), _rows_of("pairs")),
  Reader("hh .jsonl", _lines("hh"), _rows_of("pairs")),
  Reader("prompts .jsonl", _lines("prompts"), _rows_of("prompts")),
  Reader("candidates.jsonl", _lines("candidates"), _candidates),
  Reader("votes .jsonl", _lines("votes"), _votes),
  Reader("votes.db", _study, _read_study, fresh=False),
  Reader("config.json", _in_model("config.json"), _config),
  Reader("generation_config.json", _in_model("generation_config.json"), _ends),
  Reader("model.safetensors", _in_model("model.safetensors"), _weights),
  Reader("model.safetensors.index.json", _index, _weights),
  Reader("tokenizer.model", _in_model("tokenizer.model"), _tokenizer),
  Reader("tokenizer.json", _in_model("tokenizer.json"), _tokenizer),
  Reader("tokenizer_config.json", _in_model("tokenizer_config.json"), _tokenizer),
  Reader("added_tokens.json", _in_model("added_tokens.json"), _tokenizer),
  Reader("chat_template.jinja", _in_model("chat_template.jinja"), _renderer),
  Reader("xwinjax.json", _in_model("xwinjax.json"), _renderer),
  Reader("template .json", _template, _get_template),
  Reader("judge prompt", _judge_prompt, _get_prompt),
  Reader("logps.jsonl", _lines("logps"), _logps),
  Reader("manifest.json", _stage, _manifest, sealed=True),
  Reader("settings.json", lambda f: _stage(f).with_name("settings.json"), _settings),
  Reader("recipe.json", _recipe, _recipe_of, sealed=True),
  Reader("checkpoint's manifest", _checkpoint, _read_checkpoint, sealed=True),
  Reader("metrics.jsonl", _metrics, _truncate),
  *(
    Reader(f"token cache: {n}", _cache(n), _read_cache, sealed=True, fresh=True)
    for n in ("items.json", "ids.json", "offsets.npy", "tokens")
  ),
  Reader("world.json", _world, _read_world),
  Reader("sweep.json", _sweep, _done_with),
  Reader("sweep's summary.json", _sweep_summary, _summarise),
)
