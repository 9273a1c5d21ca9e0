"""A process of another Python that answers lines of JSON with lines of JSON."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

from xwinjax.core.errors import UserError


class Spoken:
  """One that says a line when it is ready, and one for every line it is told."""

  def __init__(self, name: str, flag: str, command: list[str], environment: Mapping[str, str]):
    """`name` is what messages call it, `flag` the one that named its Python, `command[0]`."""
    self.name = name
    self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
    try:
      self.process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=self.log,
        text=True,
        env=environment,
      )
    except OSError as e:
      raise UserError(f"{flag} {command[0]}: {e.strerror or e}") from None
    self.hello = self._answer()

  def _answer(self) -> dict[str, Any]:
    assert self.process.stdout is not None
    line = self.process.stdout.readline()
    if not line:
      raise UserError(f"{self.name} did not start: {self._last_words()}")
    reply = json.loads(line)
    if "error" in reply:
      raise UserError(f"{self.name} failed: {reply['error']}")
    return reply

  def _last_words(self) -> str:
    self.log.seek(0)
    return (self.log.read().strip().splitlines() or ["it said nothing"])[-1]

  def ask(self, job: dict[str, Any]) -> dict[str, Any]:
    assert self.process.stdin is not None
    try:
      self.process.stdin.write(json.dumps(job) + "\n")
      self.process.stdin.flush()
    except BrokenPipeError:
      raise UserError(f"{self.name} ended: {self._last_words()}") from None
    return self._answer()

  def close(self) -> None:
    assert self.process.stdin is not None
    self.process.stdin.close()
    self.process.wait()
