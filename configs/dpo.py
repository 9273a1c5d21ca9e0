"""DPO on pairs of candidates (Xwin-LM, section 3.5), and its relatives (docs/losses.md).

  python -m experiments.dpo --config=configs/dpo.py --workdir=runs/dpo \\
      --config.model.path=FOLDER --config.data=FILE \\
      --config.reference=FILE

The numbers are those of configs/xwin.py: `llama` for a model of about 7B, `sandbox` for the
built-in one of a million parameters. All of them are ours; the paper does not give them. The other
variants are `llama` with another loss, whose settings are its paper's where that is said.
"""

from ml_collections import ConfigDict

from configs import xwin

LOSSES = {
  "cdpo": {"label_smoothing": 0.1},  # ours: one label in ten is wrong
  "robust": {"variant": "robust", "label_smoothing": 0.1},  # ours, the same
  "ipo": {"variant": "ipo"},
  "hinge": {"variant": "hinge"},
  "length_normalised": {"length_normalised": True, "beta": 2.0},  # ours: means are smaller
  "rpo": {"nll_weight": 1.0},  # paper
  "dpop": {"variant": "dpop", "beta": 0.3, "penalty": 50.0},  # paper
  "cpo": {"variant": "cpo", "nll_weight": 1.0},  # paper
  "simpo": {"variant": "simpo", "beta": 2.0, "gap": 1.0},  # of the range of its paper
  "orpo": {"variant": "0.1*odds_ratio", "nll_weight": 1.0},  # paper
  "tdpo": {"variant": "tdpo", "kl_weight": 0.5},  # paper; holds the reference in memory
  "cringe": {"variant": "cringe"},  # needs no reference
  "kto": {"variant": "kto"},  # data: single answers with a label, or pairs
  "plackett_luce": {"variant": "plackett_luce"},  # data of these three: scored candidates
  "rrhf": {"variant": "rrhf", "nll_weight": 1.0},
  "lipo": {"variant": "lipo"},
}


def get_config(variant: str = "llama") -> ConfigDict:
  """llama, sandbox, …; or llama with a loss."""
  return xwin.stage("dpo", variant, LOSSES)
