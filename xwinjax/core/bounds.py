"""What a setting may be, declared beside it: `warmup: Annotated[float, Within(0, below=1)] = 0.03`.

One mechanism for every config: the command checks all fields before anything starts, `--help` shows
the bounds, and a test tries every field with values beyond them. NaN and infinity lie in none.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin, get_type_hints


def later(default: Any) -> Any:
  """A field, or by its type a group, that came after runs were made: their `identity` has none
  while it is the default."""
  if isinstance(default, type):
    return dataclasses.field(default_factory=default, metadata={"later": True})
  return dataclasses.field(default=default, metadata={"later": True})


@dataclasses.dataclass(frozen=True)
class Within:
  """Numbers from `least` to `most` (or up to, but not, `below`), and those of `also`.

  >>> str(Within(0, below=0.5)), str(Within(1)), str(Within(0.01, 100, also=(0,)))
  ('>= 0 and < 0.5', '>= 1', '0, or 0.01 to 100')
  >>> 0.5 in Within(0, below=0.5), 0 in Within(1, also=(0,)), math.nan in Within()
  (False, True, False)
  """

  least: float = -math.inf
  most: float = math.inf
  below: float = math.inf
  also: tuple[float, ...] = ()
  advice: str = ""  # what else to do, for those who give another value

  def __contains__(self, value: Any) -> bool:
    good = self.least <= value <= self.most and value < self.below
    return value in self.also or (good and -math.inf < value < math.inf)

  def __str__(self) -> str:
    if self.most < math.inf:
      range = f"{_plain(self.least)} to {_plain(self.most)}"
    else:
      ends = ((">=", self.least), ("<", self.below))
      parts = [f"{sign} {_plain(end)}" for sign, end in ends if math.isfinite(end)]
      range = " and ".join(parts) or "a finite number"
    return ", or ".join([*map(_plain, self.also), range])


@dataclasses.dataclass(frozen=True)
class Filled:
  """Texts that are not empty."""

  advice: str = ""

  def __contains__(self, value: Any) -> bool:
    return value != ""

  def __str__(self) -> str:
    return "a text that is not empty"


class OneOf(tuple[str, ...]):
  """Texts of a short list: `OneOf(("linear", "cosine"))`."""

  def __str__(self) -> str:
    return f"one of {', '.join(self)}"


Bound = Within | Filled | OneOf

Natural = Annotated[int, Within(0, 10**9)]
Positive = Annotated[int, Within(1, 10**9)]
Few = Annotated[int, Within(1, 2**12)]  # of what is compiled, or written side by side
Many = Annotated[int, Within(1, 2**16)]
Tokens = Annotated[int, Within(1, 2**20)]  # of a row, a text, an answer
Branches = Annotated[int, Within(1, 255)]  # of an example; see core.segments
Devices = Annotated[int, Within(1, 2**20, also=(-1,))]
Seed = Annotated[int, Within(0, 2**32 - 1)]  # the keys of jax hold 32 bits of it
Finite = Annotated[float, Within()]
Amount = Annotated[float, Within(0, 1e6)]
Share = Annotated[float, Within(0, 1)]
Part = Annotated[float, Within(0, below=1)]
Weight = Annotated[float, Within(0, 1000)]  # of a term of a loss


def _plain(x: float) -> str:
  return str(int(x)) if x == int(x) and abs(x) < 1e10 else f"{x:g}"


@functools.cache
def hints(kind: type) -> dict[str, Any]:
  """The types of a dataclass's fields, their bounds included."""
  return get_type_hints(kind, include_extras=True)


def plain(hint: Any) -> type:
  """The first type of a field's that holds values: float of `Annotated[float, …] | None`."""
  return plain(get_args(hint)[0]) if get_args(hint) else hint


def of(hint: Any) -> Bound | None:
  """The bound of a field's type, or of what a tuple or an optional field holds."""
  if get_origin(hint) is Annotated:
    return next((b for b in hint.__metadata__ if isinstance(b, (Within, Filled, OneOf))), None)
  return next((b for b in map(of, get_args(hint)) if b is not None), None)


def problem(bound: Bound | None, value: Any) -> str:
  """What is wrong with a value: "is 0; expected >= 1", or ""."""
  if bound is None or value in bound:
    return ""
  if isinstance(bound, OneOf):
    return f"{value!r} is not {bound}"
  return f"is {_short(value)}; expected {bound}" + (f"; {bound.advice}" if bound.advice else "")


def _short(value: Any) -> str:
  text = repr(value)
  return text if len(text) <= 60 else f"{text[:40]}… ({len(text)} characters)"


def argument(hint: Any) -> Callable[[str], Any]:
  """What argparse makes of a word: `add_argument("--seed", type=argument(Seed))`."""
  kind, bound = get_args(hint)

  def read(word: str) -> Any:
    try:
      value = kind(word)
    except ValueError:
      raise ArgumentTypeError(f"is {_short(word)}; expected {bound}") from None
    if wrong := problem(bound, value):
      raise ArgumentTypeError(wrong)
    return value

  return read


def check(config: Any, path: str = "") -> None:
  """Checks a dataclass's own fields and those of its groups.

  Raises: ValueError for the first value that its bound does not hold; `path` begins its name.
  """
  for f in dataclasses.fields(config):
    value = getattr(config, f.name)
    if dataclasses.is_dataclass(value):
      check(value, f"{path}{f.name}.")
    bound = of(hints(type(config))[f.name])
    if bound is None or value is None:
      continue
    for each in value if isinstance(value, tuple) else (value,):
      wrong = problem(bound, each)
      if wrong:
        raise ValueError(f"{path}{f.name} {wrong}")
