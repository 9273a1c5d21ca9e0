"""Xwin-LM: SFT → reward model → 64 scored candidates a prompt → rejection sampling → DPO.

Ni et al. 2024, arXiv 2405.20335. The paper's public version gives the recipe's steps but few of
its hyper-parameters; every number below that is not marked "paper" is ours.

  python -m experiments.xwin --config=configs/xwin.py:sandbox --workdir=runs/demo
  python -m experiments.xwin --config=configs/xwin.py:llama --workdir=runs/llama \\
      --config.model.path=FOLDER --config.data.sft=FILE --config.data.pairs=FILE \\
      --config.data.prompts=FILE --config.data.heldout_prompts=FILE
"""

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from xwinjax.core.errors import UserError
from xwinjax.recipes import commands
from xwinjax.recipes.xwin import XwinConfig
from xwinjax.stages.config import choose, to_config_dict


def get_config(variant: str = "sandbox") -> ConfigDict:
  change = choose(sizes(), variant)
  return change(to_config_dict(XwinConfig()))


def sizes() -> dict[str, Callable[[ConfigDict], ConfigDict]]:
  """What makes each variant's config of the defaults."""
  return {"sandbox": sandbox, "laptop": laptop, "llama": llama} | PODS


def stage(
  name: str, variant: str, others: Mapping[str, dict[str, Any]] | None = None
) -> ConfigDict:
  """The fields of one stage's command in a variant, with the chain's model settings.

  `others` are further variants: `llama` with these fields changed.
  """
  known = sizes()
  change = choose({**known, **(others or {})}, variant)
  chain = get_config(variant if variant in known else "llama")
  config = commands.ALONE[name].values(chain[name], model=chain.model)
  if isinstance(change, dict):
    config.update(change)
  return config


def row_of(rows: Mapping[str, Callable[[ConfigDict], None]], spec: str) -> ConfigDict:
  """VARIANT or VARIANT/ROW of an ablation in configs/ablations; the first row if none is named."""
  variant, _, row = spec.partition("/")
  if not row and variant in rows:  # a sweep of a file without a variant
    raise UserError(f"{variant!r} is a row; name a variant before it, as in :sandbox/{variant}")
  config = get_config(variant)
  config.sample.generate.samples = 64  # paper
  choose(rows, row or next(iter(rows)))(config)
  return config


def sandbox(config: ConfigDict) -> ConfigDict:
  """The built-in world and a model of a million parameters, for 2 CPU cores."""
  config.sandbox.on = True
  stages = (config.sandbox.pretrain, config.sft, config.rs, config.reward, config.dpo)
  for stage in stages:
    stage.train.batch.update(batch_tokens=1024, buckets=4)
    stage.train.loop.checkpoint_every = 200
  for stage in (config.sandbox.pretrain, config.sft):
    stage.train.batch.update(batch_tokens=896, packing=64)
  config.reward.train.batch.update(batch_tokens=896, packing=128)
  # So many examples a step, whatever their length: few steps, of which each counts.
  config.rs.train.batch.update(batch_tokens=0, batch_size=20)
  config.dpo.train.batch.update(batch_tokens=0, batch_size=16)
  config.sandbox.pretrain.train.optim.update(lr=2e-3, weight_decay=0.1)
  config.sft.train.epochs, config.sft.train.optim.lr = 3.0, 2e-3
  config.reward.train.epochs, config.reward.train.optim.lr = 2.0, 1e-3
  config.reward.lm_weight = 0.5  # keeps what the language model knows; best of 64 is worse without
  config.rs.train.epochs, config.rs.train.optim.lr = 2.0, 2e-4
  config.dpo.train.epochs, config.dpo.train.optim.lr = 2.0, 1e-4

  config.select.rejected = ("rank:-1",)  # nearer ranks are wrong by gold now and then
  config.dpo.nll_weight = 1.0  # without it seeds go wrong; 0.0 is the paper's plain form
  for generate in (
    config.sample.generate,
    config.evaluate.generate,
    config.choose.generate,
    config.sandbox.label.generate,
  ):
    generate.max_new = 96
    generate.params.top_p = 0.9  # a model of a million parameters has a long tail of nonsense
    generate.sampler.update(slots=128, block=8)
  for stage in (config.score, config.evaluate, config.choose):
    stage.batch.update(batch_tokens=4096, multiple=64, buckets=4)
  config.reward.score_batch.update(batch_tokens=4096, multiple=64, buckets=4)
  return config


def laptop(config: ConfigDict) -> ConfigDict:
  """A pretrained Llama of a few million parameters and real text, for 2 CPU cores."""
  for stage in (config.sft, config.rs, config.reward, config.dpo):
    stage.max_length = 512
    stage.train.batch.update(batch_tokens=2048, buckets=6)
    stage.train.loop.checkpoint_every = 200
  config.sft.train.epochs, config.sft.train.optim.lr = 2.0, 1e-3
  config.reward.train.epochs, config.reward.train.optim.lr = 2.0, 3e-4
  config.rs.train.epochs, config.rs.train.optim.lr = 4.0, 2e-4
  config.dpo.train.epochs, config.dpo.train.optim.lr = 2.0, 3e-5
  for generate in (config.sample.generate, config.evaluate.generate, config.choose.generate):
    generate.samples, generate.max_new = 16, 96
    generate.params.update(temperature=1.0, top_p=0.95)
    generate.sampler.update(slots=128, block=8)
  for stage in (config.score, config.evaluate, config.choose):
    stage.batch.update(batch_tokens=4096, multiple=64, buckets=4)
  config.reward.score_batch.update(batch_tokens=4096, multiple=64, buckets=4)
  return config


def llama(config: ConfigDict) -> ConfigDict:
  """A pretrained Llama of 7B and files of one's own; numbers as are common at that size."""
  config.model.scan_layers, config.model.remat = True, "full"
  for stage in (config.sft, config.rs):
    stage.train.batch.batch_size, stage.train.epochs = 64, 3.0
    stage.train.optim.update(lr=2e-5, schedule="cosine", warmup=0.03)
    stage.too_long = "blocks"  # paper
  config.reward.train.batch.batch_size, config.reward.train.epochs = 64, 1.0
  config.reward.train.optim.update(lr=1e-5, schedule="cosine")
  config.dpo.train.batch.batch_size, config.dpo.train.epochs = 32, 1.0
  config.dpo.train.optim.update(lr=5e-7, schedule="linear", warmup=0.1)
  config.sample.generate.samples = 64  # paper
  config.select.rank = 1  # paper: higher ranks are better to fine-tune on
  return config


def on_pods(config: ConfigDict, rate: float = 1.0) -> ConfigDict:
  """As `llama`, parameters and optimizer shared by all devices; `tools/plan` says what fits."""
  llama(config)
  config.mesh.data, config.mesh.fsdp = 1, -1
  for stage in (config.sft, config.rs, config.reward, config.dpo):
    stage.max_length = 4096
    stage.train.batch.batch_size = 64
    stage.train.optim.lr *= rate
  return config


def half_rate(config: ConfigDict) -> ConfigDict:
  """Learning rates are commonly halved from 13B or so to 70B."""
  return on_pods(config, 0.5)


def with_adapters(config: ConfigDict) -> ConfigDict:
  """Adapters beside a model that stays in bfloat16, for a small slice; rates ten times those of all
  parameters, as is common."""
  on_pods(config, 10.0)
  for stage in (config.sft, config.rs, config.reward, config.dpo):
    stage.lora.update(rank=16, alpha=32.0, base_dtype="bfloat16")
    stage.train.batch.microbatches = 8
  return config


PODS = {
  "llama2_7b": on_pods,
  "llama2_13b": on_pods,
  "llama2_70b": half_rate,
  "llama3_8b": on_pods,
  "llama3_70b": half_rate,
  "llama2_7b_lora": with_adapters,
  "llama3_8b_lora": with_adapters,
}
