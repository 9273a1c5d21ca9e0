"""SFT of a Llama on conversations (Xwin-LM, section 3.1; LIMA).

  python -m experiments.sft --config=configs/sft.py --workdir=runs/sft \\
      --config.model.path=FOLDER --config.data=FILE

The numbers are those of configs/xwin.py: `llama` for a pretrained Llama of about 7B, `sandbox` for
the built-in one of a million parameters. All of them are ours; the paper does not give them.
"""

from ml_collections import ConfigDict

from configs import xwin

LOSSES = {  # docs/losses.md
  "label_smoothing": {"label_smoothing": 0.1},  # paper
  "z_loss": {"z_loss": 1e-4},  # paper
  "neftune": {"neftune": 5.0},  # paper: 5, 10 or 15
}


def get_config(variant: str = "llama") -> ConfigDict:
  """llama, sandbox, …; or llama with something added to its loss."""
  return xwin.stage("sft", variant, LOSSES)
