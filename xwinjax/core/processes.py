"""Several processes that are one run.

Every process runs the same program on its own devices. Process 0 leads: it alone decides what is
done, writes and speaks (`core.system.leads`); the others wait for it where `on_lead` is called. If
one of them ends, all do; see `core.watch`. With a single process nothing here costs anything.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from xwinjax.core import system
from xwinjax.core.errors import UserError
from xwinjax.core.watch import Watch

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Start:
  """What a command line says of its processes."""

  coordinator: str = ""  # HOST:PORT of process 0
  num_processes: int | None = None
  process_id: int | None = None
  distributed: bool | None = None  # ask the environment (SLURM, TPU, …); None: if it is clear
  lost_after: float = 60.0  # seconds without a sign of life after which a process is lost
  start_within: float = 300.0  # seconds for all to come

  def check(self) -> None:
    """Raises UserError for flags that do not go together."""
    given = (self.coordinator, self.num_processes, self.process_id)
    names = ("--coordinator=HOST:PORT", "--num_processes=N", "--process_id=I")
    missing = [n for n, value in zip(names, given, strict=True) if value in ("", None)]
    if missing and len(missing) < 3:
      raise UserError(f"{' and '.join(missing)} missing: {', '.join(names)} go together")
    if self.lost_after <= 0:
      raise UserError(f"--lost_after={self.lost_after:g}: expected seconds, more than 0")
    if missing:
      return
    assert self.num_processes is not None
    assert self.process_id is not None
    host, colon, port = self.coordinator.rpartition(":")
    if not (host and colon and port.isdigit()):
      raise UserError(f"--coordinator={self.coordinator}: expected HOST:PORT, as 10.0.0.1:1234")
    if self.num_processes < 1:
      raise UserError(f"--num_processes={self.num_processes}: expected at least 1")
    if not 0 <= self.process_id < self.num_processes:
      raise UserError(
        f"--process_id={self.process_id}: expected 0 to {self.num_processes - 1}, as "
        f"--num_processes={self.num_processes}"
      )

  def wanted(self) -> bool:
    """Whether there are to be several processes."""
    if self.coordinator or self.distributed is not None:
      return bool(self.coordinator or self.distributed)
    return environment_has_several()


def environment_has_several() -> bool:
  """Whether a launcher started this process as one of several.

  srun and mpirun say how many tasks a step has; GKE names the workers of a slice. A Cloud TPU VM
  says nothing in its environment: there --distributed asks.
  """
  tasks = (os.environ.get(n, "1") for n in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
  workers = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
  slices = os.environ.get("MEGASCALE_NUM_SLICES", "1")
  return any(n.isdigit() and int(n) > 1 for n in (*tasks, slices)) or len(workers) > 1


_watch: Watch | None = None
_turn = 0  # of `on_lead`


def start(given: Start) -> None:
  """Joins the other processes, if there are any; called once, before the first computation.

  Raises: UserError where they cannot be found.
  """
  global _watch
  given.check()
  if not given.wanted():
    return
  _wait_longer_on_cpu()
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
  late = threading.Timer(given.start_within, _give_up, (given,))  # where jax would abort
  late.daemon = True
  late.start()
  try:
    jax.distributed.initialize(
      given.coordinator or None,
      given.num_processes,
      given.process_id,
      initialization_timeout=int(given.start_within) + 60,
      coordinator_bind_address=_bind_address(given),
      # jax's own way to end is to abort with a stack trace: `Watch` is to be there before.
      heartbeat_timeout_seconds=int(3 * given.lost_after) + 60,
    )
  except Exception as e:  # whatever a cluster's own detection raises
    found = str(e).split("\n", 1)[0]
    where = f"--coordinator={given.coordinator}" if given.coordinator else "--distributed"
    raise UserError(
      f"{where}: this process does not find the others of its run ({found}); give all of them the "
      "same --coordinator and --num_processes, and each its --process_id"
    ) from None
  finally:
    late.cancel()
  from jax._src import distributed  # the store of keys behind it has no public name

  state = distributed.global_state
  if state.num_processes is None or state.num_processes < 2:
    return
  system.set_process(state.process_id)
  address = state.coordinator_address or given.coordinator
  _watch = Watch(state.client, address, state.process_id, state.num_processes, given.lost_after)
  _watch.start()
  jax.devices()  # made by all together: later, they may be waiting for process 0
  # So are gloo's connections, for which it waits 30 s and no longer.
  _watch.client.wait_at_barrier("devices", int(1000 * given.start_within))
  multihost_utils.sync_global_devices("start")


def _wait_longer_on_cpu() -> None:
  """Collective operations on CPU give up after 30 s, and one process may compile longer."""
  flags = os.environ.get("XLA_FLAGS", "")
  if os.environ.get("JAX_PLATFORMS") == "cpu" and "xla_cpu_collective" not in flags:
    names = ("collective_timeout", "collective_call_terminate_timeout")
    more = (f"--xla_cpu_{name}_seconds=1800" for name in names)
    os.environ["XLA_FLAGS"] = " ".join([flags, *more])


def _give_up(given: Start) -> None:
  print(
    f"error: after {given.start_within:.0f} s some processes of this run are still missing; start "
    f"all of them, with the same --coordinator{given.coordinator and '='}{given.coordinator}",
    file=sys.stderr,
    flush=True,
  )
  os._exit(2)


def _bind_address(given: Start) -> str | None:
  """Where process 0 listens: on the loopback alone where it was named so; None leaves it to jax."""
  host, _, port = given.coordinator.rpartition(":")
  return f"127.0.0.1:{port}" if host in ("127.0.0.1", "localhost") else None


def count() -> int:
  return 1 if _watch is None else _watch.count


def index() -> int:
  return 0 if _watch is None else _watch.index


def check_same(what: dict[str, str]) -> None:
  """Raises UserError on all processes where one of them was given something else."""
  watch = _watch
  if watch is None:
    return
  watch.tell(f"given/{watch.index}", json.dumps(what))

  def compare() -> None:
    for i in range(1, watch.count):
      theirs = json.loads(watch.hear(f"given/{i}"))
      for name, value in what.items():
        if theirs.get(name) != value:
          raise UserError(
            f"process {i} was given {name}={theirs.get(name)}, process 0 {name}={value}: all "
            "processes of a run are started by the same command"
          )

  on_lead(compare)


def on_lead(body: Callable[[], T]) -> T:
  """What `body` returns on process 0, on all; the others wait for it.

  `body` returns what JSON holds; it must not call `on_lead`, nor anything that computes on devices
  of several processes. What it raises as a UserError is raised on all.
  """
  global _turn
  if _watch is None:
    return body()
  _turn += 1
  key = f"turn/{_turn}"
  if system.leads():
    try:
      said = {"value": body()}
    except UserError as e:
      _watch.tell(key, json.dumps({"error": str(e)}))
      raise
    _watch.tell(key, json.dumps(said))
    return said["value"]
  said = json.loads(_watch.hear(key))
  if "error" in said:
    raise UserError(said["error"])
  return said["value"]


def lead_first(body: Callable[[], T]) -> T:
  """`body` on every process, on process 0 before the others: they may find what it left on disk."""
  if _watch is None:
    return body()
  kept: list[T] = []
  on_lead(lambda: kept.append(body()))
  return kept[0] if kept else body()


def gathered(tree: Any) -> Any:
  """Arrays as numpy, whole on every process wherever their parts lie."""

  def whole(x: Any) -> Any:
    spread = isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated)
    return multihost_utils.process_allgather(x, tiled=True) if spread else x

  return jax.device_get(jax.tree.map(whole, tree))


def exchanged(value: Any) -> list[Any]:
  """What every process gives here (JSON), by their numbers, on all of them."""
  if _watch is None:
    return [value]
  mine = np.frombuffer(json.dumps(value).encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array(len(mine))).reshape(-1)
  padded = np.zeros(1 << int(sizes.max()).bit_length(), np.uint8)  # few shapes are compiled
  padded[: len(mine)] = mine
  rows = np.asarray(multihost_utils.process_allgather(padded))
  return [json.loads(row[:n].tobytes()) for row, n in zip(rows, sizes, strict=True)]


def finish() -> None:
  """Waits until all processes have come to their end, and takes leave."""
  global _watch
  if _watch is not None:
    _watch.finish()
    _watch = None
    jax.distributed.shutdown()


def fail(text: str, status: int) -> None:
  """Says why this process ends, tells the others, and ends it; returns where it is alone.

  Where process 0 says the same, the others are silent.
  """
  if _watch is not None:
    _watch.fail(text, status)


def find_cause() -> None:
  """Ends this process where another's end explains what happened here; returns if none does."""
  if _watch is not None:
    _watch.find_cause()
