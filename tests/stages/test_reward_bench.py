"""Accuracy of a judge on pairs, in the layouts people have."""

import json

import pytest

from xwinjax.core.errors import UserError
from xwinjax.stages import reward_bench
from xwinjax.stages.reward_bench import RewardBenchConfig
from xwinjax.stages.score import Judge, JudgeConfig, Scored
from xwinjax.stages.stage import Context

SAY = {"chosen": "good", "rejected": "bad one"}


def write(path, *rows):
  path.write_text("\n".join(json.dumps(row) for row in rows))
  return path


def judged(tmp_path, rows, score):
  """The stage's figures where `score(prompt, text)` is the judge."""

  def opened(prompts, texts, folder, title):
    return Scored(
      {"rm": [[score(p, t) for t in row] for p, row in zip(prompts, texts, strict=True)]}
    )

  judge = Judge(JudgeConfig(by="rm"), {}, lambda *_: opened)
  pairs = write(tmp_path / "pairs.jsonl", *rows)
  return reward_bench.make(Context(), RewardBenchConfig(), tmp_path, pairs, judge=judge)


by_goodness = lambda _, text: float(text.startswith("good"))


@pytest.mark.parametrize(
  ("row", "subset"),
  [
    ({"prompt": "p", **SAY, "subset": "chat"}, "chat"),
    ({"prompt": "p", "response_a": "bad", "response_b": "good", "label": "B"}, "all"),
    ({"input": "p", "output_1": "good", "output_2": "bad", "label": 1}, "all"),
    (
      {"question": "p", "response_A": "bad", "response_B": "good", "label": "B>A", "source": "m"},
      "m",
    ),
    ({"prompt": "p", "response 1": "good", "response 2": "bad", "label": 0, "scenario": "s"}, "s"),
    ({"chosen": "\n\nHuman: p\n\nAssistant: good", "rejected": "\n\nHuman: p\n\nAssistant: bad"},
      "all"),
    ({"instruction": "p", "input": "", "response1": "bad", "response2": "good"}
      | {"annotator1": 2, "annotator2": 2, "annotator3": 0}, "all"),
  ],
)  # fmt: skip
def test_layouts(tmp_path, row, subset):
  figures = judged(tmp_path, [row], by_goodness)
  assert (figures["accuracy"], list(figures["subsets"])) == (1, [subset])
  # The twin: a judge that likes the worse one.
  assert judged(tmp_path, [row], lambda *a: -by_goodness(*a))["accuracy"] == 0


def test_rm_benchs_three_styles(tmp_path):
  """A judge of length alone is right where the better answer has the richer style."""
  row = {"prompt": "p", "domain": "math"}
  row |= {"chosen": ["a1", "a22", "a333"], "rejected": ["b1", "b22", "b333"]}
  found = judged(tmp_path, [row], lambda _, text: float(len(text)))["subsets"]
  assert {k: (v["accuracy"], v["pairs"]) for k, v in found.items()} == {
    "math/easy": (1, 3),
    "math/hard": (0, 3),
    "math/normal": (0.5, 3),
  }


SCORED = [{"text": t, "scores": {"gold": g}} for t, g in (("bad", 1), ("good", 3), ("bad one", 2))]


@pytest.mark.parametrize(
  ("row", "subset"),
  [
    ({"prompt": "p", "chosen": ["good"], "rejected": ["bad", "worse", "b"], "subset": "s"}, "s"),
    ({"prompt": "p", "chosen": ["good 1", "good 2", "good 3"], "rejected": ["x", "y", "z"],
      "subset": "Ties", "num_correct": 3}, "Ties"),
    ({"conversation_input": [{"role": "user", "content": "p"}], "bon_best": {"answer": "good"},
      "loser_list": [{"answer": "bad"}, {"answer": "x"}], "category_path": "Chat/a"}, "Chat/a"),
    ({"prompt": "p", "candidates": SCORED}, "all"),
  ],
)  # fmt: skip
def test_the_best_of_n(tmp_path, row, subset):
  """Right is who prefers the best answer to every other one."""
  figures = judged(tmp_path, [row], by_goodness)
  assert (figures["accuracy"], list(figures["subsets"])) == (1, [subset])
  assert figures["chance"] in (1 / 4, 1 / 3)
  # The twin: beating all others but one is not enough.
  fooled = lambda p, text: 2.0 if text in ("worse", "z", "x", "bad one") else by_goodness(p, text)
  assert judged(tmp_path, [row], fooled)["accuracy"] == 0


def test_a_judge_of_places_is_at_chance_of_n(tmp_path):
  rows = [{"prompt": str(i), "candidates": SCORED} for i in range(6)]
  places = iter([1.0, 0.0, 0.0] * 6)
  assert judged(tmp_path, rows, lambda *_: next(places))["accuracy"] == pytest.approx(1 / 3)


def test_candidates_that_tie_are_left_out_and_the_truth_has_a_name(tmp_path):
  same = [{"text": t, "scores": {"gold": 1, "people": g}} for t, g in (("good", 2), ("bad", 1))]
  rows = [{"prompt": "p", "candidates": same}, {"prompt": "q", "candidates": SCORED}]
  assert judged(tmp_path, rows, by_goodness)["rows"]["left out: a tie"] == 1
  (asked,) = reward_bench.questions(rows[0], "people")
  assert (asked.chosen, asked.rejected) == ("good", ("bad",))
  with pytest.raises(ValueError, match="no score 'people'"):
    reward_bench.questions(rows[1], "people")


def test_ties_of_people_are_left_out_and_counted(tmp_path):
  rows = [
    {"prompt": "p", "response 1": "good", "response 2": "bad", "label": 2},
    {"prompt": "p", **SAY},
  ]
  figures = judged(tmp_path, rows, by_goodness)
  assert (figures["pairs"], figures["rows"]["left out: a tie"]) == (1, 1)


def test_what_a_judge_cannot_tell_counts_half(tmp_path):
  rows = [{"prompt": "p", **SAY}, {"prompt": "q", **SAY}]
  nothing = lambda p, _: float("nan") if p.messages[0].content == "q" else 1.0
  figures = judged(tmp_path, rows, nothing)
  assert (figures["accuracy"], figures["unread_share"]) == (0.5, 0.5)


def test_a_judge_of_places_gains_nothing(tmp_path):
  rows = [{"prompt": str(i), **SAY} for i in range(4)]
  places = iter([1.0, 0.0] * 4)
  assert judged(tmp_path, rows, lambda *_: next(places))["accuracy"] == 0.5


@pytest.mark.parametrize(
  ("row", "said"),
  [
    ({"prompt": "p", "response_a": "x", "response_b": "y", "label": "C"}, "'label': found 'C'"),
    ({"prompt": "p", "response_a": 5, "response_b": "y", "label": "A"}, "'response_a': found 5"),
    ({"prompt": "p", "chosen": ["a"], "rejected": []}, "lists of texts, not empty"),
  ],
)
def test_bad_rows_are_named(tmp_path, row, said):
  with pytest.raises(UserError, match=r"pairs\.jsonl:2: .*" + said):
    judged(tmp_path, [{"prompt": "p", **SAY}, row], by_goodness)


def test_real_pairs(shared):
  counts = reward_bench.Counts()
  found = reward_bench.read(shared / "reward-bench" / "first200.jsonl", 0, counts)
  assert len(found) == 200
  hh = reward_bench.read(shared / "hh-rlhf" / "helpful-base-test.jsonl.gz", 50, counts)
  assert len(hh) == 50
