"""Xwin's analyses as configs: every row is one, and differs from the others in what it says."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from xwinjax.core.errors import UserError
from xwinjax.recipes import cli, sweep
from xwinjax.recipes.xwin import XwinConfig
from xwinjax.stages.config import differences, from_config_dict, identity

ROOT = Path(__file__).parents[2]

NAMES = ("xwin_candidates", "xwin_rank", "xwin_rejected", "xwin_reward", "xwin_sft", "xwin_start")


def settings(spec: str) -> dict[str, Any]:
  return identity(from_config_dict(XwinConfig, cli.load(f"configs/{spec}")))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", ["sandbox", "laptop", "llama", "llama2_70b"])
def test_every_row_is_a_config_and_differs_from_the_others(name, variant):
  rows = runpy.run_path(str(ROOT / "configs" / "ablations" / f"{name}.py"))["ROWS"]
  made = {row: settings(f"ablations/{name}.py:{variant}/{row}") for row in rows}
  assert len(set(map(repr, made.values()))) == len(made)
  assert next(iter(made.values()))["sample"]["generate"]["samples"] == 64


def test_a_row_without_a_variant_is_told_where_to_name_one():
  with pytest.raises(
    UserError, match="'chain' is a row; name a variant before it, as in :sandbox/"
  ):
    cli.load("configs/ablations/xwin_start.py:chain")


def test_rows_change_what_they_say_and_nothing_else():
  chain = settings("ablations/xwin_start.py:sandbox/chain")
  assert chain == settings("xwin.py:sandbox")
  changed = lambda spec: differences(chain, settings(f"ablations/{spec}"))
  assert changed("xwin_start.py:sandbox/no_rs") == ["dpo_from was 'rs' and is 'sft'"]
  assert changed("xwin_annotators.py:base") == []
  assert changed("xwin_annotators.py:no_contrasts") == ["sandbox.label.contrasts was 4000 and is 0"]
  stop = lambda row: settings(f"ablations/xwin_overoptimisation.py:{row}")
  assert stop("all")["dpo_from"] == "sft"
  noise = differences(stop("all"), stop("careless"))
  assert [line.split(" was ")[0] for line in noise] == ["sandbox.label.noise"]
  assert changed("xwin_candidates.py:sandbox/n4") == ["select.first was 0 and is 4"]


@pytest.mark.parametrize(
  "spec",
  [
    *(f"{name}.py:sandbox" for name in NAMES),
    "xwin_annotators.py",
    "xwin_dpo.py",
    "xwin_overoptimisation.py",
  ],
)
def test_a_sweep_knows_its_rows_and_figures(spec):
  a = sweep.read(f"configs/ablations/{spec}")
  assert a.experiment == "xwin"
  assert {r for ours, _, theirs in a.expects for r in (ours, theirs)} <= set(a.rows)
  if a.axis:
    assert set(a.axis[1]) == set(a.rows)
