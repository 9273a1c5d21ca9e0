"""The report of a chain: reads the files of its folder, and nothing that trains imports it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xwinjax.core.extras import needs


def write(folder: str | Path) -> Path:
  """Makes report.html in the folder of a chain, of self-rewarding rounds or of LIMA, done or not.

  Raises: UserError for another folder, and where matplotlib or Jinja is missing.
  """
  if (Path(folder) / "baseline").is_dir():
    return write_rounds(folder)
  if (Path(folder) / "tokens").is_dir():
    return write_lima(folder)
  with needs("report"):
    from xwinjax.report import page

  return page.write(folder)


def write_agreement(summary: dict[str, Any], title: str, path: str | Path) -> Path:
  """Makes the page of xwinjax.eval.agreement's figures. Raises UserError as `write` does."""
  with needs("report"):
    from xwinjax.report import agreement_page

  return agreement_page.write(summary, title, path)


def write_rounds(folder: str | Path) -> Path:
  """Makes report.html in the folder of experiments.self_rewarding. Raises UserError as `write`."""
  with needs("report"):
    from xwinjax.report import rounds_page

  return rounds_page.write(folder)


def write_lima(folder: str | Path) -> Path:
  """Makes report.html in the folder of experiments.lima. Raises UserError as `write` does."""
  with needs("report"):
    from xwinjax.report import lima_page

  return lima_page.write(folder)


def write_sweep(summary: dict[str, Any], path: str | Path) -> Path:
  """Makes the page of a sweep's figures. Raises UserError as `write` does."""
  with needs("report"):
    from xwinjax.report import sweep_page

  return sweep_page.write(summary, path)
