"""The score stage, whoever judges, and the figures of a judge."""

import dataclasses
import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import candidates as candidate_files
from xwinjax.data.records import Candidate, CandidateSet, Message
from xwinjax.judge.self_judge import Judgement, Sampled
from xwinjax.recipes import judges
from xwinjax.sandbox.world import World
from xwinjax.stages import common, judge_metrics, score
from xwinjax.stages.judge_metrics import JudgeMetricsConfig
from xwinjax.stages.score import JudgeConfig, ScoreConfig
from xwinjax.stages.stage import Context


def rows_of(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def candidates(tmp_path):
  """Three prompts with two answers each; people prefer the first."""
  rows = []
  for i in range(3):
    made = tuple(Candidate(t, scores={"human": v}) for t, v in (("It is red.", 2), ("Blue.", 1)))
    rows.append(CandidateSet(f"p{i}", (Message("user", f"Hi {i}?"),), made))
  return candidate_files.write(tmp_path / "candidates.jsonl", rows)


@pytest.fixture
def config(tmp_path):
  """A judge of few words, shard by shard."""
  prompt = tmp_path / "judge.txt"
  prompt.write_text("Ask: {prompt} Say: {answer} Rate.")
  return JudgeConfig(prompt_file=str(prompt), max_new=4, samples=2, shard=2)


@pytest.fixture
def run(tiny_folder, candidates):
  """run(config, folder) -> the stage's figures."""

  def run(config, folder, **inputs):
    judge = judges.make(config, **({"model": tiny_folder} | inputs))
    return score.STAGE.run(
      Context(), folder, ScoreConfig(), {"candidates": candidates}, judge=judge
    )

  return run


@pytest.fixture
def scripted(monkeypatch):
  """Judgements without a model: 4 and 5 for red answers, 1 and one unread for others."""
  calls = []

  def write(self, prompts, texts):
    calls.append([p.id for p in prompts])
    red = (Judgement("Score: 4", 4.0), Judgement("Score: 5", 5.0))
    other = (Judgement("Score: 1", 1.0), Judgement("Hm.", None, "no line with a score"))
    self.prompt_tokens.update(read=20, computed=10)
    return [[red if "red" in t else other for t in row] for row in texts]

  monkeypatch.setattr(Sampled, "judge", write)
  return calls


def test_written_judgements_become_scores_and_stay_readable(run, config, scripted, tmp_path):
  figures = run(config, tmp_path / "out")
  sets = list(candidate_files.read(tmp_path / "out" / "candidates.jsonl"))
  assert [[c.scores["self"] for c in s.candidates] for s in sets] == [[4.5, 1.0]] * 3
  assert all("human" in c.scores for s in sets for c in s.candidates)
  first = rows_of(tmp_path / "out" / "judgements.jsonl")[0]["judgements"]
  assert first[1] == [
    {"text": "Score: 1", "score": 1.0},
    {"text": "Hm.", "score": None, "reason": "no line with a score"},
  ]
  assert figures["counts"] == {"read": 9, "no line with a score": 3}
  assert figures["unparsed"] == 0.25
  assert figures["agreement"] == 0  # 4 and 5 differ
  assert figures["self"]["mean"] == 2.75
  assert figures["prompt_tokens"] == {"read": 40, "computed": 20}  # two shards


def test_killed_between_shards_it_judges_only_what_is_missing(run, config, scripted, tmp_path):
  run(config, tmp_path / "out")
  whole = (tmp_path / "out" / "candidates.jsonl").read_bytes()
  assert scripted == [["p0", "p1"], ["p2"]]
  for name in ("manifest.json", "candidates.jsonl", "judgements.jsonl", "parts/00001.jsonl"):
    (tmp_path / "out" / name).unlink()
  scripted.clear()
  run(config, tmp_path / "out")
  assert scripted == [["p2"]]
  assert (tmp_path / "out" / "candidates.jsonl").read_bytes() == whole


def test_expected_scores_stand_beside_written_ones(run, config, scripted, tmp_path):
  figures = run(dataclasses.replace(config, mode="both"), tmp_path / "both")
  [first, *_] = candidate_files.read(tmp_path / "both" / "candidates.jsonl")
  assert set(first.candidates[0].scores) == {"human", "self", "self_expected"}
  assert 0 <= first.candidates[0].scores["self_expected"] <= 5
  assert (
    figures["expected"]["prompt_tokens"]["computed"] < figures["expected"]["prompt_tokens"]["read"]
  )
  alone = run(dataclasses.replace(config, mode="expected"), tmp_path / "expected")
  [again, *_] = candidate_files.read(tmp_path / "expected" / "candidates.jsonl")
  assert again.candidates[0].scores["self"] == first.candidates[0].scores["self_expected"]
  assert alone["self"]["missing"] == 0


def test_win_shares_take_the_same_way(run, config, tmp_path, monkeypatch):
  from xwinjax.judge.pairwise import Pairwise, orders

  monkeypatch.setattr(
    Pairwise,
    "compare",
    lambda self, prompts, texts: [
      {(a, b): float(b - a) for a, b in orders(p.id, len(t), self.both_positions, self.seed)}
      for p, t in zip(prompts, texts, strict=True)
    ],
  )
  plain = dataclasses.replace(config, mode="pairwise", prompt_file="")
  run(plain, tmp_path / "out")
  sets = list(candidate_files.read(tmp_path / "out" / "candidates.jsonl"))
  assert [[c.scores["self"] for c in s.candidates] for s in sets] == [[1, 0]] * 3


def test_a_random_model_crashes_nothing(run, config, tmp_path):
  figures = run(config, tmp_path / "out")
  sets = list(candidate_files.read(tmp_path / "out" / "candidates.jsonl"))
  missing = sum("self" not in c.scores for s in sets for c in s.candidates)
  assert figures["self"]["missing"] == missing
  assert sum(figures["counts"].values()) == 12


def test_gold_scores_come_by_the_same_way(tmp_path):
  world = World(0, 16)
  world.save(tmp_path / "world.json")
  import random

  task = world.task(random.Random(0))
  answer = world.answer(task, random.Random(0), 1.0)
  rows = [
    CandidateSet("a", task.prompt, (Candidate(answer), Candidate("No.")), task.meta()),
    CandidateSet("b", task.prompt, (Candidate(answer),)),
  ]
  path = candidate_files.write(tmp_path / "c.jsonl", rows)
  judge = judges.make(JudgeConfig(by="gold"), gold=tmp_path / "world.json")
  figures = score.STAGE.run(
    Context(), tmp_path / "out", ScoreConfig(), {"candidates": path}, judge=judge
  )
  assert (figures["score"], figures["prompts"], figures["candidates"]) == ("gold", 2, 3)
  assert "best_of" not in figures  # a score is missing
  one, other = candidate_files.read(tmp_path / "out" / "candidates.jsonl")
  assert one.candidates[0].scores["gold"] == 5
  assert one.candidates[1].scores["gold"] < 1
  assert other.candidates[0].scores == {}  # its prompt is not known to be of the world
  assert figures["gold"] == {
    "answers": 3,
    "missing": 1,
    "mean": pytest.approx(2.5, abs=0.5),
    "spread_within_a_prompt": pytest.approx(2.5, abs=0.5),
  }


def test_the_judge_can_be_a_reward_model(run, config, tmp_path, tiny_folder):
  from xwinjax.model import llama

  model = common.open_model(common.ModelConfig(str(tiny_folder)), None)
  common.save_model(tmp_path / "rm", model, llama.with_reward_head(model.params, keep=False))
  by_rm = dataclasses.replace(config, by="rm")
  figures = run(by_rm, tmp_path / "out", reward=tmp_path / "rm")
  sets = list(candidate_files.read(tmp_path / "out" / "candidates.jsonl"))
  scores = [[c.scores["rm"] for c in s.candidates] for s in sets]
  assert figures["score"] == "rm"
  assert figures["mean"] == pytest.approx(sum(map(sum, scores)) / 6, abs=1e-4)
  assert figures["best_of"]["1"] == pytest.approx(figures["mean"], abs=1e-4)
  assert figures["worst_of"]["2"] <= figures["mean"] <= figures["best_of"]["2"]
  assert not (tmp_path / "out" / "judgements.jsonl").exists()


def test_the_judge_can_be_a_models_log_probs(run, config, tmp_path):
  figures = run(dataclasses.replace(config, by="logps", name="likely"), tmp_path / "out")
  sets = list(candidate_files.read(tmp_path / "out" / "candidates.jsonl"))
  assert all(c.scores["likely"] < 0 for s in sets for c in s.candidates)
  assert figures["likely"]["missing"] == 0


def test_a_new_judge_is_a_function_and_a_line(run, config, tmp_path, monkeypatch):
  def open_length(context, judge):
    scorer = lambda prompts, texts: [[float(len(t)) for t in row] for row in texts]
    return score.by_scorer(judge.config.score, lambda on_rows: scorer)

  monkeypatch.setitem(judges.JUDGES, "length", judges.Kind(open_length, "model"))
  figures = run(dataclasses.replace(config, by="length"), tmp_path / "out")
  assert figures["length"]["mean"] == figures["mean"] == 7.5  # "It is red." and "Blue."


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"by": "me"}, "config.by 'me' is not one of self, rm, logps, gold"),
    ({"mode": "loud"}, "config.mode 'loud' is not one of sampled, expected, both, pairwise"),
    ({"prompt_file": "", "prompt": "x"}, "judge prompt 'x' is not one of"),
    ({"by": "gold"}, "config.gold is empty"),
    ({"by": "rm"}, "config.reward is empty"),
  ],
)
def test_wrong_choices_are_refused(run, config, tmp_path, changes, said):
  with pytest.raises(UserError, match=said):
    run(dataclasses.replace(config, **changes), tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_another_prompt_is_another_judge(run, config, scripted, tmp_path):
  run(config, tmp_path / "out")
  (tmp_path / "judge.txt").write_text("Answer: {answer} Question: {prompt}")
  with pytest.raises(UserError, match=r"inputs.judge_prompt was"):
    run(config, tmp_path / "out")


def test_metrics_against_people(run, config, scripted, tmp_path):
  run(config, tmp_path / "out")
  judged = {"candidates": tmp_path / "out" / "candidates.jsonl"}
  measure = lambda name, **changes: judge_metrics.STAGE.run(
    Context(), tmp_path / name, JudgeMetricsConfig(**changes), judged
  )
  figures = measure("metrics")
  assert figures["pairwise_accuracy"] == figures["exact_match"] == 1
  assert json.loads((tmp_path / "metrics" / "metrics.json").read_text()) == figures
  for changes, said in (
    ({"score": "rm"}, "no answer has a score 'rm'; run the judge"),
    ({"people": "votes"}, "there are human, self"),
  ):
    with pytest.raises(UserError, match=said):
      measure("none", **changes)
