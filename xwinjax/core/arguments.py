"""Command lines with lists of files, which absl's flags do not have."""

from __future__ import annotations

import argparse
from typing import NoReturn

from xwinjax.core.errors import UserError


class Parser(argparse.ArgumentParser):
  """argparse whose --help shows a module's docstring first and whose mistakes are UserErrors."""

  def __init__(self, module: str, doc: str | None):
    super().__init__(
      prog=f"python -m {module}",
      description=(doc or "").strip(),
      allow_abbrev=False,
      formatter_class=argparse.RawDescriptionHelpFormatter,
    )

  def error(self, message: str) -> NoReturn:
    raise UserError(f"{message}; --help shows what is expected")
