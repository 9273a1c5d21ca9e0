"""Systems side by side: win rates, strengths and every answer, on one page that needs no network.

  python -m experiments.compare runs/alpaca_a runs/alpaca_b --page compare.html
  python -m experiments.compare runs/xwin                      # a recipe's evaluations
  python -m experiments.compare mine=outputs.json annotations.json votes.db --judges gpt-4
  python -m experiments.compare question.jsonl runs/mt_a runs/mt_b pair.jsonl --json

A place is a run's folder (a benchmark's, a stage's with candidates.jsonl, a recipe's) or a file:
candidates, AlpacaEval's outputs or annotations, FastChat's questions, answers or grades, votes as
experiments.agreement reads them. NAME=PLACE names the system. Scores of one name compare all
systems that bear them. Strengths are Bradley-Terry's; docs/evaluation.md.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from xwinjax.core.arguments import Parser
from xwinjax.core.bounds import Positive, Seed, argument
from xwinjax.eval import answers, comparison
from xwinjax.recipes import cli
from xwinjax.report import compare as report
from xwinjax.report import pages, write_compare


def parser() -> Parser:
  p = Parser("experiments.compare", __doc__)
  p.add_argument("places", nargs="+", metavar="PLACE", help="a folder or a file, or NAME=PLACE")
  judges = "annotators in files of votes who are judges: each is told apart from people"
  p.add_argument("--judges", nargs="+", default=[], metavar="NAME", help=judges)
  p.add_argument("--page", default="compare.html", metavar="FILE", help="(compare.html)")
  p.add_argument(
    "--most",
    type=argument(Positive),
    default=2000,
    metavar="N",
    help="prompts whose answers the page holds, spread evenly over all (2000)",
  )
  p.add_argument("--seed", type=argument(Seed), default=0, help="of the intervals' resampling (0)")
  p.add_argument("--json", action="store_true", help="JSON on stdout, nothing else there; no page")
  return p


def main(argv: Sequence[str]) -> None:
  options = parser().parse_args(argv)
  found = answers.read(options.places, options.judges)
  summary = comparison.summary(found, options.seed)
  if options.json:
    print(json.dumps(summary, ensure_ascii=False))
    return
  print(report.text(summary))
  samples = comparison.samples(found, pages.spread_out(options.most, summary["prompts"]))
  title = ", ".join(Path(place.rpartition("=")[2]).name for place in options.places)
  print(f"wrote {write_compare(summary, samples, title, options.page)}", file=sys.stderr)


def command(argv: Sequence[str] | None = None) -> int:
  """Runs with these arguments (or the process's) and returns the exit status."""
  return cli.guarded(lambda: main(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
  sys.exit(command())
