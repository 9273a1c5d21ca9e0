"""Every row of one or more ablations, for several seeds, in one table and one page.

  python -m experiments.sweep --config configs/ablations/lima_quality.py:sandbox \\
      --workdir runs/quality --seeds 0 1 2
  python -m experiments.sweep --workdir runs/study --config \\
      configs/ablations/lima_{diversity,quality,quantity,multiturn}.py:sandbox
  python -m experiments.sweep --config configs/ablations/self_rewarding.py --rows base no_eft \\
      --workdir runs/self_ablations
  python -m experiments.sweep --config configs/xwin.py:sandbox --seeds 0 1 2 3 4 5 \\
      --workdir runs/seeds --publish xwin_sandbox

Each run is a process of its own in WORKDIR/ABLATION/ROW/seedN, with a log beside it; one that is
done is skipped, one that was killed continues. A config without ROWS is one row. Further
--config.FIELD=VALUE flags go to every run; {row} and {seed} in them are filled in. Writes
sweep.json and sweep.html, anew after every run; --publish puts the tables into README.md and
docs/, between <!-- results: NAME --> and <!-- end of results -->.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from xwinjax.core.arguments import Parser
from xwinjax.core.bounds import Seed, argument
from xwinjax.core.errors import UserError
from xwinjax.recipes import cli, published, sweep, sweep_summary


def parser() -> Parser:
  p = Parser("experiments.sweep", __doc__)
  p.add_argument("--config", nargs="+", required=True, metavar="FILE[:VARIANT]", help="ablations")
  p.add_argument("--workdir", required=True, help="where the runs and what they come to go")
  p.add_argument("--seeds", nargs="+", type=argument(Seed), default=[0], metavar="N")
  p.add_argument("--rows", nargs="+", default=[], help="some rows; all if not given")
  p.add_argument(
    "--publish", default="", metavar="NAME", help="write docs/results/NAME and tables so marked"
  )
  p.add_argument("--experiment", default="", help="the command that runs them, where no file says")
  return p


def main(argv: Sequence[str]) -> int:
  options, flags = parser().parse_known_args(argv)
  wrong = [f for f in flags if not f.startswith("--config.") or "=" not in f]
  if wrong:
    raise UserError(f"unexpected argument {wrong[0]!r}; fields are written --config.FIELD=VALUE")
  ablations = [sweep.read(spec, options.rows, options.experiment) for spec in options.config]
  workdir, failed = Path(options.workdir), []
  write = lambda: sweep_summary.write(ablations, options.seeds, workdir, failed)
  failed += sweep.run(ablations, options.seeds, workdir, flags, write)
  summary = write()
  print(sweep_summary.text(summary))
  files = [workdir / name for name in ("sweep.json", "sweep.html")]
  files += published.publish(summary, options.publish) if options.publish else []
  print("\n".join(["", *map(str, files)]))
  return 1 if failed else 0


def command(argv: Sequence[str] | None = None) -> int:
  """Runs with these arguments (or the process's) and returns the exit status."""
  return cli.guarded(lambda: main(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
  sys.exit(command())
