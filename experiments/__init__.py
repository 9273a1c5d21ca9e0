"""The commands: `python -m experiments.NAME --help`."""

import sys


def _quietly(kind, error, trace):
  """Ctrl-C while the imports run is no error."""
  if not issubclass(kind, KeyboardInterrupt):
    sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # what Python puts there while it looks for the module to run
  sys.excepthook = _quietly
