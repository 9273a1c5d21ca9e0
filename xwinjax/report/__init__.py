"""The report of a chain: reads the files of its folder, and nothing that trains imports it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xwinjax.core.extras import needs


def write(folder: str | Path) -> Path:
  """Makes report.html in a chain's folder, finished or not.

  Raises: UserError for a folder that is not a chain's, and where matplotlib or Jinja is missing.
  """
  with needs("report"):
    from xwinjax.report import page

  return page.write(folder)


def write_agreement(summary: dict[str, Any], title: str, path: str | Path) -> Path:
  """Makes the page of xwinjax.eval.agreement's figures. Raises UserError as `write` does."""
  with needs("report"):
    from xwinjax.report import agreement_page

  return agreement_page.write(summary, title, path)
