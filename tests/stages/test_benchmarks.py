"""AlpacaEval and MT-bench of a tiny model, by judges that are known."""

import dataclasses
import json

import numpy as np
import pytest

from xwinjax.core.errors import UserError
from xwinjax.eval import leaderboard, statistics
from xwinjax.recipes import cli, judges
from xwinjax.sample import SamplerConfig
from xwinjax.stages import alpaca_eval, mt_bench
from xwinjax.stages import config as configs
from xwinjax.stages.alpaca_eval import AlpacaEvalConfig
from xwinjax.stages.mt_bench import MTBenchConfig
from xwinjax.stages.sample import GenerateConfig
from xwinjax.stages.score import Judge, JudgeConfig, Scored
from xwinjax.stages.stage import Context

GENERATE = GenerateConfig(
  samples=1, max_new=8, sampler=SamplerConfig(slots=8, block=8, window=8, streams=1)
)


def write(path, rows):
  path.write_text("\n".join(json.dumps(row) for row in rows))
  return path


def judge_of(score, **settings):
  """A judge whose scores are score(prompt, text); it also keeps what it was shown."""
  shown = []

  def opened(prompts, texts, folder, title):
    shown.append((title, prompts, texts))
    rows = [[score(p, t) for t in row] for p, row in zip(prompts, texts, strict=True)]
    return Scored({"self": rows})

  return Judge(JudgeConfig(by="self", **settings), {}, lambda *_: opened), shown


def rows_of(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_alpaca_eval_writes_what_the_official_tool_reads(tiny_folder, tmp_path):
  pytest.importorskip("sklearn", reason="needs the extra [leaderboard]")
  asked = [
    {"dataset": "d", "instruction": f"q{i}", "output": "them" * (i % 4), "generator": "ref"}
    for i in range(12)
  ]
  prompts = write(tmp_path / "prompts.jsonl", asked)
  judge, _ = judge_of(lambda p, t: float(t.startswith("them")))
  figures = alpaca_eval.make(
    Context(), AlpacaEvalConfig(name="tiny", generate=GENERATE, resamples=5), tmp_path,
    tiny_folder, prompts, judge=judge,
  )  # fmt: skip
  outputs = json.loads((tmp_path / "model_outputs.json").read_text())
  assert [set(o) for o in outputs] == [{"dataset", "instruction", "output", "generator"}] * 12
  assert figures["win_rate"] == pytest.approx(100 * 3 * 0.5 / 12)  # where the reference is empty
  assert "is_it_real" in figures
  assert "not to be told" not in figures["is_it_real"]
  (entry,) = leaderboard.read([tmp_path / "annotations.json"])
  assert (entry.model, entry.baseline) == ("tiny", "ref")
  assert leaderboard.win_rate(entry.preferences())["win_rate"] == figures["win_rate"]


def test_preferences_are_told_from_the_models_side():
  """1 is the reference's win, 2 the model's; shares of two comparisons are weighed."""
  told = lambda *rows: alpaca_eval.preferences(Scored({"s": [list(r) for r in rows]}), "s")
  assert told((0.0, 1.0), (1.0, 0.0), (0.5, 0.5), (0.25, 0.75)) == [2, 1, 1.5, 1.75]
  assert told((3.0, 7.0), (7.0, 3.0), (4.0, 4.0), (float("nan"), 1.0)) == [2, 1, 1.5, None]


def test_a_reference_is_needed(tmp_path):
  asked = alpaca_eval.read_outputs(write(tmp_path / "p.jsonl", [{"instruction": "q"}]))
  with pytest.raises(UserError, match=r"config\.prompts: has no output for 1 of 1 instructions"):
    alpaca_eval.reference_outputs(asked, None)


def test_mt_bench_asks_twice_and_grades_each_turn(tiny_folder, tmp_path):
  asked = [
    {"question_id": 1, "category": "math", "turns": ["one", "two"]},
    {"question_id": 2, "category": "writing", "turns": ["three", "four"]},
  ]
  reference = [{"question_id": 1, "choices": [{"turns": ["ref one", "ref two"]}]}]
  theirs = [{"question_id": i, "choices": [{"turns": ["x", "y"]}]} for i in (1, 2)]
  judge, shown = judge_of(lambda p, t: 3.0 if p.id.endswith("/1") else 7.0)
  figures = mt_bench.make(
    Context(), MTBenchConfig(name="tiny", generate=GENERATE), tmp_path, tiny_folder,
    write(tmp_path / "q.jsonl", asked), write(tmp_path / "r.jsonl", reference),
    write(tmp_path / "base.jsonl", theirs), judge=judge,
  )  # fmt: skip
  assert (figures["score"], figures["by_turn"]) == (5.0, {"1": 3.0, "2": 7.0})
  assert figures["versus_baseline"]["win_rate"] == 0.5
  answers = rows_of(tmp_path / "model_answer.jsonl")
  assert [(a["question_id"], len(a["choices"][0]["turns"])) for a in answers] == [(1, 2), (2, 2)]
  grades = rows_of(tmp_path / "single.jsonl")
  assert [(g["question_id"], g["turn"], g["score"]) for g in grades] == [
    (1, 1, 3), (1, 2, 7), (2, 1, 3), (2, 2, 7),
  ]  # fmt: skip
  _, prompts, _ = shown[0]
  second = {p.id: p.messages for p in prompts}
  assert [m.role for m in second["1/2"]] == ["user", "assistant", "user"]
  assert "ref two" in second["1/2"][-1].content
  assert second["2/2"][-1].content == "four"  # no reference there
  assert {r["g1_winner"] for r in rows_of(tmp_path / "pair.jsonl")} == {"tie"}


def test_a_judge_that_is_not_asked_in_words_sees_the_question_alone(tiny_folder, tmp_path):
  """People judge what they were shown, and a reward model scores a conversation."""
  asked = [{"question_id": 1, "category": "math", "turns": ["one"]}]
  reference = [{"question_id": 1, "choices": [{"turns": ["ref one"]}]}]
  judge, shown = judge_of(lambda p, t: 3.0)
  mt_bench.make(
    Context(), MTBenchConfig(generate=GENERATE), tmp_path, tiny_folder,
    write(tmp_path / "q.jsonl", asked), write(tmp_path / "r.jsonl", reference),
    judge=dataclasses.replace(judge, asked=False),
  )  # fmt: skip
  ((_, (prompt,), _),) = shown
  assert [m.content for m in prompt.messages] == ["one"]
  votes = write(tmp_path / "votes.db", [])
  assert not judges.make(JudgeConfig(by=f"human:{votes}")).asked
  assert judges.make(JudgeConfig(by="openai:any")).asked


@pytest.mark.parametrize("name", ["alpaca_eval", "mt_bench", "reward_bench"])
def test_config_files_choose_their_stage(name, capsys):
  from experiments import evaluate

  for variant in ("llama", "sandbox"):
    values = cli.load(f"configs/evaluate/{name}.py:{variant}")
    configs.from_config_dict(evaluate.command.others[name].kind, values)
  assert evaluate.command([f"--config=configs/evaluate/{name}.py", "--help"]) == 0
  assert "judge.remote.url" in capsys.readouterr().out


def test_mcnemar_and_the_size_a_difference_needs():
  from scipy import stats

  ours, theirs = np.array([1, 1, 1, 1, 0, 0, 1]), np.array([0, 0, 0, 0, 1, 0, 1])
  assert statistics.mcnemar(ours, theirs) == stats.binomtest(4, 5).pvalue
  d = np.random.default_rng(0).normal(0.2, 1, 4000)
  n = statistics.sample_size(d)
  # As many prompts show a difference of 0.2 in about 80 of 100 tries.
  rng = np.random.default_rng(1)
  shown = [stats.ttest_1samp(rng.normal(d.mean(), d.std(), n), 0).pvalue < 0.05 for _ in range(400)]
  assert np.mean(shown) == pytest.approx(0.8, abs=0.06)
  assert "about" in statistics.is_it_real(d[:20], "gain", seed=0) or "real" in (
    statistics.is_it_real(d[:20], "gain", seed=0)
  )
  assert "real, at" in statistics.is_it_real(d, "gain", seed=0)
