"""SFT of a Llama on conversations (Xwin-LM, section 3.1; LIMA).

  python -m experiments.sft --config=configs/sft.py --workdir=runs/sft \\
      --config.model.path=FOLDER --config.data=FILE

The numbers are those of configs/xwin.py: `llama` for a pretrained Llama of about 7B, `sandbox` for
the built-in one of a million parameters. All of them are ours; the paper does not give them.
"""

from ml_collections import ConfigDict

from configs import xwin


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  return xwin.stage("sft", variant)
