"""Every numeric field of every command has bounds, and what lies beyond them is one line."""

import dataclasses
import importlib
import math
import pkgutil
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest

import experiments
from xwinjax.core import bounds
from xwinjax.core.bounds import Filled, Within
from xwinjax.core.errors import UserError
from xwinjax.recipes import cli
from xwinjax.stages.config import describe, from_config_dict

ROOT = Path(__file__).parents[2]
COMMANDS = {
  name: module.command
  for _, name, _ in pkgutil.iter_modules(experiments.__path__)
  if isinstance(
    getattr(module := importlib.import_module(f"experiments.{name}"), "command", None), cli.Command
  )
}
COMMANDS |= COMMANDS["evaluate"].others  # the stages that a config file names
TRIED = {"-1": -1, "0": 0, "NaN": math.nan, "inf": math.inf, "-inf": -math.inf, "huge": 10**400}


def fields(kind: type, path: str = "") -> Iterator[tuple[str, Any]]:
  """(dotted name, type with its bound) of every field, those of groups too."""
  for f in dataclasses.fields(kind):
    hint = bounds.hints(kind)[f.name]
    if dataclasses.is_dataclass(hint):
      yield from fields(hint, f"{path}{f.name}.")
    else:
      yield f"{path}{f.name}", hint


def base(hint: Any) -> list[type]:
  """The plain types in a field's type: int of Annotated[int, …], float of tuple[float, float]."""
  if get_origin(hint) is Annotated:
    return base(get_args(hint)[0])
  return [t for a in get_args(hint) for t in base(a)] if get_args(hint) else [hint]


def numeric(hint: Any) -> bool:
  return bool({int, float} & set(base(hint)))


def set_to(path: str, hint: Any, value: Any) -> dict[str, Any]:
  """Nested values with this field alone; a tuple gets its first value replaced."""
  if get_origin(hint) is tuple:
    value = (value, *[0.0] * (len(get_args(hint)) - 1))
  for name in reversed(path.split(".")):
    value = {name: value}
  return value


def outcome(command: str, path: str, hint: Any, value: Any) -> str:
  """ "taken", or the line that refuses."""
  try:
    from_config_dict(COMMANDS[command].kind, set_to(path, hint, value))
  except UserError as e:
    return str(e)
  return "taken"


NUMBERS = [
  (command, path, hint)
  for command in COMMANDS
  for path, hint in fields(COMMANDS[command].kind)
  if numeric(hint)
]


def test_there_are_many_fields():
  assert len(COMMANDS) >= 16
  assert len(NUMBERS) > 800


def test_every_number_has_bounds():
  assert [f"{c}.{path}" for c, path, hint in NUMBERS if bounds.of(hint) is None] == []


def test_every_number_is_refused_in_a_line_or_lies_within_its_bounds():
  for command, path, hint in NUMBERS:
    bound = bounds.of(hint)
    for value in (*TRIED.values(), 0.5, "x", True):
      said = outcome(command, path, hint, value)
      good = isinstance(value, (int, float)) and not isinstance(value, bool) and value in bound
      if isinstance(value, int) and abs(value) > 2**1000 and float in base(hint):
        good = False  # no float is as large
      if isinstance(value, float) and float not in base(hint):
        good = False  # a fraction for a whole number
      if good:
        # A size may be in its bounds and not fit another field; that is said of the group.
        assert said == "taken" or said.startswith("config"), (command, path, value, said)
      else:
        assert said.startswith(f"config.{path} is "), (command, path, value, said)
        assert "; expected " in said or "expected" in said
      assert "\n" not in said


def test_the_table_of_fields_and_outcomes(capsys):
  """`pytest -s -k table tests/stages/test_bounds.py` shows it: a row for each declared field."""
  rows: dict[tuple[str, str], list[str]] = {}
  for command, path, hint in NUMBERS:
    group = ".".join(path.split(".")[-2:])
    row = [
      "taken" if outcome(command, path, hint, value) == "taken" else "refused"
      for value in (*TRIED.values(), "x")
    ]
    bound = f"{base(hint)[0].__name__} {bounds.of(hint)}"
    rows.setdefault((group, bound), row)
  lines = [f"{'field':40}{'bounds':26}" + "".join(f"{n:9}" for n in (*TRIED, "text"))]
  for (group, bound), row in sorted(rows.items()):
    lines.append(f"{group:40}{bound:26}" + "".join(f"{cell:9}" for cell in row))
  print("\n".join(lines))
  assert {row[2] for row in rows.values()} == {"refused"}  # NaN


@pytest.mark.parametrize(
  ("field", "value", "line"),
  [
    ("dpo.beta", "0", "config.dpo.beta is 0.0; expected 0.0001 to 1000 (pull towards the"),
    ("dpo.label_smoothing", "0.7", "config.dpo.label_smoothing is 0.7; expected >= 0 and < 0.5"),
    ("dpo.variant", "ipa", "config.variant 'ipa' is not one of sigmoid, ipo, hinge"),
    ("dpo.train.optim.schedule", "cos", "config.dpo.train.optim.schedule 'cos' is not one of con"),
    ("dpo.train.optim.lr", "-1e-3", "config.dpo.train.optim.lr is -0.001; expected 1e-12 to 10"),
    ("dpo.train.optim.lr", "inf", "config.dpo.train.optim.lr is inf; expected 1e-12 to 10"),
    ("dpo.train.optim.warmup", "100", "for N of M steps give N/M, as 0.05 for 100 of 2000"),
    ("dpo.train.optim.clip", "-1", "config.dpo.train.optim.clip is -1.0; expected 0 to 1000000"),
    ("dpo.train.batch.microbatches", "3", "batch_size 32 does not divide into 3 micro-batches"),
    ("rs.too_long", "chop", "config.rs.too_long 'chop' is not one of turns, blocks, cut, drop"),
    ("sample.generate.samples", "0", "config.sample.generate.samples is 0; expected 1 to 65536"),
    (
      "sample.generate.stop_strings",
      "''",
      "config.sample.generate.stop_strings is ''; expected a t",
    ),
    ("sample.shard", "0", "config.sample.shard is 0; expected 1 to 1000000000"),
    ("score.branches", "0", "config.score.branches is 0; expected 1 to 255"),
    ("select.rejected", "rank:1", "config.rejected 'rank:1': expected rank:R"),
    ("evaluate.generate.params.temperature", "1e-9", "expected 0, or 0.001 to 100; 0 takes the"),
    ("evaluate.generate.params.top_p", "0", "top_p is 0.0; expected 1e-06 to 1"),
    ("sft.limit", "-1", "config.sft.limit is -1; expected 0 to 1000000000"),
    ("seed", "-1", "config.seed is -1; expected 0 to 4294967295"),
    ("seed", "1099511627776", "config.seed is 1099511627776; expected 0 to 4294967295"),
  ],
)
def test_a_late_stage_s_setting_is_refused_before_the_first_stage(
  field, value, line, capsys, tmp_path
):
  status = COMMANDS["xwin"](
    ["--config=configs/xwin.py:llama", f"--workdir={tmp_path}/w", f"--config.{field}={value}"]
  )
  said = capsys.readouterr().err
  assert status == 2
  assert line in said
  assert said.count("\n") == 1
  assert not (tmp_path / "w").exists()


def variants() -> list[str]:
  """Every config file with every variant that its get_config knows."""
  found = []
  for path in sorted((ROOT / "configs").rglob("*.py")):
    name = str(path.relative_to(ROOT))
    if path.name == "__init__.py":
      continue
    rows = list(runpy.run_path(str(path)).get("ROWS", ()))
    try:
      cli.load(f"{name}:no such variant")
    except UserError as e:
      known = str(e).partition("there are ")[2].split(", ")
      if rows and known != rows:
        known = [f"{v}/{row}" for v in known for row in rows]
      found += [name, *(f"{name}:{v}" for v in known if v)]
  return found


def command_of(spec: str) -> cli.Command:
  path = Path(spec.partition(":")[0])
  namespace = runpy.run_path(str(ROOT / path))
  return COMMANDS[namespace.get("EXPERIMENT", path.stem)]


@pytest.mark.parametrize("spec", variants())
def test_every_variant_lies_within_its_bounds(spec):
  from_config_dict(command_of(spec).kind, cli.load(spec))


def test_help_shows_the_bounds():
  text = describe(COMMANDS["dpo"].kind())
  assert "share of all steps over which lr rises from 0 [>= 0 and < 1]" in text
  for path, hint in fields(COMMANDS["dpo"].kind):
    line = next(line for line in text.split("\n") if line.strip().startswith(f"{path}="))
    assert not numeric(hint) or line.endswith(f"[{bounds.of(hint)}]")


@dataclasses.dataclass(frozen=True)
class Bare:
  rate: float = 1.0
  share: Annotated[float, Within(0, 1)] = 0.5
  words: tuple[Annotated[str, Filled("why")], ...] = ()


def test_twin_a_field_without_bounds_is_found():
  assert [p for p, hint in fields(Bare) if numeric(hint) and bounds.of(hint) is None] == ["rate"]


def test_a_number_without_bounds_is_finite_all_the_same():
  with pytest.raises(UserError, match=r"config\.rate is inf; expected a finite number"):
    from_config_dict(Bare, {"rate": math.inf})


def test_texts_have_bounds_too():
  with pytest.raises(UserError) as e:
    from_config_dict(Bare, {"words": ("a", "")})
  assert str(e.value) == "config.words is ''; expected a text that is not empty; why"


def test_a_config_made_in_python_is_checked():
  bounds.check(Bare(words=("a",)))
  with pytest.raises(ValueError, match="share is 2; expected 0 to 1"):
    bounds.check(Bare(share=2))
  with pytest.raises(ValueError, match="words is ''"):
    bounds.check(Bare(words=("",)))
