"""Items made from files: who is compared with whom, on which prompts."""

import pytest
from small_study import EVIL, write_jsonl  # pyright: ignore[reportMissingImports]

from xwinjax.annotate import study
from xwinjax.core.errors import UserError
from xwinjax.data.records import Counts


def items(files, *names, **options):
  options = {"checks": 0.0, **options}
  return study.make_items(files["prompts"], [str(files[n]) for n in names], **options)


def shown(item):
  return [(a.system, a.messages[-1].content) for a in item.answers]


def test_answers_meet_by_the_prompts_text(files):
  # The candidates' file has other ids and the opposite order.
  found = items(files, "ours", "candidates")
  assert [i.prompt_id for i in found] == ["p0", "p1", "p2"]
  assert shown(found[0]) == [("ours", "ours says red"), ("candidates", "first 0")]
  assert shown(found[1]) == [("ours", f"ours says {EVIL}"), ("candidates", "first 1")]
  assert found[1].answers[1].scores == {"rm": 0.25}


def test_an_empty_answer_is_judged_too(files):
  assert shown(items(files, "ours", "theirs")[2]) == [("ours", ""), ("theirs", "")]


def test_the_first_system_meets_each_other_or_all_meet_all(files):
  names = ("ours", "theirs", "candidates")
  pairs = lambda found: {tuple(a.system for a in i.answers) for i in found}
  assert pairs(items(files, *names)) == {("ours", "theirs"), ("ours", "candidates")}
  assert len(items(files, *names, pairs="all")) == 9
  assert ("theirs", "candidates") in pairs(items(files, *names, pairs="all"))


def test_a_dialogue_is_graded_turn_by_turn(files):
  counts = Counts()
  (item,) = items(files, "dialogues", ask=("grades",), counts=counts)
  assert [q.name for q in study.questions(item, ("grades",))] == ["grade A 1", "grade A 2"]
  assert [
    item.answers[0].messages[q.turn].content
    for q in study.questions(item, ("grades",))
    if q.turn is not None
  ] == ["Red.", "Blue."]
  assert counts["prompts without an answer of dialogues"] == 2


def test_the_longest_prompt_that_fits_is_the_one_answered(tmp_path):
  turns = [
    {"role": r, "content": c}
    for r, c in (
      ("user", "Hi"),
      ("assistant", "Hello"),
      ("user", "A colour?"),
      ("assistant", "Red"),
    )
  ]
  prompts = write_jsonl(
    tmp_path / "p.jsonl",
    [{"id": "short", "prompt": turns[:1]}, {"id": "long", "prompt": turns[:3]}],
  )
  answers = write_jsonl(tmp_path / "a.jsonl", [{"messages": turns}])
  (item,) = study.make_items(prompts, [str(answers)], ask=("grades",), checks=0.0)
  assert item.prompt_id == "long"
  assert [m.content for m in item.answers[0].messages] == ["Red"]


def test_everything_can_be_asked_at_once(files):
  item = items(files, "ours", "theirs", ask=study.ASKS)[0]
  assert [q.name for q in study.questions(item, study.ASKS)] == [
    "grade A 1",
    "usefulness A",
    "grade B 1",
    "usefulness B",
    "verdict",
  ]


def test_an_attention_check_says_what_to_choose(files):
  *_, check = items(files, "ours", "theirs", ask=("verdict", "usefulness"), checks=0.3, seed=4)
  assert check.expected is not None
  labels = {
    q.name: {v: label for v, label, _ in q.choices}
    for q in study.questions(check, ("verdict", "usefulness"))
  }
  for answer in check.answers:
    text = answer.messages[0].content
    assert f"How useful is answer A: {check.expected['usefulness A']}" in text
    assert labels["verdict"][check.expected["verdict"]] in text


def test_checks_are_a_share_of_the_items_and_at_least_one(files):
  count = lambda **o: sum(i.expected is not None for i in items(files, "ours", "theirs", **o))
  assert (count(checks=0.0), count(checks=0.01), count(checks=0.7)) == (0, 1, 2)


@pytest.mark.parametrize(
  ("names", "options", "said"),
  [
    (("ours",), {}, "a verdict needs answers of two systems"),
    (("ours", "theirs"), {"pairs": "some"}, "expected first or all"),
    (("ours", "theirs"), {"checks": 1.0}, "expected a share"),
    (("ours", "prompts"), {}, "holds a question without an answer"),
  ],
)
def test_what_does_not_fit_is_said(files, names, options, said):
  with pytest.raises(UserError, match=said):
    items(files, *names, **options)


def test_answers_to_other_prompts_are_refused(files, tmp_path):
  rows = [
    {
      "messages": [
        {"role": "user", "content": "Another prompt"},
        {"role": "assistant", "content": "x"},
      ]
    }
  ]
  other = write_jsonl(tmp_path / "other.jsonl", rows)
  with pytest.raises(UserError, match=r"other\.jsonl: answers none of the prompts"):
    study.make_items(files["prompts"], [str(files["ours"]), str(other)])


def test_systems_are_named_by_file_folder_or_hand():
  assert list(study.systems(["a/sft.jsonl", "b/dpo.jsonl.gz"])) == ["sft", "dpo"]
  same = ["run/sft/candidates.jsonl", "run/dpo/candidates.jsonl"]
  assert list(study.systems(same)) == ["sft", "dpo"]
  assert list(study.systems(["x=a/c.jsonl", "Llama 2.1-7b=c.jsonl"])) == ["x", "Llama 2.1-7b"]
  for bad in (["x=a.jsonl", "x=b.jsonl"], ["=cmd()=a.jsonl"], ["-x=a.jsonl"]):
    with pytest.raises(UserError, match="write"):
      study.systems(bad)


def test_things_to_ask():
  assert study.check_ask(["usefulness", "verdict"]) == ("verdict", "usefulness")
  with pytest.raises(UserError, match="--ask=verdicts: expected some of"):
    study.check_ask(["verdicts"])
