"""Win rates from published AlpacaEval annotations, raw and length-controlled.

  python -m experiments.leaderboard results/*/alpaca_eval_gpt4/annotations.json --csv board.csv
  python -m experiments.leaderboard annotations.json --gamed df_gamed.csv --json

Preferences between 1 and 2 count as they are, 1.5 and 0 as draws; null ones are left out and
counted. The length-controlled win rate is alpaca_eval's own regression. What the published one
needs beside the annotations, df_gamed.csv, is a file of the dataset tatsu-lab/alpaca_eval:

  hf download tatsu-lab/alpaca_eval df_gamed.csv --repo-type dataset --local-dir .

Without it (here, or in the Hub's cache, where the official tool leaves it) the official variant
that knows lengths alone takes its place (`LC, lengths alone`): published rows come out otherwise.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from xwinjax.core.arguments import Parser
from xwinjax.core.bounds import Natural, argument
from xwinjax.core.errors import UserError
from xwinjax.eval import leaderboard
from xwinjax.recipes import cli
from xwinjax.report import leaderboard as report


def parser() -> Parser:
  p = Parser("experiments.leaderboard", __doc__)
  p.add_argument("annotations", nargs="+", metavar="ANNOTATIONS", help=".json, .jsonl, or .gz")
  p.add_argument("--gamed", metavar="FILE", help="AlpacaEval's df_gamed.csv")
  p.add_argument("--baseline", metavar="NAME", help="the system that others are compared with")
  p.add_argument("--raw", action="store_true", help="no length control; needs no scikit-learn")
  intervals = "95 %% intervals of length control from N resamples of prompts (0: none)"
  p.add_argument("--resamples", type=argument(Natural), default=0, metavar="N", help=intervals)
  p.add_argument("--json", action="store_true", help="JSON on stdout, nothing else there")
  p.add_argument("--csv", metavar="FILE", help="also a file like alpaca_eval's leaderboard.csv")
  return p


def main(argv: Sequence[str]) -> None:
  options = parser().parse_args(argv)
  entries = leaderboard.read(options.annotations, options.baseline)
  path = Path(options.gamed) if options.gamed else leaderboard.cached_gamed()
  gamed = leaderboard.read_gamed(path) if path and not options.raw else None
  if options.gamed and options.raw:
    raise UserError("--gamed with --raw: the file serves length control; leave one of them out")
  if options.baseline and all(e.baseline != options.baseline for e in entries):
    names = sorted({e.model for e in entries} | {e.baseline for e in entries})
    raise UserError(f"--baseline={options.baseline}: not among {', '.join(names)}")
  rows = list(
    leaderboard.rows(entries, gamed, control=not options.raw, bootstrap=options.resamples)
  )
  if options.json:
    print(json.dumps(rows, ensure_ascii=False, indent=1))
  else:
    print(report.text(rows))
  if options.csv:
    report.write_csv(rows, options.csv)
    print(f"wrote {options.csv}", file=sys.stderr)


def command(argv: Sequence[str] | None = None) -> int:
  """Runs with these arguments (or the process's) and returns the exit status."""
  return cli.guarded(lambda: main(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
  sys.exit(command())
