"""One program compiled for chips that are not there, in a process of its own.

  python -m planning.compile REQUEST    REQUEST: JSON; see `request`

Prints a JSON object on its last line: memory, seconds and what `planning.hlo` counts, or `error`.
A compiler that runs out of the chip's memory, or crashes, thereby ends no more than one row.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from planning.programs import Job

TOOLS = Path(__file__).resolve().parents[1]


def run(request: dict[str, Any], limit_s: float) -> dict[str, Any]:
  """What the process printed, or {"error": …}."""
  env = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
    "TPU_SKIP_MDS_QUERY": "1",
    "PYTHONPATH": os.pathsep.join([str(TOOLS), str(TOOLS.parent)]),
  }
  command = [sys.executable, "-m", "planning.compile", json.dumps(request)]
  try:
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=limit_s)
  except subprocess.TimeoutExpired:
    return {"error": f"not compiled in {limit_s:.0f} s"}
  lines = done.stdout.strip().splitlines()
  if done.returncode or not lines:
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    return {"error": f"the compiler ended with status {done.returncode}: {last[:300]}"}
  return json.loads(lines[-1])


def compiled(request: dict[str, Any]) -> dict[str, Any]:
  """Compiles what the request says; see `run`."""
  import jax
  from jax.experimental import topologies

  from planning import hlo, programs
  from xwinjax.model.config import LlamaConfig, RopeScaling
  from xwinjax.recipes.xwin import XwinConfig
  from xwinjax.sharding.mesh import make_mesh
  from xwinjax.stages.config import from_config_dict

  sizes = dict(request["model"])
  scaling = sizes.pop("rope_scaling")
  sizes["dropout"] = tuple(sizes["dropout"])
  model = LlamaConfig(**sizes, rope_scaling=RopeScaling(**scaling) if scaling else None)
  topology = topologies.get_topology_desc(request["topology"], platform="tpu")
  mesh = make_mesh(**request["mesh"], devices=topology.devices)
  config = from_config_dict(XwinConfig, request["config"])
  start, cpu = time.perf_counter(), time.process_time()
  with jax.set_mesh(mesh):
    program = programs.make(Job(**request["job"]), config, model, mesh)
    lowered = jax.jit(program.function, **program.jit).lower(*program.arguments)
    try:
      made = lowered.compile()
    except jax.errors.JaxRuntimeError as e:
      return {"error": short(str(e)), "seconds": time.perf_counter() - start}
  memory: Any = made.memory_analysis()
  return {
    "seconds": time.perf_counter() - start,
    "cpu_seconds": time.process_time() - cpu,
    "given": memory.argument_size_in_bytes,
    "temporary": memory.temp_size_in_bytes,
    "peak": memory.peak_memory_in_bytes,
    "cost": dataclasses.asdict(hlo.cost(made.as_text() or "")),
  }


def short(error: str) -> str:
  """A compiler's page of text as a line: out of memory by how much, or its first line."""
  used = re.search(r"Used ([\d.]+\w) of ([\d.]+\w) hbm", error)
  if used:
    return f"out of memory: {used.group(1)} of {used.group(2)}"
  return error.strip().splitlines()[0][:300]


if __name__ == "__main__":
  print(json.dumps(compiled(json.loads(sys.argv[1]))))
