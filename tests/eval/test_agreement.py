"""Agreement against examples worked by hand and numbers from the literature."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from scipy import stats

from xwinjax.core.errors import UserError
from xwinjax.eval import agreement, coefficients, votes
from xwinjax.eval.votes import Ballot, Vote

# Fleiss' kappa: the worked example of Wikipedia's article, 14 raters, 0.210.
FLEISS = np.array(
  [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
  ]
)
# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), example C: 4 observers, 12 units.
UNITS = [
  "1.11",
  "2232",
  "3333",
  "3333",
  "2222",
  "1234",
  "4444",
  "1121",
  "2222",
  ".555",
  "..11",
  ".3..",
]
KRIPPENDORFF = np.array([[unit.count(str(v)) for v in range(1, 6)] for unit in UNITS])


def said(**labels: str) -> list[Vote]:
  """anna="ABt" votes A, B, tie on prompts 0, 1, 2; a dot is no vote."""
  names = {"A": "A", "B": "B", "t": "tie"}
  return [
    Vote(str(i), who, "x", "y", names[c])
    for who, row in labels.items()
    for i, c in enumerate(row)
    if c != "."
  ]


def overall(**labels):
  return agreement.overall(agreement.by_item(said(**labels)), seed=0)


def test_the_papers_rule():
  # A, A: 1. A, tie: 1/2. A, B: 0. tie, tie: 1. Together 2.5 of 4.
  found = overall(anna="AAAt", ben="AtBt")
  assert found["tie_discounted"]["value"] == 2.5 / 4
  assert found["exact"]["value"] == 2 / 4


def test_twins_of_the_rule():
  """Ties that counted fully, or not at all, would be noticed."""
  for wrong in (lambda x, y: float(x == y), lambda x, y: float(x == y or "tie" in (x, y))):
    pairs = list(zip(["A", "A", "A", "tie"], ["A", "tie", "B", "tie"], strict=True))
    assert np.mean([wrong(x, y) for x, y in pairs]) != 2.5 / 4
    assert np.mean([agreement.discounted(x, y) for x, y in pairs]) == 2.5 / 4


def test_every_pair_of_three_annotators_counts_once():
  # Item 0: A A B has one pair of three that agrees; item 1: A t t has 1 + 1/2 + 1/2; item 2 has
  # one vote and no pair.
  found = overall(anna="AAA", ben="At.", carl="Bt.")
  assert found["tie_discounted"]["value"] == (1 + 2) / 6
  assert found["tie_discounted"]["n"] == 6
  assert found["fleiss_kappa"]["raters"] == 3


def test_cohens_kappa_by_hand():
  # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: p_o 0.7, p_e 0.5 * 0.6 + 0.5 * 0.4, kappa 0.4.
  x = ["A"] * 25 + ["B"] * 25
  y = ["A"] * 20 + ["B"] * 5 + ["A"] * 10 + ["B"] * 15
  assert agreement.cohen_kappa(x, y) == pytest.approx(0.4)
  assert agreement.cohen_kappa(x, x) == pytest.approx(1.0)
  assert agreement.cohen_kappa(x, y[::-1]) != pytest.approx(0.4)  # the twin: items shuffled
  assert agreement.cohen_kappa(["A"] * 3, ["A"] * 3) is None  # nothing to tell from chance


def test_fleiss_kappa_of_the_literature():
  assert agreement.fleiss_kappa(FLEISS) == pytest.approx(0.20993, abs=1e-5)
  assert agreement.fleiss_kappa(FLEISS[:-1]) != pytest.approx(0.20993, abs=1e-3)


@pytest.mark.parametrize(
  ("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_krippendorffs_alpha_of_the_literature(level, alpha):
  assert agreement.krippendorff_alpha(KRIPPENDORFF, level) == pytest.approx(alpha, abs=5e-4)
  # The twin: categories in another order are the same nominally and not otherwise.
  moved = agreement.krippendorff_alpha(KRIPPENDORFF[:, [1, 0, 4, 3, 2]], level)
  assert (moved == pytest.approx(alpha, abs=5e-4)) == (level == "nominal")


def test_alpha_where_it_is_undefined():
  assert agreement.krippendorff_alpha(np.array([[3, 0, 0], [2, 0, 0]])) is None  # one label
  assert agreement.krippendorff_alpha(np.array([[1, 0, 0], [0, 1, 0]])) is None  # no pairs


def test_a_tie_lies_between_wins():
  near, far = overall(anna="AtBA", ben="tBtA"), overall(anna="ABtA", ben="BABA")
  assert near["krippendorff_alpha_ordinal"]["value"] > near["krippendorff_alpha_nominal"]["value"]
  assert far["krippendorff_alpha_ordinal"]["value"] < near["krippendorff_alpha_ordinal"]["value"]


def test_the_interval_is_scipys_over_prompts():
  values = {str(i): [float(i % 3 == 0)] for i in range(30)}
  found = agreement.mean(values, seed=3)
  theirs = stats.bootstrap(
    (np.array([v[0] for v in values.values()]),),
    np.mean,
    method="percentile",
    n_resamples=coefficients.RESAMPLES,
    rng=np.random.default_rng(3),
  ).confidence_interval
  assert found["value"] == pytest.approx(1 / 3)
  assert found["ci"] == pytest.approx([theirs.low, theirs.high])


def test_more_votes_on_the_same_prompts_are_no_new_evidence():
  few = {str(i): [float(i % 2)] for i in range(10)}
  many = {prompt: v * 20 for prompt, v in few.items()}
  assert agreement.mean(many, seed=0)["ci"] == agreement.mean(few, seed=0)["ci"]
  # The twin: resampling votes would make the interval four times narrower.
  votes_apart = {f"{p} {i}": [x] for p, v in many.items() for i, x in enumerate(v)}
  width = lambda found: found["ci"][1] - found["ci"][0]
  assert width(agreement.mean(votes_apart, seed=0)) < width(agreement.mean(many, seed=0)) / 3


def test_items_of_one_prompt_are_resampled_together():
  other = [Vote(v.prompt, v.annotator, "x", "z", v.label) for v in said(anna="AAB", ben="AtB")]
  items = agreement.by_item(said(anna="AAB", ben="AtB") + other)
  found = agreement.overall(items, seed=0)
  for figure in ("tie_discounted", "fleiss_kappa", "krippendorff_alpha_nominal"):
    assert found[figure]["prompts"] == 3
  assert (found["tie_discounted"]["n"], found["fleiss_kappa"]["items"]) == (6, 6)
  assert agreement.between(items, {}, str, seed=0)[0]["prompts"] == 3


def test_little_evidence_gets_no_narrow_interval():
  assert agreement.mean({"p": [1.0]}, seed=0)["ci"] == pytest.approx([0.2065, 1.0], abs=1e-4)
  assert agreement.mean({"p": [1.0, 0.0]}, seed=0)["ci"] is None
  assert agreement.mean({}, seed=0)["value"] is None
  assert agreement.mean({"p": [1.0], "q": [1.0]}, seed=0, share=False)["ci"] == [1.0, 1.0]


def test_win_tie_and_lose_shares_by_hand():
  (found,) = agreement.comparisons(said(anna="AAtB", ben="At.."), None, seed=0)
  shares = [found[k]["value"] for k in ("win", "tie", "lose", "win_rate", "equal_or_better")]
  assert shares == pytest.approx([3 / 6, 2 / 6, 1 / 6, 4 / 6, 5 / 6])
  (swapped,) = agreement.comparisons(said(anna="AAtB", ben="At.."), "y", seed=0)
  assert (swapped["a"], swapped["win"]["value"], swapped["lose"]["value"]) == ("y", 1 / 6, 3 / 6)


def test_groups_are_named_by_their_numbers():
  names = ["author_1", "expert-22", "annotator3", "anna", "gpt-4", "ben b", "a1"]
  assert [agreement.group_of(n) for n in names] == [
    "author",
    "expert",
    "annotator",
    "annotator",
    "gpt",
    "annotator",
    "a",
  ]


def test_groups_meet_and_judges_meet_people():
  items = agreement.by_item(said(author_1="AA", author_2="AB", crowd_1="BB"))
  judged = {("0", 1, "x", "y"): {"rm": "A"}}
  found = {tuple(r["between"]): r for r in agreement.between(items, judged, agreement.group_of, 0)}
  assert {k: (r["value"], r["n"]) for k, r in found.items()} == {
    ("author", "author"): (1 / 2, 2),
    ("author", "crowd"): (1 / 4, 4),
    ("author", "rm"): (1.0, 2),
    ("crowd", "rm"): (0.0, 1),
  }


def test_pairs_of_annotators_get_cohens_kappa():
  items = agreement.by_item(said(ben="AABBtA", anna="AABtBA"))
  (pair,) = agreement.between(items, {}, str, seed=0, kappa=True)
  assert pair["between"] == ["anna", "ben"]
  assert pair["value"] == (4 + 2 / 2) / 6
  assert pair["exact"] == 4 / 6
  # p_o is 4/6; both use A three times, B twice, tie once: p_e = (9 + 4 + 1) / 36.
  assert pair["cohen_kappa"] == pytest.approx((4 / 6 - 14 / 36) / (1 - 14 / 36))


def test_disagreements_come_least_agreed_first():
  found = agreement.disagreements(agreement.by_item(said(anna="AAAA", ben="AtB.")))
  assert [(row["prompt"], row["agreement"]) for row in found] == [("2", 0.0), ("1", 0.5)]
  assert found[0]["votes"] == {"anna": "A", "ben": "B"}


def test_usefulness_and_grades():
  graded = [
    Vote("p", "anna", "x", "y", usefulness={"x": 5, "y": 2}, grades={"x": ["pass", "excellent"]}),
    Vote("p", "ben", "x", "y", usefulness={"x": 6, "y": 2}, grades={"x": ["pass", "fail"]}),
  ]
  useful = agreement.usefulness(graded, seed=0)
  assert {s: f["value"] for s, f in useful["systems"].items()} == {"x": 5.5, "y": 2.0}
  # By hand: D_o = (1 + 1) / 4, over all 12 ordered pairs of 5, 6, 2, 2 D_e = 2 * 51 / 12.
  assert useful["krippendorff_alpha_interval"]["value"] == pytest.approx(1 - 0.5 / 8.5)
  turns = agreement.grades(graded, seed=0)["systems"]["x"]
  assert {g: turns[g]["value"] for g in votes.GRADES} == {
    "fail": 0.25,
    "pass": 0.5,
    "excellent": 0.25,
  }


def test_those_who_fail_the_checks_can_be_left_out():
  ballot = Ballot(said(anna="AA", ben="BB"), checks={"anna": [True], "ben": [True, False]})
  assert agreement.summary(ballot)["votes"] == 4
  strict = agreement.summary(ballot, least_checks=0.8)
  assert (strict["votes"], strict["left_out_by_checks"]) == (2, 2)
  assert strict["people"]["ben"]["passed"] == 1
  with pytest.raises(UserError, match="no votes of those who passed"):
    agreement.summary(Ballot(said(ben="B"), checks={"ben": [False]}), least_checks=0.5)


def test_whether_the_place_on_the_page_mattered():
  placed = [
    Vote(prompt, "anna", "x", "y", label, shown=first)
    for prompt, label, first in (
      ("p", "A", "a"),
      ("q", "B", "a"),
      ("r", "B", "b"),
      ("s", "tie", "b"),
    )
  ]
  found = agreement.summary(Ballot(placed))["chosen_first_shown"]
  assert (found["value"], found["n"]) == (2 / 3, 3)


def test_an_unknown_system_is_refused():
  with pytest.raises(UserError, match="--system=z: not among x, y"):
    agreement.summary(Ballot(said(anna="A")), system="z")


def test_pandalms_three_annotators(shared):
  """180 rows of 200 are unanimous; in the others two agree, and 13 of those hold a tie."""
  found = agreement.summary(votes.read(shared / "votes" / "pandalm_first200.json"))["agreement"]
  assert found["exact"]["value"] == pytest.approx((180 * 3 + 20) / 600)
  assert found["tie_discounted"]["value"] == pytest.approx((180 * 3 + 20 + 13 * 2 / 2) / 600)
  # Fleiss by its definition: 98 ties, 235 and 267 wins among 600 votes.
  p_e = (98**2 + 235**2 + 267**2) / 600**2
  p_o = (180 + 20 / 3) / 200
  assert found["fleiss_kappa"]["value"] == pytest.approx((p_o - p_e) / (1 - p_e))


def mt_bench_by_hand(rows, orient: bool) -> tuple[int, int]:
  """(pairs that agree, pairs) from the raw rows; who won, or with orient=False, which side did."""
  met = defaultdict(list)
  for row in rows:
    win = row["model_a"] if row["label"] == "A" else row["model_b"]
    pair = frozenset((row["model_a"], row["model_b"]))
    met[row["prompt"], row["turn"], pair].append(win if orient else row["label"])
  pairs = [p for wins in met.values() for p in itertools.combinations(wins, 2)]
  return sum(x == y for x, y in pairs), len(pairs)


def test_mt_benchs_human_votes(shared):
  from xwinjax.data import jsonl

  path = shared / "votes" / "mtbench_human_first100.jsonl"
  rows = [row for _, row in jsonl.read_rows(path)]
  found = agreement.summary(votes.read(path))["agreement"]["tie_discounted"]
  agree, pairs = mt_bench_by_hand(rows, orient=True)
  assert (round(found["value"] * found["n"]), found["n"]) == (agree, pairs) == (14, 37)
  # The twin: nineteen pairs stand in either order, and sides are not systems.
  assert mt_bench_by_hand(rows, orient=False) != (agree, pairs)
