"""What the Python tools share: the environment they run in, their flags, their errors.

Importing this module goes on in the repository's .venv where the running Python lacks xwinjax. It
is read by whatever python3 there is, so it (and the tools) keep to old syntax.
"""

import argparse
import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
VENV = os.path.join(os.path.dirname(HERE), ".venv", "bin", "python")


def _find_package():
  if importlib.util.find_spec("xwinjax") is not None:
    return
  started_here = os.path.dirname(os.path.realpath(sys.argv[0])) == HERE
  if started_here and os.path.exists(VENV) and "XWINJAX_IN_VENV" not in os.environ:
    os.environ["XWINJAX_IN_VENV"] = "1"  # once: a .venv without the package must not loop
    os.execv(VENV, [VENV, *sys.argv])
  print("error: xwinjax is not installed here; run tools/setup first", file=sys.stderr)
  sys.exit(2)


def _quietly(kind, error, trace):
  """Ctrl-C while the imports run is no error."""
  if not issubclass(kind, KeyboardInterrupt):
    sys.__excepthook__(kind, error, trace)


_find_package()
sys.excepthook = _quietly


class Parser(argparse.ArgumentParser):
  """--help shows the tool's docstring; a mistake is one line and exit status 2."""

  def __init__(self, doc):
    super().__init__(
      prog=os.path.basename(sys.argv[0]),
      description=doc,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )
    self.add_argument("--json", action="store_true", help="JSON on stdout, nothing else there")

  def bounded(self, flag, hint, default, meaning):
    """Adds a flag that takes a number within the bounds of its type (core.bounds)."""
    from xwinjax.core import bounds

    text = f"{meaning} [{bounds.of(hint)}]"
    self.add_argument(
      flag, type=bounds.argument(hint), default=default, metavar="N", help=text.replace("%", "%%")
    )

  def error(self, message):
    print(f"error: {message}; --help shows what is expected", file=sys.stderr)
    sys.exit(2)


def say(text):
  print(text, file=sys.stderr, flush=True)


def run(main, options):
  """Runs main(options) and exits; what a user can mend is said in one line."""
  from xwinjax.core import host
  from xwinjax.recipes import cli

  def body():
    cli.quiet_libraries()
    host.prepare()
    return main(options)

  sys.exit(cli.guarded(body, "interrupted"))
