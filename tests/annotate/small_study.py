"""What the tests of the page share: texts that would run if anything let them, a real server."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
EVIL = '<img src=x onerror="document.title=1"><script>document.title=1</script>{{7*7}} & "quoted"'
PROMPTS = ("Name a colour.", f"What does {EVIL} do?", "Say nothing.")


def write_jsonl(path: Path, rows) -> Path:
  path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
  return path


@contextlib.contextmanager
def served(*arguments: str, port: int = 0) -> Iterator[tuple[subprocess.Popen, dict[str, str]]]:
  """Runs experiments.annotate; gives the process and each annotator's link."""
  process = subprocess.Popen(
    [sys.executable, "-m", "experiments.annotate", f"--port={port}", *arguments],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env=os.environ | {"PYTHONUNBUFFERED": "1"},
  )
  try:
    links, said = {}, []
    assert process.stdout is not None
    for line in process.stdout:
      said.append(line)
      links |= re.findall(r"^(.+): \d+ of \d+ judged; (http\S+)", line)
      if line.startswith("serving"):
        break
    else:
      raise AssertionError("".join(said))
    yield process, links
  finally:
    if process.poll() is None:
      process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
