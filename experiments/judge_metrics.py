"""A judge against people's rankings of the same answers.

  python -m experiments.judge_metrics --config=configs/judge_metrics.py --workdir=runs/metrics \\
      --config.candidates=runs/judge/candidates.jsonl --config.score=self --config.people=human

Reads candidates that carry both scores; people's may be ranks counted from the last, votes or
stars: higher is better. Writes, under --workdir:

  metrics.json    pairwise accuracy (a tie or a missing score counts half), 5-best, exact match,
                  Spearman, Kendall's tau, the scores' distribution
  manifest.json   inputs and outputs by sha256, settings, versions, figures
"""

import sys

from xwinjax.recipes import cli

command = cli.stage(__doc__, "configs/judge_metrics.py", "judge_metrics")

if __name__ == "__main__":
  sys.exit(command())
