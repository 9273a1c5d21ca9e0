"""The report of a chain: reads the files of its folder, and nothing that trains imports it."""

from __future__ import annotations

from pathlib import Path

from xwinjax.core.errors import UserError


def write(folder: str | Path) -> Path:
  """Makes report.html in a chain's folder, finished or not.

  Raises: UserError for a folder that is not a chain's, and where matplotlib or Jinja is missing.
  """
  try:
    from xwinjax.report import page
  except ModuleNotFoundError as e:
    if (e.name or "").split(".")[0] not in ("matplotlib", "jinja2"):
      raise
    raise UserError(
        f"no report.html: {e.name} is missing; pip install 'xwinjax[report]' gives the report, "
        f"then python -m experiments.report --workdir={folder}"
    ) from None
  return page.write(folder)
