"""LIMA: SFT on a thousand good examples.

Zhou et al. 2023, arXiv 2305.11206. Numbers marked "paper" are the paper's; the others are ours.

  python -m experiments.lima --config=configs/lima.py:sandbox --workdir=runs/lima
  python -m experiments.lima --config=configs/lima.py:7b --workdir=runs/lima_7b \\
      --config.model.path=FOLDER --config.data.train=FILE --config.data.dev=FILE \\
      --config.data.test_prompts=FILE --config.judge.reward=FOLDER
"""

from pathlib import Path

from ml_collections import ConfigDict

from xwinjax.recipes.lima_config import LimaConfig
from xwinjax.stages.config import choose, to_config_dict

USEFULNESS = str(Path(__file__).parent / "usefulness.txt")  # for --config.judge.by=self


def get_config(variant: str = "sandbox") -> ConfigDict:
  variants = {"sandbox": sandbox, "laptop": laptop, "7b": llama_7b, "65b": llama_65b}
  return choose(variants, variant)(paper(to_config_dict(LimaConfig())))


def paper(config: ConfigDict) -> ConfigDict:
  """What the paper gives, and every variant keeps unless it says otherwise."""
  config.model.template = "lima"  # paper: an end-of-turn token behind every utterance
  config.model.dropout = (0.0, 0.3)  # paper: on residuals, rising linearly from bottom to top
  config.sft.max_length, config.sft.too_long = 2048, "cut"  # paper
  config.sft.train.epochs, config.sft.train.batch.batch_size = 15.0, 32  # paper
  config.sft.train.optim.update(
    lr=1e-5, final_lr=1e-6, schedule="linear", warmup=0.0, beta1=0.9, beta2=0.95, weight_decay=0.1
  )  # paper; it does not speak of clipping, which stays at 1
  config.first_epoch, config.last_epoch = 5, 10  # paper
  for generate in (config.choose.generate, config.evaluate.generate, config.dialogues.generate):
    generate.params.update(temperature=0.7, top_p=0.9, repetition_penalty=1.2)  # paper
    generate.max_new = 2048  # paper
    generate.samples = 1
  config.evaluate.generate.samples = 5  # paper, in its ablations
  config.judge.by, config.judge.prompt_file = "rm", USEFULNESS
  return config


def llama_65b(config: ConfigDict) -> ConfigDict:
  """LLaMA 65B as in the paper."""
  config.model.scan_layers, config.model.remat = True, "full"
  config.tokens.multiple = 64  # so that the vocabulary divides over devices
  return config


def llama_7b(config: ConfigDict) -> ConfigDict:
  """LLaMA 7B, as in the paper's ablations."""
  config = llama_65b(config)
  config.model.dropout = (0.0, 0.2)  # paper: for smaller models
  config.sft.train.batch.batch_size = 64  # paper: for smaller models
  return config


def small(config: ConfigDict) -> ConfigDict:
  """What models of a few million parameters need on 2 CPU cores."""
  config.model.dropout = (0.0, 0.2)
  config.sft.train.batch.buckets = 4
  config.choose.generate.samples = 5  # of 50 prompts: one sample each is noisy
  for generate in (config.choose.generate, config.evaluate.generate, config.dialogues.generate):
    generate.max_new = 96
    generate.sampler.update(slots=128, block=8)
  config.judge.batch.update(batch_tokens=4096, multiple=64, buckets=4)
  return config


def sandbox(config: ConfigDict) -> ConfigDict:
  """The built-in world and a model of a million parameters."""
  config = small(config)
  config.sandbox.on, config.judge.by = True, "gold"
  for generate in (config.choose.generate, config.evaluate.generate, config.dialogues.generate):
    # The world has few words, and an answer must repeat the question's: the penalty makes the model
    # tell of others instead (docs/lima.md).
    generate.params.repetition_penalty = 1.0
  # The base model is the one of configs/xwin.py: made once, kept for both.
  config.sandbox.world.update(
    examples=2000, pair_prompts=8, heldout_pair_prompts=8, prompts=8, heldout_prompts=8, card=0
  )
  config.sandbox.pretrain.train.batch.update(batch_tokens=896, packing=64, buckets=4)
  config.sandbox.pretrain.train.loop.checkpoint_every = 200
  config.sandbox.pretrain.train.optim.update(lr=2e-3, weight_decay=0.1)
  config.sft.train.batch.batch_size = 8  # a model that has seen no chat needs its steps
  config.sft.train.optim.update(lr=2e-3, final_lr=2e-4)
  return config


def laptop(config: ConfigDict) -> ConfigDict:
  """A pretrained Llama of a few million parameters and real text."""
  config = small(config)
  config.sft.max_length = 192
  config.sft.train.optim.update(lr=3e-4, final_lr=3e-5)  # without warm-up, 1e-3 forgets too much
  for generate in (config.choose.generate, config.evaluate.generate, config.dialogues.generate):
    generate.max_new = 64
  return config
