"""Imports point one way. The rules of docs/architecture.md, walked over the source."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each room may import those of earlier levels. A new room has to be given a place here.
LEVELS = (
  {"core"},
  {"model", "losses", "data", "judge.parse", "judge.prompts"},
  {"sharding", "forward", "train", "sample", "checkpoint", "judge"},  # judge.score runs models
  {"eval", "report", "annotate", "curate", "serve"},
  {"stages"},
  {"sandbox"},
  {"recipes"},
  {"testing", "configs", "experiments"},
)
LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
STRANGERS = 1  # on this level, rooms do not know each other

# library -> the rooms that may import it
ONLY_IN = {
  "flax": {"model"},
  "orbax": {"checkpoint"},
  "sentencepiece": {"data"},
  "tokenizers": {"data"},
  "grain": {"data"},
  "safetensors": {"checkpoint"},
  "matplotlib": {"report"},
  "jinja2": {"report", "data"},
  "starlette": {"annotate", "serve"},
  "uvicorn": {"core"},
  "sqlalchemy": {"annotate"},
  "statsmodels": {"eval"},
  "krippendorff": {"eval"},
  "sklearn": {"eval"},
  "openai": {"judge"},
  "tenacity": {"judge"},
  "datasketch": {"curate"},
  "markdownify": {"curate"},
  "pickle": set(),
  "yaml": set(),
  "torch": set(),
  "transformers": set(),
}
DEVICE_LIBRARIES = {"jax", "jaxlib", "flax", "optax", "orbax"}


@dataclasses.dataclass(frozen=True)
class Import:
  """`source` imports `target` (modules by dotted name), perhaps only inside a function."""

  source: str
  target: str
  lazy: bool


def module_name(path: Path, root: Path) -> str:
  parts = path.relative_to(root).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(root: Path) -> dict[str, Path]:
  folders = ("xwinjax", "configs", "experiments")
  return {module_name(p, root): p for f in folders for p in sorted((root / f).rglob("*.py"))}


def imports_of(name: str, path: Path, modules: dict[str, Path]) -> list[Import]:
  """Every import in a file, those inside functions too."""
  tree, found = ast.parse(path.read_text(encoding="utf-8")), []
  inside = {
    id(n)
    for f in ast.walk(tree)
    if isinstance(f, ast.FunctionDef)
    for n in ast.walk(f)
    if isinstance(n, ast.Import | ast.ImportFrom)
  }
  for node in ast.walk(tree):
    targets: list[str] = []
    if isinstance(node, ast.Import):
      targets = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}:{node.lineno}: relative import"
      for alias in node.names:
        assert alias.name != "*", f"{path}:{node.lineno}: from … import *"
        full = f"{node.module}.{alias.name}"
        targets.append(full if full in modules else str(node.module))
    found += [Import(name, target, id(node) in inside) for target in targets]
  return found


def room(module: str) -> str:
  """ "xwinjax.data.items" lies in "data", "judge.parse" in a room of its own."""
  parts = module.split(".")
  parts = parts[1:] if parts[0] == "xwinjax" else parts[:1]
  two = ".".join(parts[:2])
  return two if two in LEVEL_OF else ".".join(parts[:1])


def ours(module: str) -> bool:
  return module.split(".")[0] in ("xwinjax", "configs", "experiments") and module != "xwinjax"


def wrong_arrows(found: list[Import]) -> list[str]:
  wrong = []
  for i in found:
    if not ours(i.source) or not ours(i.target):
      continue
    source, target = room(i.source), room(i.target)
    above = LEVEL_OF[target] > LEVEL_OF[source]
    stranger = LEVEL_OF[source] == STRANGERS and LEVEL_OF[target] == STRANGERS and source != target
    eager = target == "report" and source not in ("report", "recipes", "experiments") and not i.lazy
    if above or stranger or eager:
      wrong.append(f"{i.source} imports {i.target}")
  return wrong


def cycles(found: list[Import]) -> list[tuple[str, str]]:
  """Pairs of rooms that reach each other."""
  arrows: dict[str, set[str]] = {}
  for i in found:
    if ours(i.source) and ours(i.target) and room(i.source) != room(i.target):
      arrows.setdefault(room(i.source), set()).add(room(i.target))

  def reach(start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
      for target in arrows.get(waiting.pop(), set()) - seen:
        seen.add(target)
        waiting.append(target)
    return seen

  return [(a, b) for a in arrows for b in reach(a) if a in reach(b) and a < b]


def wrong_libraries(found: list[Import]) -> list[str]:
  return [
    f"{i.source} imports {i.target}"
    for i in found
    if (library := i.target.split(".")[0]) in ONLY_IN and room(i.source) not in ONLY_IN[library]
  ]


def device_libraries_of(start: str, found: list[Import]) -> list[str]:
  """What a room would load of jax, through others of our modules too."""
  waiting = [i.source for i in found if room(i.source) == start]
  seen: set[str] = set()
  loaded = []
  while waiting:
    module = waiting.pop()
    if module in seen:
      continue
    seen.add(module)
    for i in found:
      if i.source == module and i.target.split(".")[0] in DEVICE_LIBRARIES:
        loaded.append(f"{i.source} imports {i.target}")
      elif i.source == module and ours(i.target):
        waiting.append(i.target)
  return loaded


def device_libraries_of_data(found: list[Import]) -> list[str]:
  return device_libraries_of("data", found)


def devices_of_annotate(found: list[Import]) -> list[str]:
  """The page judges texts: it knows of no model and of nothing that trains one."""
  return device_libraries_of("annotate", found)


def training_of_judge(found: list[Import]) -> list[str]:
  """A judge runs models and trains none; what the two share lies in `forward`."""
  return [
    f"{i.source} imports {i.target}"
    for i in found
    if room(i.source).split(".")[0] == "judge" and ours(i.target) and room(i.target) == "train"
  ]


CHECKS = (
  wrong_arrows,
  cycles,
  wrong_libraries,
  device_libraries_of_data,
  devices_of_annotate,
  training_of_judge,
)


@pytest.fixture(scope="module")
def found() -> list[Import]:
  modules = sources(ROOT)
  return [i for name, path in modules.items() for i in imports_of(name, path, modules)]


def test_every_room_has_a_place():
  rooms = {p.name for p in (ROOT / "xwinjax").iterdir() if (p / "__init__.py").exists()}
  assert rooms <= set(LEVEL_OF), rooms - set(LEVEL_OF)


@pytest.mark.parametrize("check", CHECKS)
def test_imports_keep_the_rules(check, found):
  assert len(found) > 300
  assert check(found) == []


@pytest.mark.parametrize(
  ("file", "line", "check"),
  [
    ("core/rng.py", "from xwinjax.data import jsonl", wrong_arrows),
    ("losses/sft.py", "from xwinjax.model.config import LlamaConfig", wrong_arrows),
    ("model/rope.py", "import xwinjax.losses.sft", wrong_arrows),
    ("data/items.py", "from xwinjax.losses import sft", wrong_arrows),
    ("train/loop.py", "def late():\n  from xwinjax.stages import sft", wrong_arrows),
    ("sample/decode.py", "from xwinjax.eval import heldout", wrong_arrows),
    ("stages/sft.py", "from xwinjax.report import page", wrong_arrows),
    ("eval/winrate.py", "from experiments import xwin", wrong_arrows),
    ("checkpoint/store.py", "from xwinjax.train import loop", cycles),
    ("train/step.py", "import flax.linen as nn", wrong_libraries),
    ("stages/common.py", "import pickle", wrong_libraries),
    ("data/jsonl.py", "import jax.numpy as jnp", device_libraries_of_data),
    ("core/errors.py", "def late():\n  import jax", device_libraries_of_data),
    ("annotate/study.py", "from xwinjax.train import step", devices_of_annotate),
    ("annotate/store.py", "def late():\n  import jax", devices_of_annotate),
    ("eval/votes.py", "import sqlalchemy", wrong_libraries),
    ("judge/score.py", "from xwinjax.train import objectives", training_of_judge),
    ("judge/parse.py", "def late():\n  from xwinjax.train import step", training_of_judge),
    ("forward/values.py", "from xwinjax.train import objectives", cycles),
  ],
)
def test_twin_a_planted_import_is_found(file, line, check, found, tmp_path):
  copy = tmp_path / "copy.py"
  copy.write_text(f"{(ROOT / 'xwinjax' / file).read_text()}\n\n{line}\n")
  name = f"xwinjax.{file[:-3].replace('/', '.')}"
  planted = imports_of(name, copy, sources(ROOT))
  assert check([i for i in found if i.source != name] + planted) != []


def test_data_really_loads_without_jax():
  code = (
    "import sys, xwinjax.data.batching, xwinjax.data.formats, xwinjax.data.items;"
    "sys.exit('jax' in sys.modules)"
  )
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_training_command_starts_without_what_it_does_not_use():
  code = "import sys, experiments.sft; print(*sys.modules)"
  run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
  assert run.returncode == 0, run.stderr
  assert not {"scipy.stats", "matplotlib", "openai", "pyarrow"} & set(run.stdout.split())
