"""Files of several systems, written PLACE or NAME=PLACE, and what each is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from xwinjax.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Source:
  """A file or folder of a system's. `given` says whether its name was."""

  name: str
  path: Path
  given: bool = False


def sources(specs: Sequence[str], flag: str = "") -> list[Source]:
  """Each by the name it is given, its file's own, or its folder's where two files have the same.

  Where neither tells them apart, by its path.

  Args:
    flag: what opens an error's line.

  Raises: UserError where two are given one name.
  """
  split = [("", "", spec) if Path(spec).exists() else spec.rpartition("=") for spec in specs]
  paths = [Path(place) for *_, place in split]
  stems = [path.absolute().name.split(".")[0] for path in paths]
  folders = [path.absolute().parent.name for path in paths]
  found = []
  for (name, _, place), path, stem, folder in zip(split, paths, stems, folders, strict=True):
    own = next((n for n, of in ((stem, stems), (folder, folders)) if of.count(n) == 1), place)
    found.append(Source(name or own, path, bool(name)))
  names = [source.name for source in found]
  for source in found:
    if names.count(source.name) > 1:
      raise UserError(
        f"{flag}{source.path}: two systems are called {source.name!r}; write NAME={source.path}"
      )
  return found
