"""A few answers token by token: what is stored adds up to what whole answers have."""

import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import candidates as candidate_files
from xwinjax.data import jsonl
from xwinjax.data.batching import BatchConfig
from xwinjax.data.records import Candidate, CandidateSet, Example, Message
from xwinjax.judge import score
from xwinjax.stages import token_gains
from xwinjax.stages.stage import Context, open_model
from xwinjax.stages.token_gains import STAGE, TokenGainsConfig
from xwinjax.testing.tiny import tiny_model

ASKED = (Message("user", "Who came?"),)


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory):
  """A model of the same tokens, which says other things."""
  return tiny_model(tmp_path_factory.mktemp("other") / "model", num_layers=1)


@pytest.fixture
def reads(tiny_folder, other_folder, tmp_path):
  texts = {"after": "Ann came.", "before": "Nobody."}
  files = {
    name: candidate_files.write(
      tmp_path / f"{name}.jsonl",
      [CandidateSet(f"p{i}", ASKED, (Candidate(f"{text} {i}"), Candidate("x"))) for i in range(20)],
    )
    for name, text in texts.items()
  }
  return {
    "model": tiny_folder,
    "reference": other_folder,
    "answers_of_model": files["after"],
    "answers_of_reference": files["before"],
  }


def check_sums(rows, folder, key):
  """Each answer's tokens add up to its log-prob as the scorer of whole answers has it."""
  opened = open_model(Context(), folder)
  whole = score.sequence_logps(
    opened.config, opened.params, opened.renderer, batch=BatchConfig(batch_size=8)
  )
  prompts = [Example(r["id"], ASKED) for r in rows]
  wanted = [s[0] for s in whole(prompts, [[r["text"]] for r in rows])]
  assert [sum(r[key]) for r in rows] == pytest.approx(wanted, abs=2e-2)


def test_a_handful_of_answers_is_stored_token_by_token(reads, tmp_path):
  figures = STAGE.run(Context(), tmp_path / "out", TokenGainsConfig(prompts=3), reads)
  rows = [row for _, row in jsonl.read_rows(tmp_path / "out" / "tokens.jsonl")]
  assert [(r["by"], r["id"]) for r in rows] == [
    (by, id) for by in ("model", "reference") for id in ("p0", "p10", "p19")
  ]
  assert figures["answers"] == 6
  for r in rows:
    assert len(r["tokens"]) == len(r["logp"]) == len(r["reference"])
    assert "".join(r["tokens"]).removesuffix("</s>").strip() == r["text"]
  check_sums(rows, reads["model"], "logp")
  check_sums(rows, reads["reference"], "reference")
  with pytest.raises(AssertionError):  # the twin: the other model's
    check_sums(rows, reads["reference"], "logp")
  gains = [sum(r["logp"]) - sum(r["reference"]) for r in rows[:3]]
  assert figures["gain_model"] == pytest.approx(sum(gains) / 3, abs=1e-3)


def test_twin_log_probs_a_token_late_are_noticed(reads, tmp_path, monkeypatch):
  real = token_gains.logprobs
  late = lambda config, params, rows: real(config, params, [r[1:] for r in rows])
  monkeypatch.setattr(token_gains, "logprobs", late)
  with pytest.raises(AssertionError):
    test_a_handful_of_answers_is_stored_token_by_token(reads, tmp_path)


def test_a_long_answer_is_cut_and_nothing_else_grows(reads, tmp_path):
  config = TokenGainsConfig(prompts=2, longest=3)
  STAGE.run(Context(), tmp_path / "out", config, reads | {"answers_of_reference": ""})
  rows = [json.loads(line) for line in (tmp_path / "out" / "tokens.jsonl").read_text().splitlines()]
  assert [len(r["tokens"]) for r in rows] == [3, 3]


def test_a_prompt_that_does_not_fit_is_refused(reads, tmp_path):
  long = CandidateSet("long", (Message("user", "Who? " * 9000),), (Candidate("Ann."),))
  file = candidate_files.write(tmp_path / "long.jsonl", [long])
  reads |= {"answers_of_model": file, "answers_of_reference": ""}
  with pytest.raises(UserError, match="no prompt fits into the model"):
    STAGE.run(Context(), tmp_path / "out", TokenGainsConfig(), reads)
