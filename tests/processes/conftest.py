import json
import random

import launch
import pytest

from xwinjax.testing.tiny import tiny_model

WORDS = ("red", "blue", "green", "cat", "dog", "sun", "moon", "tree", "one", "two", "three")


def write_inputs(folder) -> None:
  """A tiny model, conversations, pairs and prompts."""
  rng = random.Random(0)
  text = lambda most: " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, most)))

  def conversation():
    roles = (("user", 3), ("assistant", 5))
    return {"messages": [{"role": role, "content": text(most)} for role, most in roles]}

  def pair(i):
    return {"id": str(i), "prompt": text(3), "chosen": text(4), "rejected": text(4)}

  files = {
    "sft": [conversation() for _ in range(40)],
    "dev": [conversation() for _ in range(11)],
    "pairs": [pair(i) for i in range(21)],
    "prompts": [{"id": str(i), "prompt": text(3)} for i in range(5)],
  }
  for name, rows in files.items():
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  tiny_model(folder / "tiny", num_layers=1)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
  folder = tmp_path_factory.mktemp("inputs")
  write_inputs(folder)
  return folder


@pytest.fixture(scope="session")
def ran(inputs, tmp_path_factory):
  """(processes, devices each) -> the folder of a run of all stages."""
  made = {}

  def run(count: int, devices: int):
    if (count, devices) not in made:
      folder = tmp_path_factory.mktemp(f"run{count}x{devices}")
      stages = ["sft", "reward", "reference", "dpo", "sample", "sample_together", "score"]
      given = {"inputs": str(inputs), "folder": str(folder), "stages": stages}
      started = launch.worker(count, devices, folder / "logs", **given)
      assert started.end() == [0] * count, started.said(0)[-20:]
      made[count, devices] = folder, started
    return made[count, devices]

  return run
