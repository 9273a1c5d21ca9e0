"""Starts the processes of a run on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("worker.py")


def free_port() -> int:
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    return s.getsockname()[1]


def environment(devices: int) -> dict[str, str]:
  simulated = f"--xla_force_host_platform_device_count={devices}"
  return os.environ | {
    "PYTHONPATH": str(ROOT),
    "XLA_FLAGS": f"{simulated} --xla_cpu_enable_concurrency_optimized_scheduler=false",
  }


class Run:
  """So many processes of one command, each with its flags; what they said, and how they ended."""

  def __init__(self, commands: list[list[str]], devices: int, logs: Path):
    logs.mkdir(parents=True, exist_ok=True)
    self.logs = [logs / f"{i}.log" for i in range(len(commands))]
    self.processes = []
    for command, log in zip(commands, self.logs, strict=True):
      with log.open("w") as out:
        self.processes.append(
          subprocess.Popen(command, cwd=ROOT, env=environment(devices), stdout=out, stderr=out)
        )

  def end(self, timeout: float = 900) -> list[int]:
    """The exit statuses; none of them outlives this."""
    until = time.monotonic() + timeout
    try:
      return [p.wait(max(0.1, until - time.monotonic())) for p in self.processes]
    finally:
      for p in self.processes:
        if p.poll() is None:
          p.send_signal(signal.SIGKILL)

  def said(self, index: int) -> list[str]:
    """A process's lines, without what gloo says of its connections."""
    lines = self.logs[index].read_text().splitlines()
    return [line for line in lines if line and not line.startswith("[Gloo]")]


def start_flags(count: int, index: int, port: int, **more) -> dict:
  if count == 1:
    return {}
  coordinator = f"127.0.0.1:{port}"
  return {"coordinator": coordinator, "num_processes": count, "process_id": index, **more}


def worker(count: int, devices: int, logs: Path, *, start: dict | None = None, **given) -> Run:
  """`count` processes of worker.py with `devices` simulated devices each."""
  port = free_port()
  each = [{**given, "start": start_flags(count, i, port, **(start or {}))} for i in range(count)]
  return Run([[sys.executable, str(WORKER), json.dumps(g)] for g in each], devices, logs)


def command(
  module: str, count: int, devices: int, logs: Path, *flags: str, each: list[str] | None = None
) -> Run:
  """`count` processes of a command of experiments/, as a person starts them.

  `each` is a further flag of each process; "" for none.
  """
  port, commands = free_port(), []
  for i in range(count):
    own = [f"--{name}={value}" for name, value in start_flags(count, i, port).items()]
    own += [each[i]] if each and each[i] else []
    commands.append([sys.executable, "-m", module, *flags, *own])
  return Run(commands, devices, logs)
