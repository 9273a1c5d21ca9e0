"""What of a conversation that is longer than the context is trained on."""

from __future__ import annotations

from xwinjax.core.errors import UserError
from xwinjax.data.records import Counts, Messages
from xwinjax.data.templates import Encoded, Renderer

TOO_LONG = ("turns", "blocks", "cut", "drop")
LOSS_ON = ("all", "last")
SPLIT, BLOCKS = "split: conversations", "split: into blocks"


def check(too_long: str, loss_on: str) -> None:
  """Raises UserError for choices that do not exist or exclude each other."""
  for name, value, known in (("too_long", too_long, TOO_LONG), ("loss_on", loss_on, LOSS_ON)):
    if value not in known:
      raise UserError(f"{name} {value!r} is not one of {', '.join(known)}")
  if (too_long, loss_on) == ("blocks", "last"):
    raise UserError(
      "too_long 'blocks' trains on the answers of every block, and loss_on 'last' on the "
      "conversation's last alone; set loss_on to 'all', or too_long to 'turns'"
    )


def fitted(
  messages: Messages, renderer: Renderer, max_length: int, too_long: str, counts: Counts
) -> list[tuple[Messages, Encoded]]:
  """What of a conversation is trained on, as sequences; counts what is lost, unless it is all."""
  encoded = renderer.encode(messages)
  if len(encoded.ids) <= max_length:
    return [(messages, encoded)]
  if too_long == "cut":
    encoded.ids[max_length:], encoded.mask[max_length:] = [], []
    counts[f"cut: text ends at {max_length} tokens without an end token"] += 1
    return [(messages, encoded)]
  if too_long == "blocks":
    return blocks(messages, renderer, max_length, counts)
  while too_long == "turns" and len(encoded.ids) > max_length and len(messages) > 3:
    messages = messages[:-2]
    encoded = renderer.encode(messages)
  if len(encoded.ids) > max_length:
    return []
  counts["cut: last exchanges left out to fit"] += 1
  return [(messages, encoded)]


def blocks(
  messages: Messages, renderer: Renderer, max_length: int, counts: Counts
) -> list[tuple[Messages, Encoded]]:
  """A conversation as blocks of whole exchanges, each block as long as fits in `max_length`.

  A block opens with a question, and every exchange is in one block alone: what was said in earlier
  blocks is not seen. An exchange that does not fit by itself is left out, counted where others are
  kept, and ends its block. The system turn opens every block, which is ours.

  Source: Ni et al. 2024, arXiv 2405.20335.
  """
  system = messages[:1] if messages[0].role == "system" else ()
  turns = messages[len(system) :]

  def fit(block: Messages) -> tuple[Messages, Encoded] | None:
    encoded = renderer.encode(block)
    return (block, encoded) if len(encoded.ids) <= max_length else None

  made: list[tuple[Messages, Encoded]] = []
  grows, left_out = False, 0
  for i in range(0, len(turns), 2):
    exchange = turns[i : i + 2]
    if grows and (longer := fit(made[-1][0] + exchange)):
      made[-1] = longer
    elif alone := fit(system + exchange):
      made.append(alone)
      grows = True
    else:
      grows, left_out = False, left_out + 1
  if made and left_out:
    counts[f"cut: exchanges longer than {max_length} tokens left out"] += left_out
  return made
