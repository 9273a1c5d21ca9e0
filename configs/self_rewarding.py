"""Self-Rewarding LMs: M0 → M1 → M2 → M3.

Yuan et al. 2024, arXiv 2401.10020. Numbers marked "paper" are the paper's; the others are ours.

  python -m experiments.self_rewarding --config=configs/self_rewarding.py:sandbox \\
      --workdir=runs/self
  python -m experiments.self_rewarding --config=configs/self_rewarding.py:llama \\
      --workdir=runs/self_llama --config.model.path=FOLDER --config.data.ift=FILE \\
      --config.data.eft=FILE --config.data.heldout_prompts=FILE
"""

from ml_collections import ConfigDict

from xwinjax.recipes import commands
from xwinjax.recipes.self_rewarding_config import SelfRewardingConfig
from xwinjax.stages.config import choose, to_config_dict


def get_config(variant: str = "sandbox") -> ConfigDict:
  change = choose(
    {"sandbox": sandbox, "laptop": laptop, "llama": llama, "llama2_70b": llama2_70b}, variant
  )
  return change(paper(to_config_dict(SelfRewardingConfig())))


def stage(name: str, variant: str) -> ConfigDict:
  """The fields of one stage's command in a variant, with the rounds' model settings."""
  rounds = get_config(variant)
  return commands.ALONE[name].values(rounds[name], model=rounds.model)


def paper(config: ConfigDict) -> ConfigDict:
  """What the paper gives and every variant keeps unless it says otherwise."""
  config.rounds = 2
  for generate in (config.sample.generate, config.choose.generate, config.evaluate.generate):
    generate.params.update(temperature=0.7, top_p=0.9)
  config.sample.generate.samples = 4
  config.sample.generate.sampler.unique = False
  config.judge.samples = 3
  config.judge.params.update(temperature=0.7, top_p=0.9)
  config.dpo.beta = 0.1
  return config


def sandbox(config: ConfigDict) -> ConfigDict:
  """The built-in world and a model of a million parameters, for 2 CPU cores."""
  config.sandbox.on = True
  config.sandbox.world.world.examples = 3200  # paper
  config.sandbox.world.world.update(pair_prompts=8, heldout_pair_prompts=8, prompts=8)
  config.sandbox.world.world.heldout_prompts = 96
  for train in (
    config.sandbox.pretrain.train,
    config.sft.train,
    config.dpo.train,
    config.best.train,
  ):
    train.batch.update(batch_tokens=1024, buckets=4)
    train.loop.checkpoint_every = 200
  config.sandbox.pretrain.train.optim.update(lr=2e-3, weight_decay=0.1)
  config.sandbox.pretrain.train.batch.update(batch_tokens=896, packing=64)
  config.sft.train.batch.update(batch_tokens=1792, packing=64)
  config.dpo.train.batch.update(batch_tokens=0, batch_size=16)
  config.best.train.batch.update(batch_tokens=0, batch_size=20)
  config.sft.train.epochs, config.sft.train.optim.lr = 3.0, 2e-3
  config.best.train.epochs, config.best.train.optim.lr = 3.0, 3e-4
  config.reward.train.batch.update(batch_tokens=896, packing=128, buckets=4)
  config.reward.train.epochs, config.reward.train.optim.lr = 2.0, 1e-3  # as in configs/xwin.py
  config.reward.lm_weight = 0.5
  config.reward.score_batch.update(batch_tokens=4096, multiple=64, buckets=4)
  config.dpo.train.epochs, config.dpo.train.optim.lr = 2.0, 5e-5
  config.dpo.train.loop.checkpoint_every = 16

  config.instruct.count = 480
  config.instruct.header, config.instruct.chat = "Tasks.", True
  config.instruct.filters.rouge = 0.99  # questions of the world differ in names alone
  config.instruct.generate.max_new = 48
  config.instruct.generate.sampler.update(slots=128, block=8)
  config.instruct.shard = 128
  for generate in (config.sample.generate, config.choose.generate, config.evaluate.generate):
    generate.max_new = 96
    generate.sampler.update(slots=128, block=8)
  config.sample.shard = 256
  config.evaluate.generate.samples = 16
  config.choose.generate.samples = 4
  config.judge.max_new = 80
  config.judge.mode = "both"
  config.judge.shard = 128
  config.judge.sampler.update(slots=192, samples_per_prompt_slot=4, block=8, window=64)
  config.evaluate.batch.update(batch_tokens=4096, multiple=64, buckets=4)
  config.judge.batch.update(batch_tokens=4096, multiple=64, buckets=4)
  return config


def laptop(config: ConfigDict) -> ConfigDict:
  """A pretrained Llama of a few million parameters and real text, for 2 CPU cores."""
  for stage in (config.sft, config.best, config.dpo):
    stage.max_length = 512
    stage.train.batch.update(batch_tokens=2048, buckets=6)
    stage.train.loop.checkpoint_every = 200
  config.sft.train.epochs, config.sft.train.optim.lr = 2.0, 1e-3
  config.best.train.epochs, config.best.train.optim.lr = 4.0, 2e-4
  config.dpo.train.epochs, config.dpo.train.optim.lr = 2.0, 5e-5
  config.dpo.train.loop.checkpoint_every = 20
  config.instruct.count, config.instruct.generate.max_new = 96, 64
  config.instruct.shot_words = 30
  for generate in (
    config.sample.generate,
    config.choose.generate,
    config.evaluate.generate,
    config.instruct.generate,
  ):
    generate.sampler.update(slots=64, block=8, window=32)
  for generate in (config.sample.generate, config.choose.generate, config.evaluate.generate):
    generate.max_new = 64
  config.evaluate.generate.samples = 4
  config.judge.max_new, config.judge.mode, config.judge.prompt = 64, "both", "short"
  config.judge.sampler.update(slots=48, samples_per_prompt_slot=3, block=8, window=64)
  for stage in (config.judge, config.evaluate):
    stage.batch.update(batch_tokens=4096, multiple=64, buckets=4)
  return config


def llama(config: ConfigDict) -> ConfigDict:
  """A pretrained Llama of 7B and files of one's own; numbers as are common at that size."""
  config.model.scan_layers, config.model.remat = True, "full"
  for stage in (config.sft, config.best):
    stage.train.batch.batch_size, stage.train.epochs = 32, 3.0
    stage.train.optim.update(lr=1e-5, final_lr=2e-6, schedule="cosine", warmup=0.03)
  config.dpo.train.batch.batch_size, config.dpo.train.epochs = 16, 1.0
  config.dpo.train.optim.update(lr=5e-7, final_lr=5e-8, schedule="cosine", warmup=0.1)
  config.dpo.train.loop.checkpoint_every = 100
  config.instruct.count = 5000
  config.judge.mode = "both"
  return config


def llama2_70b(config: ConfigDict) -> ConfigDict:
  """Llama-2 70B as in the paper: 3,200 IFT and 1,630 EFT examples, 253 validation prompts."""
  config = llama(config)
  config.model.dropout = (0.1, 0.1)  # paper; on every layer's residual
  for stage in (config.sft, config.best):
    stage.train.batch.batch_size = 16  # paper
    stage.train.optim.update(lr=5.5e-6, final_lr=1.1e-6, schedule="cosine", warmup=0.0)  # paper
  config.dpo.train.batch.batch_size = 16  # paper
  config.dpo.train.optim.update(lr=1e-6, final_lr=1e-7, schedule="cosine", warmup=0.0)  # paper
  config.dpo.train.loop.checkpoint_every = 200  # paper
  config.instruct.count = 10_000  # ours; the paper ends with 3,964 and 6,942 pairs
  return config
