"""Settings that cannot mean what was meant: a line each, before anything is made."""

import pytest

from experiments import dpo, sample, sft

ODD = [
  (sft, "seed=-1", "config.seed is -1; expected 0 to 4294967295"),
  (sft, f"seed={2**40}", "config.seed is 1099511627776; expected 0 to 4294967295"),
  (sft, "train.optim.lr=-1e-3", "config.train.optim.lr is -0.001; expected 1e-12 to 10"),
  (sft, "train.optim.lr=0", "config.train.optim.lr is 0.0; expected 1e-12 to 10"),
  (sft, "train.optim.warmup=100", "expected >= 0 and < 1; for N of M steps give N/M, as 0.05 for"),
  (sft, "train.optim.warmup=1", "expected >= 0 and < 1; for N of M steps give N/M, as 0.05 for"),
  (sft, "train.loop.checkpoint_every=0", "checkpoint_every is 0; expected 1 to 1000000000"),
  (sft, "limit=-1", "config.limit is -1; expected 0 to 1000000000"),
  (dpo, "beta=0", "config.beta is 0.0; expected 0.0001 to 1000"),
  (dpo, "beta=-0.1", "config.beta is -0.1; expected 0.0001 to 1000"),
  (dpo, "label_smoothing=0.7", "config.label_smoothing is 0.7; expected >= 0 and < 0.5"),
  (dpo, "label_smoothing=0.5", "config.label_smoothing is 0.5; expected >= 0 and < 0.5"),
  (dpo, "train.optim.clip=-1", "config.train.optim.clip is -1.0; expected 0 to 1000000"),
  (sample, "generate.params.top_p=0", "config.generate.params.top_p is 0.0; expected 1e-06 to 1"),
  (sample, "generate.params.temperature=-1", "temperature is -1.0; expected 0, or 0.001 to 100"),
  (sample, "generate.params.temperature=1e-8", "0 takes the most probable token"),
  (sample, "generate.samples=-1", "config.generate.samples is -1; expected 1 to 65536"),
  (sample, "generate.sampler.max_draws=0", "max_draws is 0; expected 1 to 4096"),
  (sample, f"seed={2**70}", "expected 0 to 4294967295"),
]
IDS = [flag for _, flag, _ in ODD]


def refused(mistake, module, flag, line, model, data, workdir) -> None:
  role = "prompts" if module is sample else "data"
  flags = (f"--workdir={workdir}", f"--config.model.path={model}", f"--config.{role}={data}")
  assert line in mistake(module.command, *flags, f"--config.{flag}")
  assert not workdir.exists()


@pytest.mark.parametrize(("module", "flag", "line"), ODD, ids=IDS)
def test_it_is_refused_before_anything_is_made(
  module, flag, line, mistake, tiny_folder, files, tmp_path
):
  data = files["pairs" if module is dpo else "prompts" if module is sample else "sft"]
  refused(mistake, module, flag, line, tiny_folder, data, tmp_path / "run")


def test_temperature_0_takes_the_most_probable_token(tiny_folder, files, tmp_path):
  status = sample.command(
    [
      f"--workdir={tmp_path}/run",
      f"--config.model.path={tiny_folder}",
      f"--config.prompts={files['prompts']}",
      "--config.generate.params.temperature=0",
      "--config.generate.samples=2",
      "--config.generate.sampler.unique=False",
      "--config.generate.max_new=4",
    ]
  )
  assert status == 0
  from xwinjax.data import candidates

  [made] = candidates.read(tmp_path / "run" / "candidates.jsonl")
  assert len({c.ids for c in made.candidates}) == 1


@pytest.mark.parametrize(("module", "flag", "line"), ODD, ids=IDS)
def test_the_field_s_files_too(module, flag, line, mistake, shared, tmp_path):
  odd = shared / "field" / "odd-settings"
  data = odd / ("pairs.jsonl" if module is dpo else "sft.jsonl")
  if "warmup" in flag:
    data = shared / "field" / "warmup-as-steps" / "sft.jsonl"
  refused(mistake, module, flag, line, shared / "stories260k-hf", data, tmp_path / "run")
