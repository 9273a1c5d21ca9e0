"""Ablations of Self-Rewarding LMs on the sandbox: one change a row, everything else as it is.

  python -m experiments.sweep --config configs/ablations/self_rewarding.py --seeds 0 1 2 \\
      --rows base no_eft fixed_rm best multiple_choice --workdir=runs/self_ablations

The paper has no_eft, best (it adds them to the seed data: best_and_seed) and multiple_choice; it
finds DPO on pairs and the additive prompt better. The others are ours. docs/self_rewarding.md holds
what came out.
"""

from ml_collections import ConfigDict

from configs import self_rewarding
from xwinjax.stages.config import choose


def get_config(row: str = "base") -> ConfigDict:
  config = self_rewarding.get_config("sandbox")
  choose(ROWS, row)(config)
  return config


def base(config: ConfigDict) -> None:
  """As it is: 4 candidates, 3 judgements, DPO on the model's own pairs."""


def no_eft(config: ConfigDict) -> None:
  """M1 is trained on instructions alone. It cannot write a judgement: scores come from logits."""
  config.eft, config.judge.mode = "none", "expected"


def best(config: ConfigDict) -> None:
  """Positives only: SFT on the answers that score best, in place of DPO."""
  config.train_on = "best"


def best_and_seed(config: ConfigDict) -> None:
  """The seed data and the answers that score best, SFT from the base model each round."""
  config.train_on = "best_and_seed"


def multiple_choice(config: ConfigDict) -> None:
  """A judge who picks one of five descriptions instead of adding up points."""
  config.judge.prompt = "multiple_choice"


def fixed_rm(config: ConfigDict) -> None:
  """Iterated DPO: a reward model judges in the model's place, the same in every round."""
  config.judge.by = "rm"


def gold(config: ConfigDict) -> None:
  """A perfect judge: what the rounds could reach."""
  config.judge.by = "gold"


def base_writes(config: ConfigDict) -> None:
  """The base model writes all new prompts, as a fixed model does in the paper."""
  config.prompts_by, config.instruct.chat = "base", False


def candidates(n: int):
  def change(config: ConfigDict) -> None:
    config.sample.generate.samples = n

  return change


def judgements(k: int):
  def change(config: ConfigDict) -> None:
    config.judge.samples = k

  return change


ROWS = {
  "base": base,
  "no_eft": no_eft,
  "best": best,
  "best_and_seed": best_and_seed,
  "multiple_choice": multiple_choice,
  "fixed_rm": fixed_rm,
  "gold": gold,
  "base_writes": base_writes,
  **{f"candidates_{n}": candidates(n) for n in (2, 4, 8)},
  **{f"judgements_{k}": judgements(k) for k in (1, 3, 5)},
}

# What a sweep shows of each run, from its summary.json; the first is compared.
FIGURES = {
  "gold, M3": ("models", -1, "gold_mean"),
  "gold, M1": ("models", 1, "gold_mean"),
  "judge accuracy, M1": ("models", 1, "judge", "written", "pairwise_accuracy"),
  "pairs for M3": ("models", -1, "round", "pairs"),
  "self-score − gold, M3": ("models", -1, "inflation", "mean"),
  "tokens, M3": ("models", -1, "mean_length"),
}
EXPECTS = (("base", ">", "best"), ("base", ">", "best_and_seed"), ("base", ">", "multiple_choice"))
