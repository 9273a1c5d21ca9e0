"""The runs below some folders: a list of them, one of them, or how two differ.

  python -m experiments.runs runs/
  python -m experiments.runs --show runs/demo
  python -m experiments.runs --diff runs/demo runs/other

A run is what a command made in its --workdir: a recipe's with all its stages, or a stage's alone.
Its settings are in its config.json, which runs again: `--config=runs/demo/config.json`. --diff says
which settings, data (by sha256), versions (of the code, too), machine and figures differ.
"""

import json
import sys
from collections.abc import Sequence

from xwinjax.core.arguments import Parser
from xwinjax.core.errors import UserError
from xwinjax.recipes import cli, runs
from xwinjax.report import runs as report


def parser() -> Parser:
  p = Parser("experiments.runs", __doc__)
  p.add_argument("folders", nargs="*", metavar="FOLDER", help="whose runs are listed; default runs")
  p.add_argument("--show", metavar="RUN", help="one run: settings, stages, figures")
  p.add_argument("--diff", nargs=2, metavar="RUN", help="what is not the same in two runs")
  p.add_argument("--json", action="store_true", help="JSON on stdout, nothing else there")
  return p


def main(argv: Sequence[str]) -> None:
  options = parser().parse_args(argv)
  if bool(options.folders) + bool(options.show) + bool(options.diff) > 1:
    raise UserError("folders, --show and --diff: give one of them")
  if options.diff:
    made = runs.difference(*map(runs.one, options.diff))
    text = report.differences(made)
  elif options.show:
    run = runs.one(options.show)
    made = {**runs.row(run), "config": run.config(), "inputs": run.inputs()}
    text = report.one(made, run.manifests)
  else:
    made = [runs.row(run) for run in runs.under(options.folders or ["runs"])]
    text = report.listed(made)
  print(json.dumps(made, ensure_ascii=False, indent=1) if options.json else text)


def command(argv: Sequence[str] | None = None) -> int:
  """Runs with these arguments (or the process's) and returns the exit status."""
  return cli.guarded(lambda: main(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
  sys.exit(command())
