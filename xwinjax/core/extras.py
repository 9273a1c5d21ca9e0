"""Libraries that only some commands need come with an extra; a missing one is told in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from xwinjax.core.errors import UserError


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
  """Wraps imports. Raises UserError for a library that is missing, and names the extra with it."""
  try:
    yield
  except ModuleNotFoundError as e:
    if (e.name or "xwinjax").split(".")[0] == "xwinjax":
      raise
    raise UserError(
      f"{e.name} is missing; pip install 'xwinjax[{extra}]' gives it, then the same command again"
    ) from None
