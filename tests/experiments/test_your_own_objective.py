"""docs/your_own_objective.md runs as it stands, and what it trains learns."""

import itertools
import math
import re
from pathlib import Path

import pytest

DOC = Path(__file__).parents[2] / "docs" / "your_own_objective.md"


def blocks(text):
  return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  """The names the page's code defines, with what it printed."""
  folder, names, printed = tmp_path_factory.mktemp("page"), {}, []
  names["print"] = printed.append
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    for block in blocks(DOC.read_text(encoding="utf-8")):
      exec(compile(block, str(DOC), "exec"), names)
  return names, printed


def falls(history):
  """By a tenth at least, in every third of the way."""
  third = len(history) // 3
  marks = [history[i]["loss"] for i in (0, third, 2 * third, -1)]
  return all(b < 0.9 * a for a, b in itertools.pairwise(marks))


def test_page_prints_losses_that_fall(page):
  _, printed = page
  found = [re.fullmatch(r"(\w+): loss (\S+) → (\S+)", line) for line in printed]
  assert [m[1] for m in found if m] == ["composed", "simpo", "module"]
  assert all(float(m[3]) < float(m[2]) / 2 for m in found if m)


def test_composed_objective_trains(page):
  names, _ = page
  history = names["train"](names["composed"])
  first = history[0]
  assert first["loss"] == pytest.approx(math.log(2) + 0.2 * first["nll_chosen"], abs=1e-4)
  assert falls(history)
  assert history[-1]["margin"] > first["margin"]


def test_objective_from_scratch_trains(page):
  names, _ = page
  assert falls(names["history"])  # the last one the page trains


def test_a_module_of_ones_own_trains_in_the_same_step(page):
  names, _ = page
  losses = names["losses"]
  assert losses[0] == pytest.approx(math.log(2), abs=1e-5)  # its own reference pass
  assert falls([{"loss": x} for x in losses])


def test_twin_another_module_s_reference_is_not_log_2(page):
  names, _ = page
  first = names["batching"].build_batch(names["data"], names["plan"], 0)  # the Llama's log-probs
  mean, _ = names["objectives"].dpo(names["forward"])(names["mine"], first, None)
  assert float(mean.value()) != pytest.approx(math.log(2), abs=1e-3)


def test_falling_is_not_seen_where_nothing_is_learned(page):
  names, _ = page
  assert not falls(names["train"](names["composed"], lr=0.0))
