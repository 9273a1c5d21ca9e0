"""Run in a copy of the repository: the judge is made by its name and scores a file."""

import json
import sys
from pathlib import Path

from xwinjax.recipes import judges
from xwinjax.stages import score
from xwinjax.stages.score import JudgeConfig
from xwinjax.stages.stage import Context

TEXTS = ("one", "one two three")


def main(folder: Path) -> None:
  assert Path(judges.__file__).is_relative_to(Path.cwd()), "another copy is imported"
  folder.mkdir()
  file = folder / "candidates.jsonl"
  row = {"prompt": "Count.", "candidates": [{"text": text} for text in TEXTS]}
  file.write_text(json.dumps(row) + "\n")
  judge = judges.make(JudgeConfig(by="brevity"))
  inputs = {"candidates": file}
  figures = score.STAGE.run(Context(), folder / "s", score.ScoreConfig(), inputs, judge=judge)
  scored = json.loads((folder / "s" / "candidates.jsonl").read_text())
  assert [c["scores"] for c in scored["candidates"]] == [{"brevity": -1.0}, {"brevity": -3.0}]
  assert (figures["score"], figures["mean"]) == ("brevity", -2.0)


if __name__ == "__main__":
  main(Path(sys.argv[1]))
  print("works")
