"""The preference losses by the names that configs give them, alone or as a weighted sum.

A loss says by the names of its arguments what it needs: arrays of an example's answers (gain_A2,
policy_A2, lengths_A2, …), and settings (beta, …), which are fields of the config that trains on it.
A new loss is a function and a line here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax

from xwinjax.losses import lists, preference

Loss = Callable[..., jax.Array]

LOSSES: dict[str, Loss] = {
  "sigmoid": preference.dpo,
  "ipo": preference.ipo,
  "hinge": preference.hinge,
  "robust": preference.robust,
  "dpop": preference.dpop,
  "cpo": preference.cpo,
  "simpo": preference.simpo,
  "odds_ratio": preference.odds_ratio,
  "tdpo": preference.tdpo,
  "cringe": preference.cringe,
  "kto": preference.kto,
  "plackett_luce": lists.plackett_luce,
  "rrhf": lists.rrhf,
  "lipo": lists.lipo,
}
KINDS = ("pairs", "unpaired", "lists")  # of data: what a loss takes together


def terms(variant: str) -> list[tuple[float, str]]:
  """The (weight, name) of each loss of a sum.

  Raises: ValueError for a name that is unknown or comes twice, or a weight that is not positive.

  >>> terms("ipo")
  [(1.0, 'ipo')]
  >>> terms("sigmoid + 0.2*simpo")
  [(1.0, 'sigmoid'), (0.2, 'simpo')]
  """
  made = []
  for term in variant.split("+"):
    weight, star, name = term.strip().rpartition("*")
    name = name.strip()
    if name not in LOSSES:
      raise ValueError(f"variant {name!r} is not one of {', '.join(LOSSES)}")
    try:
      factor = float(weight) if star else 1.0
    except ValueError:
      factor = 0.0
    if not 0 < factor <= 1000:
      raise ValueError(f"variant {variant!r}: {weight!r} is no weight; expected 0 to 1000")
    if any(name == other for _, other in made):
      raise ValueError(f"variant {variant!r} names {name!r} twice; give it one weight")
    made.append((factor, name))
  return made


def needs(variant: str) -> set[str]:
  """The names of all arguments that the losses of a sum take."""
  return {name for _, loss in terms(variant) for name in inspect.signature(LOSSES[loss]).parameters}


def kind_of(variant: str) -> str:
  """Which of KINDS a sum's losses take. Raises ValueError where they differ."""
  kinds = set()
  for _, name in terms(variant):
    taken = needs(name)
    listed = any(argument.endswith("_AS") for argument in taken)
    kinds.add("lists" if listed else "unpaired" if "desirable_A" in taken else "pairs")
  if len(kinds) > 1:
    raise ValueError(f"variant {variant!r} mixes losses of {' and '.join(sorted(kinds))}")
  return kinds.pop()


def takes_reference(variant: str) -> bool:
  """Whether one of a sum's losses takes the log-probs of a reference."""
  return any(argument.startswith("gain_") for argument in needs(variant))


def takers(argument: str) -> list[str]:
  """The losses that take an argument of that name."""
  return [name for name in LOSSES if argument in needs(name)]


def each(variant: str, **given: Any) -> list[tuple[str, float, jax.Array]]:
  """(name, weight, value an example) of a variant's losses; each takes of `given` what it names."""
  made = []
  for weight, name in terms(variant):
    taken = {k: v for k, v in given.items() if k in inspect.signature(LOSSES[name]).parameters}
    made.append((name, weight, LOSSES[name](**taken)))
  return made


def weighted_sum(losses: list[tuple[str, float, jax.Array]]) -> jax.Array:
  """What `each` gave, added up.

  >>> import jax.numpy as jnp
  >>> given = {"gain_A2": jnp.array([[5.0, 0.0]]), "policy_A2": None, "beta": 0.1}
  >>> weighted_sum(each("ipo + 0.5*hinge", **given)).tolist()
  [0.25]
  """
  parts = [value if weight == 1 else weight * value for _, weight, value in losses]
  return sum(parts[1:], parts[0])
