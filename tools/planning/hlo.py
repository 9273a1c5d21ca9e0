"""What a compiled program does, read from its text: matrix products and collectives.

XLA's own cost analysis counts the body of a loop once. Here each is counted as often as the loop
runs, which its condition says.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8}
_HEAD = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
_CALLED = re.compile(
  r"(?:calls|to_apply|body|condition|branch_computations)=\{?((?:%[\w.\-]+,? ?)+)"
)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a computation."""

  name: str
  shape: str
  kind: str
  rest: str  # operands and attributes


@dataclasses.dataclass
class Cost:
  """What one device does in a run of the program."""

  flops: float = 0.0  # of matrix products, outside custom kernels
  kernels: dict[str, int] = dataclasses.field(default_factory=lambda: defaultdict(int))  # runs
  inside: dict[str, float] = dataclasses.field(default_factory=lambda: defaultdict(float))
  outside: dict[str, float] = dataclasses.field(default_factory=lambda: defaultdict(float))


def cost(text: str) -> Cost:
  """Adds up a compiled module's text.

  `inside` and `outside` hold the bytes of collectives' results by kind, within loops and out of
  them; an asynchronous one counts once.
  """
  computations, entry = _computations(text)
  total = Cost()

  def walk(name: str, times: int, looped: bool) -> None:
    shapes = {x.name: x.shape for x in computations[name]}
    for x in computations[name]:
      kind = x.kind.removesuffix("-start")
      if kind in COLLECTIVES:
        side = total.inside if looped else total.outside
        side[kind] += times * _result_bytes(x)
      elif x.kind == "custom-call" and "tpu_custom_call" in x.rest:
        total.kernels[re.sub(r"[.\d]+$", "", x.name)] += times
      elif x.kind in ("dot", "convolution"):
        total.flops += times * (_dot if x.kind == "dot" else _convolution)(x, shapes)
      if x.kind == "while":
        called = dict(re.findall(r"(condition|body)=%([\w.\-]+)", x.rest))
        known = re.search(r'known_trip_count":\{"n":"(\d+)"', x.rest)
        condition, body = computations[called["condition"]], computations[called["body"]]
        trips = int(known.group(1)) if known else _trips(condition, body)
        walk(called["body"], times * trips, True)
      elif kind not in COLLECTIVES:
        for group in _CALLED.findall(x.rest):
          for callee in re.findall(r"%([\w.\-]+)", group):
            walk(callee, times, looped)

  walk(entry, 1, False)
  return total


def _computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
  made: dict[str, list[Instruction]] = {}
  entry, current = "", None
  for line in text.splitlines():
    if current is None or not line.startswith(" "):
      head = _HEAD.match(line)
      if head:
        current = made.setdefault(head.group(1), [])
        entry = head.group(1) if line.startswith("ENTRY") else entry
      continue
    found = _LINE.match(line)
    if found:
      current.append(Instruction(*found.groups()))
  return made, entry


def _trips(condition: list[Instruction], body: list[Instruction]) -> int:
  """How often a loop runs: its counter's bound, in the body's steps; 1 where that does not show."""
  numbers, steps = _constants(condition), _constants(body)
  named = {x.name: x for x in condition}
  compared = next((x for x in condition if x.kind == "compare"), None)
  if compared is None or not numbers:
    return 1
  counter = next((named[n] for n in _names(compared) if n in named and n not in numbers), None)
  at = re.search(r"index=(\d+)", counter.rest) if counter else None
  step = 1
  if at and body[-1].kind == "tuple":
    added = {x.name: x for x in body if x.kind == "add"}.get(_names(body[-1])[int(at.group(1))])
    step = next((steps[n] for n in _names(added) if n in steps), 1) if added else 1
  return -(-max(numbers.values()) // max(step, 1))


def _constants(computation: list[Instruction]) -> dict[str, int]:
  """Whole numbers by name."""
  return {
    x.name: int(m.group(1))
    for x in computation
    if x.kind == "constant" and x.shape.startswith(("s32[]", "u32[]"))
    if (m := re.match(r"(\d+)\)", x.rest))
  }


def _names(x: Instruction) -> list[str]:
  """Of an instruction's operands."""
  return re.findall(r"%([\w.\-]+)", x.rest.split(")")[0])


def _dims(shape: str) -> list[int]:
  found = _SHAPE.search(shape)
  return [int(n) for n in found.group(2).split(",") if n] if found else []


def _result_bytes(x: Instruction) -> int:
  """Of a collective's result; a started one's tuple holds operand and result."""
  sizes = [
    _BYTES.get(kind, 4) * math.prod(int(n) for n in dims.split(",") if n)
    for kind, dims in _SHAPE.findall(x.shape)
  ]
  return max(sizes) if x.kind.endswith("-start") else sum(sizes)


def _operands(x: Instruction, shapes: dict[str, str]) -> list[list[int]]:
  return [_dims(shapes.get(name, "")) for name in _names(x)]


def _dot(x: Instruction, shapes: dict[str, str]) -> float:
  """2 · result · contracted sizes."""
  lhs = _operands(x, shapes)[0]
  axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", x.rest)
  contracted = math.prod(lhs[int(i)] for i in axes.group(1).split(",") if i) if axes else 1
  return 2.0 * math.prod(_dims(x.shape)) * contracted


def _convolution(x: Instruction, shapes: dict[str, str]) -> float:
  """2 · rows · features out · features in · places where window and input meet.

  A TPU's products of matrices are convolutions, axes of heads their space.
  """
  lhs, rhs = _operands(x, shapes)
  labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", x.rest)
  assert labels is not None
  left, right, out = labels.groups()
  result = _dims(x.shape)
  flops = 2.0 * result[out.index("b")] * result[out.index("f")] * rhs[right.index("i")]
  window = dict(re.findall(r"(size|stride|pad|lhs_dilate|rhs_dilate)=([\dx_\-]+)", x.rest))
  for label in filter(str.isdigit, left):
    pick = lambda name, default, n=int(label): (
      window[name].split("x")[n] if name in window else default
    )
    flops *= _meetings(
      lhs[left.index(label)],
      rhs[right.index(label)],
      result[out.index(label)],
      int(pick("stride", 1)),
      int(str(pick("pad", "0_0")).split("_")[0]),
      int(pick("lhs_dilate", 1)),
      int(pick("rhs_dilate", 1)),
    )
  return flops


def _meetings(size, window, out, stride, pad, dilated, spread) -> int:
  """Pairs of a place in the result and one in the window that meet an input, not its padding."""
  return sum(
    0 <= at <= (size - 1) * dilated and at % dilated == 0
    for o in range(out)
    for w in range(window)
    for at in (o * stride + w * spread - pad,)
  )
