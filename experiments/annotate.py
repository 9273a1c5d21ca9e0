"""Serves a page on this machine on which people judge answers, blind; Ctrl-C stops it.

  python -m experiments.annotate --prompts prompts.jsonl --answers sft.jsonl dpo.jsonl \\
      --annotators anna ben
  python -m experiments.annotate                          # goes on with votes.db
  python -m experiments.annotate --export votes.csv       # or .jsonl
  python -m experiments.agreement votes.db

Each annotator gets a link of their own. It is printed once and cannot be shown again; the page
goes on where they stopped. docs/annotate.md says how to reach the page from another machine.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

from xwinjax.core import bounds
from xwinjax.core.arguments import Parser
from xwinjax.core.bounds import Within
from xwinjax.core.extras import needs
from xwinjax.data.rows import BAD_ROWS
from xwinjax.recipes import cli

Port = Annotated[int, Within(0, 65535)]


def parser() -> Parser:
  p = Parser("experiments.annotate", __doc__)
  p.add_argument("--db", default="votes.db", help="the study's file (votes.db)")
  p.add_argument("--prompts", help="prompts, in any format of docs/data_formats.md")
  p.add_argument(
    "--answers",
    nargs="+",
    metavar="[NAME=]FILE",
    help="a file of answers a system, matched to prompts by text",
  )
  p.add_argument(
    "--ask",
    default="verdict",
    metavar="LIST",
    help="some of verdict, usefulness "
    "(1-6 each answer), grades (fail/pass/excellent each turn); default verdict",
  )
  pairs = "compare the first system with each other one (first), or every two"
  p.add_argument("--pairs", default="first", metavar="first|all", help=pairs)
  share, seed, port = map(bounds.argument, (bounds.Part, bounds.Seed, Port))
  checks = "attention checks, as a share of the items (0.05)"
  p.add_argument("--checks", type=share, default=0.05, metavar="SHARE", help=checks)
  p.add_argument("--seed", type=seed, default=0, help="of orders and checks (0)")
  bad = "what malformed rows of --prompts do: stop, or skip them"
  p.add_argument("--bad_rows", default="stop", choices=BAD_ROWS, help=bad)
  p.add_argument("--annotators", nargs="+", default=[], metavar="NAME", help="new annotators")
  p.add_argument("--new_link", metavar="NAME", help="a new link; the one before becomes void")
  p.add_argument("--port", type=port, default=8400, help="on 127.0.0.1 (8400); 0 takes a free one")
  p.add_argument("--export", metavar="FILE", help="writes all votes to a .jsonl or .csv and ends")
  return p


def command(argv: Sequence[str] | None = None) -> int:
  """Runs with these arguments (or the process's) and returns the exit status."""
  return cli.guarded(lambda: main(sys.argv[1:] if argv is None else argv), "stopped")


def main(argv: Sequence[str]) -> None:
  options = parser().parse_args(argv)
  with needs("annotate"):
    from xwinjax.annotate import session
  session.run(options)


if __name__ == "__main__":
  sys.exit(command())
