"""Multiple choice: the layouts people have, and log-likelihoods written out token by token."""

import json

import jax
import numpy as np
import pytest

from xwinjax.core.errors import UserError
from xwinjax.data.tokenizer import Tokenizer
from xwinjax.model import llama
from xwinjax.stages import common, multiple_choice
from xwinjax.stages.multiple_choice import MultipleChoiceConfig, item
from xwinjax.stages.stage import Context

LAYOUT = MultipleChoiceConfig().layout


@pytest.mark.parametrize(
  ("row", "context", "answer", "subset"),
  [
    ({"prompt": "It is", "choices": ["red", "blue"], "answer": "blue"}, "It is", 1, "all"),
    ({"question": "Why?", "choices": ["a b", "c d"], "answer": 1, "subject": "law"},
      "Question: Why?\nAnswer:", 1, "law"),
    ({"question": "Why?", "choices": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]},
      "answerKey": "3"}, "Question: Why?\nAnswer:", 2, "all"),
    ({"question": "Why?", "choices": {"text": ["x", "y"], "label": ["A", "B"]},
      "answerKey": "B"}, "Question: Why?\nAnswer:", 1, "all"),
    ({"ctx": "He sat", "endings": ["down", "up"], "label": "1", "activity_label": "s"},
      "He sat", 1, "s"),
    ({"goal": "Boil", "sol1": "heat", "sol2": "cool", "label": 0},
      "Question: Boil\nAnswer:", 0, "all"),
  ],
)  # fmt: skip
def test_layouts(row, context, answer, subset):
  made = item(row, LAYOUT)
  assert (made.context, made.answer, made.subset) == (context, answer, subset)


@pytest.mark.parametrize(
  ("row", "said"),
  [
    ({"prompt": "p", "choices": ["only"], "answer": 0}, "two texts or more"),
    ({"prompt": "p", "choices": ["x", "y"], "answer": 2}, "the answer 2 is none of the 2 choices"),
    ({"prompt": "p", "choices": ["x", "y"]}, "says which choice is right"),
    ({"choices": ["x", "y"], "answer": 0}, "'prompt'"),
    ({"prompt": " ", "choices": ["x", "y"], "answer": 0}, "the question is empty"),
  ],
)
def test_bad_rows_are_named(tmp_path, row, said):
  file = tmp_path / "q.jsonl"
  file.write_text(json.dumps(row))
  with pytest.raises(UserError, match=rf"q\.jsonl:1: .*{said}"):
    multiple_choice.read(file, MultipleChoiceConfig())


ROWS = [
  {"prompt": "The cat", "choices": ["sat.", "is a very long animal", "ran"], "answer": 0},
  {"prompt": "A dog is ", "choices": ["here", "there"], "answer": 1, "subset": "dogs"},
]


def likelihood(folder, context, choice):
  """Sum of log-probs of the choice's tokens, from the logits of all, in float64."""
  opened = common.open_model(common.ModelConfig(path=str(folder), dtype="float32"), None)
  tokenizer = Tokenizer.load(folder)
  before = [*tokenizer.opening, *tokenizer.encode(context.rstrip())]
  ids = [*tokenizer.opening, *tokenizer.encode(f"{context.rstrip()} {choice}")]
  assert ids[: len(before)] == before
  hidden = llama.apply(opened.config, opened.params, np.array([ids]))
  logits = np.asarray(llama.unembed(opened.params, hidden), np.float64)[0]
  logps = jax.nn.log_softmax(logits, axis=-1)
  return sum(float(logps[t - 1, ids[t]]) for t in range(len(before), len(ids)))


def made(folder, tmp_path, rows):
  file = tmp_path / "q.jsonl"
  file.write_text("".join(json.dumps(row) + "\n" for row in rows))
  context = Context(common.ModelConfig(dtype="float32"))
  figures = multiple_choice.make(context, MultipleChoiceConfig(), tmp_path, folder, file)
  lines = (tmp_path / "judged.jsonl").read_text().splitlines()
  return figures, [json.loads(line) for line in lines]


def test_scores_are_the_choices_log_likelihoods(tiny_folder, tmp_path):
  figures, judged = made(tiny_folder, tmp_path, ROWS)
  right = []
  for row, found in zip(ROWS, judged, strict=True):
    wanted = [likelihood(tiny_folder, row["prompt"], c) for c in row["choices"]]
    assert found["logps"] == pytest.approx(wanted, abs=1e-3)
    # The twin: of another choice they are others.
    assert found["logps"] != pytest.approx(wanted[::-1], abs=1e-3)
    right.append(float(np.argmax(wanted) == row["answer"]))
  assert figures["accuracy"] == np.mean(right)
  assert figures["chance"] == pytest.approx((1 / 3 + 1 / 2) / 2)
  assert figures["subsets"]["dogs"]["accuracy"] == right[1]


def test_length_is_normalized_by_bytes(tiny_folder, tmp_path):
  """A long choice that loses by its sum may win by its mean."""
  figures, (first, _) = made(tiny_folder, tmp_path, ROWS)
  sums = np.array(first["logps"])
  norm = sums / [len(c) for c in ROWS[0]["choices"]]
  assert sums.argmax() != norm.argmax()
  asked = [{**ROWS[0], "answer": int(norm.argmax())}]
  figures, _ = made(tiny_folder, tmp_path, asked)
  assert (figures["accuracy"], figures["accuracy_norm"]) == (0, 1)


def test_what_is_too_long_loses_its_beginning(tiny_folder, tmp_path):
  figures, _ = made(tiny_folder, tmp_path, [{**ROWS[0], "prompt": "word " * 400}])
  assert figures["cut_at_the_beginning"] == 3


def test_the_command_takes_it(tiny_folder, tmp_path, capsys):
  from experiments import evaluate

  (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
  config = "--config=configs/evaluate/multiple_choice.py:sandbox"
  flags = [f"--config.model.path={tiny_folder}", f"--config.questions={tmp_path / 'q.jsonl'}"]
  assert evaluate.command([config, f"--workdir={tmp_path / 'run'}", *flags]) == 0
  assert "accuracy norm" in capsys.readouterr().out
  assert evaluate.command([config, f"--workdir={tmp_path / 'x'}", *flags, "--config.layout=Q"]) == 2
