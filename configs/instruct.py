"""New prompts by a model that is shown others (Self-Instruct; Self-Rewarding LMs).

  python -m experiments.instruct --config=configs/instruct.py --workdir=runs/instruct \\
      --config.model.path=FOLDER --config.seeds=FILE

Eight shots, two of them written earlier, temperature 0.6, top-p 0.9 and the filters are the
papers'; how many prompts and how long they may be are ours. `sandbox` is for the built-in world.
"""

from ml_collections import ConfigDict

from configs import self_rewarding


def get_config(variant: str = "llama") -> ConfigDict:
  """llama or sandbox."""
  return self_rewarding.stage("instruct", variant)
