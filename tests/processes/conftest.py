import json
import random

import launch
import pytest

from xwinjax.testing.tiny import tiny_model

WORDS = ("red", "blue", "green", "cat", "dog", "sun", "moon", "tree", "one", "two", "three")

OTHERS = ["reward", "reference", "dpo", "sample", "sample_together", "score"]


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


def run_both(inputs, folders, stages, devices=2):
  """One process of so many devices and as many of one; the logs of the many.

  Two start at the same time. Four simulated devices wait for one another at every sum, and would
  for minutes where four processes want the cores, too.
  """
  given = {"inputs": str(inputs), "stages": stages, "four": devices == 4}
  started = []
  for count, folder in zip((1, devices), folders, strict=True):
    run = launch.worker(count, devices // count, folder / "logs", folder=str(folder), **given)
    started.append(run)
    if devices > 2:
      run.end()
  for run in started:
    statuses = run.end()
    assert not any(statuses), "\n".join([f"ended with {statuses}", *run.said(0)[-20:]])
  return [started[1].said(i) for i in range(devices)]


@pytest.fixture(scope="session")
def trained(inputs, tmp_path_factory):
  """(run of one process, run of two, what the two said), each with an SFT model."""
  folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
  return *folders, run_both(inputs, folders, ["sft"])


@pytest.fixture(scope="session")
def went_on(inputs, trained):
  """The same two runs with all other stages."""
  folders = trained[:2]
  run_both(inputs, folders, OTHERS)
  return folders
