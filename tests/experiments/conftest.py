"""Small files as a person would write them, and a way to call commands without a new process."""

import pytest

from xwinjax.data import jsonl

ASK = [{"role": "user", "content": "What colour is it?"}]
SAY = {"role": "assistant", "content": "It is red."}


@pytest.fixture
def files(tmp_path):
  """Paths of hand-made conversations, pairs, prompts and scored candidates."""
  pair = {"prompt": ASK, "chosen": "It is red.", "rejected": "Blue"}
  texts = [{"text": text, "scores": {"rm": rm}} for text, rm in (("a", 1), ("b", 2), ("c", 0))]
  rows = {
    "sft": [{"messages": [*ASK, SAY]}] * 4,
    "pairs": [pair] * 4,
    "prompts": [{"messages": ASK}],
    "candidates": [{"prompt": ASK, "candidates": texts}],
  }
  return {name: jsonl.write_rows(tmp_path / f"{name}.jsonl", r) for name, r in rows.items()}


@pytest.fixture
def mistake(capsys):
  """mistake(command, flags…) runs a command that must fail, and gives the one line it says."""

  def run(command, *flags) -> str:
    status = command([str(flag) for flag in flags])
    said = capsys.readouterr().err
    assert status == 2, said
    assert "Traceback" not in said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said.endswith(f"{errors[0]}\n")  # nothing after it
    return errors[0].removeprefix("error: ")

  return run
