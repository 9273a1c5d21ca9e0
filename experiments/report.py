"""Makes report.html from the folder of a run, finished or not; nothing else is changed.

python -m experiments.report --workdir=runs/demo
"""

import sys
from collections.abc import Sequence

from absl import flags

from xwinjax import report
from xwinjax.core.errors import UserError
from xwinjax.recipes import cli


def main(argv: Sequence[str]) -> None:
  if any(a in ("--help", "-h", "--helpfull") for a in argv):
    print(__doc__)
    return
  known = flags.FlagValues()
  workdir = flags.DEFINE_string("workdir", "", "", flag_values=known)
  try:
    rest = known(["report", *argv])
  except flags.Error as e:
    raise UserError(str(e)) from None
  if len(rest) > 1 or not workdir.value:
    raise UserError("expected --workdir=FOLDER, the folder of a run, and nothing else")
  print(report.write(workdir.value))


def command(argv: Sequence[str] | None = None) -> int:
  """Runs with these arguments (or the process's) and returns the exit status."""
  return cli.guarded(lambda: main(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
  sys.exit(command())
