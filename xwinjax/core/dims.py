"""The dimension letters that end array names, and a check that they agree.

  B  batch (rows)            T  time (tokens in a row)     D  model width
  H  query heads             K  key/value heads            N  head size
  F  feed-forward width      V  vocabulary                 L  layers
  P  prompts                 S  samples a prompt           M  supervised tokens
  E  examples in a row       R  branches of an example     G  groups (data shards)
  W  cache window            C  decode steps in a chunk   A  pairs of answers
  Z  rank of an adapter

A digit stands for itself: ``rewards_BE2`` has a last axis of size 2.
"""

from __future__ import annotations

LETTERS = "BTDHKNFVLPSMERGWCAZ"


def check_dims(**arrays) -> dict[str, int]:
  """Checks that arrays named ``x_BTD`` share the sizes their letters claim.

  Runs on shapes alone, so it works while tracing and costs nothing at run time.

  Returns: the size of every letter.
  Raises: ValueError naming the first array that disagrees.

  >>> import numpy as np
  >>> check_dims(tokens_BT=np.zeros((2, 5)), mask_BT=np.ones((2, 5)))
  {'B': 2, 'T': 5}
  """
  sizes: dict[str, int] = {}
  owner: dict[str, str] = {}
  for name, array in arrays.items():
    letters = name.rpartition("_")[2]
    shape = tuple(array.shape)
    if len(letters) != len(shape):
      axes = ", ".join(letters)
      raise ValueError(f"{name} has shape {shape}; expected {len(letters)} axes ({axes})")
    for letter, size in zip(letters, shape, strict=True):
      expected = int(letter) if letter.isdigit() else sizes.setdefault(letter, size)
      if not letter.isdigit():
        owner.setdefault(letter, name)
      if size != expected:
        why = "" if letter.isdigit() else f" as in {owner[letter]}"
        raise ValueError(f"{name} has shape {shape}; expected {letter} = {expected}{why}")
  return sizes


def check_alike(**arrays) -> None:
  """Checks that all arrays have the shape of the first: broadcasting would pair the wrong numbers.

  None is no array.

  Raises: ValueError naming the first array that has not.

  >>> import numpy as np
  >>> check_alike(policy_A2=np.zeros((3, 2)), reference_A2=np.zeros((3, 2)))
  """
  (first, like), *others = arrays.items()
  for name, array in others:
    if array is not None and array.shape != like.shape:
      raise ValueError(f"{name} has shape {array.shape}; expected {like.shape} as of {first}")
