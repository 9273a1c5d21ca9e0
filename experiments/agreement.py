"""How votes came out, and how far those who voted agree: on the terminal and as an HTML page.

  python -m experiments.agreement votes.db                    # and votes.html beside it
  python -m experiments.agreement --votes votes.jsonl --json
  python -m experiments.agreement --votes human.jsonl gpt4.jsonl --judges gpt-4 --page votes.html

Files are studies of experiments.annotate, its exports, or votes of MT-bench, PandaLM or AlpacaEval
(xwinjax/eval/votes.py). Scores in a study's candidate files are told as judges of their own.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from xwinjax.core.arguments import Parser
from xwinjax.core.bounds import Seed, Share, argument
from xwinjax.core.errors import UserError
from xwinjax.eval import agreement, votes
from xwinjax.recipes import cli
from xwinjax.report import agreement as votes_report
from xwinjax.report import write_agreement


def parser() -> Parser:
  p = Parser("experiments.agreement", __doc__)
  p.add_argument("db", nargs="*", help="a study's votes.db")
  p.add_argument("--votes", nargs="+", default=[], metavar="FILE", help=".json, .jsonl, or .gz")
  p.add_argument(
    "--judges",
    nargs="+",
    default=[],
    metavar="NAME",
    help="annotators who are judges: they are compared with people, and do not vote",
  )
  p.add_argument("--system", metavar="NAME", help="tell comparisons from this system's side")
  p.add_argument(
    "--checks",
    type=argument(Share),
    default=0.0,
    metavar="SHARE",
    help="leave out annotators who passed less than this share of their attention checks (0: none)",
  )
  p.add_argument("--seed", type=argument(Seed), default=0, help="of the intervals' resampling (0)")
  p.add_argument("--json", action="store_true", help="JSON on stdout, nothing else there")
  p.add_argument("--page", metavar="FILE", help="where the HTML page goes")
  return p


def main(argv: Sequence[str]) -> None:
  options, ballot = parser().parse_args(argv), votes.Ballot()
  if not (options.db or options.votes):
    raise UserError("expected a votes.db, or --votes FILE; --help shows more")
  for file in options.db + options.votes:
    votes.read(file, options.judges, ballot)
  found = agreement.summary(
    ballot, system=options.system, least_checks=options.checks, seed=options.seed
  )
  print(json.dumps(found, ensure_ascii=False) if options.json else votes_report.text(found))
  beside = Path(options.db[0]).with_suffix(".html") if options.db and not options.json else None
  if page := options.page or beside:
    title = ", ".join(Path(file).name for file in options.db + options.votes)
    print(f"wrote {write_agreement(found, title, page)}", file=sys.stderr)


def command(argv: Sequence[str] | None = None) -> int:
  """Runs with these arguments (or the process's) and returns the exit status."""
  return cli.guarded(lambda: main(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
  sys.exit(command())
