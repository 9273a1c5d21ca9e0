"""Speaks as the peer's benchmark script does, computes nothing: its speeds are in its flags."""

import argparse

SPEED = {"sft": 100.0, "rm": 10.0, "dpo": 5.0, "generate": 50.0}


def parse_args(argv):
  parser = argparse.ArgumentParser()
  parser.add_argument("stage")
  for name in (
    "--model",
    "--data",
    "--batch",
    "--max-length",
    "--steps",
    "--warmup",
    "--rows",
    "--lr",
    "--pad-to",
  ):
    parser.add_argument(name)
  for name in ("--bf16", "--group-by-length", "--precompute-ref", "--compile", "--ignore-eos"):
    parser.add_argument(name, action="store_true")
  return parser.parse_args(argv)


def count_batch(inputs):
  return 12, 16, 5, 2  # tokens, places, targets, sequences


def choose_rows(rows, args, tokenizer):
  return rows[::-1]


class Trainer:
  def training_step(self, model, inputs):
    return 2.0 - inputs


def metered(base, warmup, steps, group):
  return base, None


def train(args):
  if args.compile:
    raise RuntimeError("no C++ compiler")
  Metered, _ = metered(Trainer, 1, 2, False)
  trainer = Metered()
  for i in range(int(args.steps)):
    trainer.training_step(None, i / 10)
  value = SPEED[args.stage] * (2 if args.bf16 else 1) * (3 if args.group_by_length else 1)
  return {
    "target_tok_per_s": value,
    "pairs_per_s": value,
    "argv": vars(args),
    "pairs_per_s_with_precompute": value / 10,
  }


def generate(args):
  return {"b1_tok_per_s": 50.0, "b4_tok_per_s": 200.0}
