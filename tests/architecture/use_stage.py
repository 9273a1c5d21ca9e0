"""Run in a copy of the repository: the stage works alone, and stands in its place in the recipe."""

import dataclasses
import json
import sys
from pathlib import Path

from xwinjax.recipes import cli, xwin
from xwinjax.stages import lengths
from xwinjax.stages.config import from_config_dict
from xwinjax.stages.stage import Context

TEXTS = (("one", "one two three"), ("one two three four", "one two"))


def main(folder: Path) -> None:
  assert Path(lengths.__file__).is_relative_to(Path.cwd()), "another copy is imported"
  config = from_config_dict(xwin.XwinConfig, cli.load("configs/xwin.py:sandbox"))
  (folder / "reward" / "model").mkdir(parents=True)  # a judge's files must be there
  context = Context(dataclasses.replace(config.model, template="vicuna"))
  steps = {step.place: step for step in xwin.steps(config, context, folder)}
  places = list(steps)
  at = places.index("lengths")
  assert places[at - 1 : at + 2] == ["sample", "lengths", "score"], places

  file = folder / "sample" / "candidates.jsonl"
  file.parent.mkdir()
  rows = [{"prompt": "Count.", "candidates": [{"text": t} for t in texts]} for texts in TEXTS]
  file.write_text("".join(json.dumps(row) + "\n" for row in rows))
  step = steps["lengths"]
  words = dataclasses.replace(step.config, unit="words")
  figures = step.stage.run(context, folder / step.place, words, step.reads)
  written = json.loads((folder / "lengths" / "lengths.json").read_text())
  assert written == {"answers": 4, "mean": 2.5, "longest": 4}, written
  assert written.items() <= figures.items()


if __name__ == "__main__":
  main(Path(sys.argv[1]))
  print("works")
