"""A ballot: what annotators and judges said of items, whatever file it came from."""

from __future__ import annotations

import dataclasses
from typing import Any

from xwinjax.data.records import Counts

Row = dict[str, Any]
LABELS = ("A", "tie", "B")
GRADES = ("fail", "pass", "excellent")
NAMES = ("a", "b")
_SWAPPED = {"A": "B", "B": "A", "tie": "tie"}


@dataclasses.dataclass(frozen=True)
class Vote:
  """What one annotator said of one item: system a's answer to a prompt, against b's or alone."""

  prompt: str  # its text, which is its identity
  annotator: str
  a: str
  b: str = ""  # "" where a stands alone
  label: str = ""  # "A": a is better; "B", "tie", or "" where nobody asked
  turn: int = 1
  shown: str = ""  # "a" or "b" stood first on the page, where that is known
  usefulness: dict[str, int] = dataclasses.field(default_factory=dict, hash=False)  # by system
  grades: dict[str, list[str]] = dataclasses.field(default_factory=dict, hash=False)
  seconds: float | None = None
  share: float | None = None  # of the preference for a, 0 to 1, where a judge gives it

  @property
  def item(self) -> tuple[str, int, str, str]:
    return self.prompt, self.turn, self.a, self.b

  @property
  def credit(self) -> float:
    """What the vote gives a: a tie a half, a judge's share as it is."""
    return {"A": 1.0, "tie": 0.5}.get(self.label, 0.0) if self.share is None else self.share

  def swapped(self) -> Vote:
    """The same vote, told with b first."""
    return dataclasses.replace(
      self,
      a=self.b,
      b=self.a,
      label=_SWAPPED.get(self.label, ""),
      share=None if self.share is None else 1 - self.share,
      shown={"a": "b", "b": "a"}.get(self.shown, ""),
    )


@dataclasses.dataclass
class Ballot:
  """All that was read: votes, those of judges apart, and attention checks."""

  votes: list[Vote] = dataclasses.field(default_factory=list)
  judges: list[Vote] = dataclasses.field(default_factory=list)
  checks: dict[str, list[bool]] = dataclasses.field(default_factory=dict)  # annotator -> passed
  counts: Counts = dataclasses.field(default_factory=Counts)
  # What a row names by number: (data set, number) -> its prompt, and its systems where it has two.
  known: dict[tuple[str, str], tuple[str, ...]] = dataclasses.field(default_factory=dict)
