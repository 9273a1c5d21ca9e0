"""The report: a page of sections and a summary, from the files of a run and from nothing else.

A recipe has a module with the same four names: `Run` (reads a folder), `summary`, `text`, `page`.
Nothing that trains imports this room.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from xwinjax.core.errors import UserError

NAME = "report.html"
RECIPES = {"xwin": "chain", "self_rewarding": "rounds", "lima": "lima"}  # recipe -> its module


def module(recipe: str) -> Any:
  """What knows a recipe's runs."""
  return importlib.import_module(f"xwinjax.report.{RECIPES[recipe]}")


def _run(folder: str | Path) -> tuple[Any, Any]:
  """The module of the folder's recipe, and the folder as it reads it."""
  from xwinjax.report import workdir

  recipe = workdir.recipe(folder)
  if recipe not in RECIPES:
    raise UserError(
      f"{Path(folder) / workdir.RECIPE}: recipe {recipe!r} is not one of {', '.join(RECIPES)}"
    )
  return module(recipe), module(recipe).Run(folder)


def summary(folder: str | Path) -> dict[str, Any]:
  """What summary.json holds of a run, finished or not. Raises UserError for another folder."""
  recipe, run = _run(folder)
  return recipe.summary(run)


def text(summary: dict[str, Any], recipe: str) -> str:
  """A summary as the lines a person reads at the end of a run."""
  return module(recipe).text(summary)


def write(folder: str | Path) -> Path:
  """Makes report.html in the folder of a run, finished or not.

  Raises: UserError for another folder, and where matplotlib or Jinja is missing.
  """
  from xwinjax.report import pages

  recipe, run = _run(folder)
  return pages.write(recipe.page(run), run.folder / NAME)


def write_agreement(summary: dict[str, Any], title: str, path: str | Path) -> Path:
  """Makes the page of xwinjax.eval.agreement's figures. Raises UserError as `write` does."""
  from xwinjax.report import agreement, pages

  return pages.write(agreement.page(summary, title), path)


def write_sweep(summary: dict[str, Any], path: str | Path) -> Path:
  """Makes the page of a sweep's figures. Raises UserError as `write` does."""
  from xwinjax.report import pages, sweep

  return pages.write(sweep.page(summary), path)


def write_compare(
  summary: dict[str, Any], samples: dict[str, Any], title: str, path: str | Path
) -> Path:
  """Makes the page of xwinjax.eval.comparison's figures. Raises UserError as `write` does."""
  from xwinjax.report import compare, pages

  return pages.write(compare.page(summary, samples, title), path)
